"""Train tokenizers of three kinds: WordPiece, BPE and Unigram. Training is deterministic.

WordPiece follows the rules of BERT: punctuation marks and Chinese characters are words, and words are split
into the longest pieces of the vocabulary. Unlike BERT's, it composes characters (NFC) and splits
words of more than LONGEST_WORD characters, which would become [UNK].

BPE works on bytes, as in RoBERTa and ModernBERT, so that nothing becomes [UNK] and line breaks and
indentation are kept.

Unigram (Kudo, 2018) picks the most probable of all segmentations, which suits scripts without
spaces, and proteins. The trainer of `tokenizers` gives different probabilities in each run, so they are estimated
here: starting from the pieces of a BPE twice as large, the pieces in the most probable segmentation are
counted and the rarest are dropped, until the vocabulary has its size.
"""

from __future__ import annotations

import logging
import math
import string
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import regex
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.trainers import BpeTrainer, WordPieceTrainer

from elektron.corpus.config import TokenizerConfig, TokenizerKind
from elektron.corpus.redaction import PLACEHOLDERS
from elektron.corpus.unknown import visible_characters
from elektron.errors import ElektronError

log = logging.getLogger(__name__)

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
UNKNOWN = "[UNK]"
CONTINUATION = "##"
SPACE = "▁"
"""Marks the beginning of a word in a vocabulary of kind unigram."""

RARE_CHARACTERS = 1e-4
"""The rarest characters, which together are this fraction of the text, may become [UNK]."""
ALPHABET, SMALL_ALPHABET = 0.1, 500
"""No character becomes [UNK] while all of them take less than this fraction of the vocabulary, or
this number of entries (at most half of the vocabulary)."""
LONGEST_WORD = 100
LONGEST_PIECE = 16
"""Characters in a piece of kind unigram."""
SEED_FACTOR, KEPT_FRACTION = 2, 0.75
"""Unigram: candidate pieces at the start, as a multiple of the vocabulary; the fraction kept in each round."""
DOCUMENTS_AT_ONCE = 500

# A tenth of the characters is enough: kind unigram handles text with spaces as well.
UNSPACED_FRACTION = 0.1
LONG_WORDS_FRACTION = 0.01
SEQUENCES_FRACTION = 0.5
INDENTED_FRACTION = 0.2
UNSPACED = regex.compile(r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Hiragana}\p{Katakana}]+")
LONG_WORD = regex.compile(rf"[[\w\p{{M}}]--\p{{Han}}]{{{LONGEST_WORD + 1},}}", regex.V1)
SEQUENCE = regex.compile(r"\A[[\w\p{M}]--\p{Han}]{20,}\Z", regex.V1)
"""A document that is one word, such as a protein; ordinary words are shorter."""
INDENTED = regex.compile(r"\n(?:\t|  )[\t ]*\S")

Texts = Callable[[str], Iterator[str]]
"""Takes a title for the progress bar, and returns an iterator over all texts from the beginning."""


def suggest_kind(texts: Sequence[str]) -> tuple[TokenizerKind, str]:
    """The kind of tokenizer that suits texts, and why."""
    characters = max(1, visible_characters(texts))
    lines = max(1, sum(text.count("\n") for text in texts))

    def fraction(pattern: regex.Pattern[str]) -> float:
        return sum(len(m) for text in texts for m in pattern.findall(text)) / characters

    if fraction(UNSPACED) > UNSPACED_FRACTION:
        return "unigram", "a script without spaces between words"
    if fraction(LONG_WORD) > LONG_WORDS_FRACTION:
        return "unigram", f"words of more than {LONGEST_WORD} characters"
    if fraction(SEQUENCE) > SEQUENCES_FRACTION:
        return "unigram", "documents without spaces, such as sequences"
    if sum(len(INDENTED.findall(text)) for text in texts) > INDENTED_FRACTION * lines:
        return "bpe", "indented lines, as in source code"
    return "wordpiece", "words with spaces between them, or Chinese characters"


def train_backend_tokenizer(kind: TokenizerKind, config: TokenizerConfig, texts: Texts) -> Tokenizer:
    """Train a tokenizer of the `tokenizers` library.

    Args:
        kind: the kind of tokenizer.
        config: gives the vocabulary size, the treatment of case and accents, and the minimum frequency.
        texts: the texts, which are read several times.

    Returns:
        The tokenizer, with SPECIAL_TOKENS as its first entries. It has fewer entries than
        requested if the texts do not support more.

    Raises:
        ElektronError: the vocabulary is too small for the kind.
    """
    trainers = {"wordpiece": _train_wordpiece, "bpe": _train_bpe, "unigram": _train_unigram}
    return trainers[kind](config, texts)


def readable(piece: str, tokenizer: Tokenizer) -> str:
    """A piece as text, with a space before it if it begins a word."""
    if not isinstance(tokenizer.model, BPE | Unigram):
        is_inside = piece.startswith(CONTINUATION)
        return piece.removeprefix(CONTINUATION) if is_inside else f" {piece}"
    if isinstance(tokenizer.model, BPE):
        piece = decoders.ByteLevel().decode([piece])
    return piece.replace(SPACE, " ")


def in_wordpiece_form(piece: str, tokenizer: Tokenizer) -> str:
    """A piece of any kind as WordPiece writes it, such as `##ing` if it continues a word."""
    text = readable(piece, tokenizer)
    return text[1:] if text.startswith(" ") else CONTINUATION + text


def _train_wordpiece(config: TokenizerConfig, texts: Texts) -> Tokenizer:
    trained = Tokenizer(WordPiece(unk_token=UNKNOWN))
    # The rules of BERT for white space, control characters, punctuation and Chinese characters.
    _set_normalizer(trained, config, normalizers.BertNormalizer(True, True, False, False))
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.FixedLength(length=LONGEST_WORD)]
    )

    def pieces(character: str) -> list[str]:
        inside_a_word = trained.pre_tokenizer.pre_tokenize_str(trained.normalizer.normalize_str(f"a{character}a"))
        return [character, CONTINUATION + character] if len(inside_a_word) == 1 else [character]

    characters = _alphabet(_count_characters(trained, texts), config, pieces)
    # The trainer numbers the characters in a different order in each run, and breaks ties between pieces by
    # number. It numbers special tokens in the given order, so the characters are passed as special tokens.
    alphabet = sorted((piece for c in characters for piece in pieces(c)), key=lambda piece: (len(piece) > 1, piece))
    trainer = WordPieceTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=[*SPECIAL_TOKENS, *alphabet],
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        show_progress=False,
    )
    trained.train_from_iterator(texts("counting words"), trainer)
    tokenizer = Tokenizer(WordPiece(vocab=trained.get_vocab(), unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = trained.normalizer, trained.pre_tokenizer
    tokenizer.decoder = decoders.WordPiece(prefix=CONTINUATION)
    return _with_pairs(tokenizer)


def _train_bpe(config: TokenizerConfig, texts: Texts) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    least = len(SPECIAL_TOKENS) + len(alphabet)
    if config.vocab_size < least:
        least += len(PLACEHOLDERS) if config.redact else 0
        raise ElektronError(f"--vocab-size must be at least {least} for --kind bpe, which has a piece for each byte")
    tokenizer = Tokenizer(BPE())
    _set_normalizer(tokenizer, config)
    # A word has the same pieces at the beginning of a text as after a space.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts("counting words"), trainer)
    return _with_pairs(tokenizer, processors.ByteLevel(trim_offsets=True))


def _train_unigram(config: TokenizerConfig, texts: Texts) -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    _set_normalizer(tokenizer, config, normalizers.BertNormalizer(True, False, False, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement=SPACE), pre_tokenizers.Punctuation()]
    )
    counts = _count_characters(tokenizer, texts)
    counts[SPACE] = counts.total()  # needed for any text
    characters = _alphabet(counts, config, lambda character: [character])
    room = config.vocab_size - len(SPECIAL_TOKENS)
    trainer = BpeTrainer(
        vocab_size=SEED_FACTOR * room,
        min_frequency=config.min_frequency,
        special_tokens=[],
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        max_token_length=LONGEST_PIECE,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts("counting words"), trainer)
    pieces = tokenizer.get_vocab()
    seeds = sorted(pieces, key=pieces.__getitem__)
    frequency = dict(zip(seeds, _count_tokens(tokenizer, texts, len(seeds)).tolist(), strict=True))
    longer = [piece for piece in seeds if len(piece) > 1]
    while True:
        kept = max(room - len(characters), int(KEPT_FRACTION * len(longer)))
        is_last = len(longer) <= kept
        longer = sorted(longer, key=lambda piece: (-frequency[piece], piece))[:kept]
        vocabulary = [*characters, *longer]
        total = sum(frequency[piece] + 1 for piece in vocabulary)
        scores = [(p, round(math.log((frequency[p] + 1) / total), 6)) for p in vocabulary]
        special = [(token, 0.0) for token in SPECIAL_TOKENS]
        tokenizer.model = Unigram([*special, *scores], unk_id=SPECIAL_TOKENS.index(UNKNOWN))
        if is_last:
            tokenizer.decoder = decoders.Metaspace(replacement=SPACE)
            return _with_pairs(tokenizer)
        used = _count_tokens(tokenizer, texts, len(special) + len(vocabulary))
        frequency = dict(zip(vocabulary, used[len(special) :].tolist(), strict=True))


def _set_normalizer(tokenizer: Tokenizer, config: TokenizerConfig, *more: normalizers.Normalizer) -> None:
    # Khmer and other scripts mark word boundaries by zero-width spaces, which BertNormalizer would delete.
    spaces = [normalizers.Replace("\u200b", " ")] if more else []
    steps = [normalizers.NFC(), *spaces, *more]
    if config.strip_accents:
        steps += [normalizers.NFD(), normalizers.StripAccents()]
    if config.lowercase:
        steps.append(normalizers.Lowercase())
    tokenizer.normalizer = normalizers.Sequence(steps)


def _with_pairs(tokenizer: Tokenizer, *before: processors.PostProcessor) -> Tokenizer:
    """Add special tokens: [CLS] A [SEP], or [CLS] A [SEP] B [SEP] with the token types 0 and 1."""
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    template = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")],
    )
    tokenizer.post_processor = processors.Sequence([*before, template]) if before else template
    return tokenizer


def _count_characters(tokenizer: Tokenizer, texts: Texts) -> Counter[str]:
    """Counts of characters except white space, after normalization; has all printable ASCII, if with a count of 0."""
    counts: Counter[str] = Counter()
    for text in texts("counting characters"):
        counts.update(tokenizer.normalizer.normalize_str(text))
    printable = tokenizer.normalizer.normalize_str(string.printable)
    counts.update(dict.fromkeys(printable, 0))
    return Counter({c: n for c, n in counts.items() if not c.isspace()})


def _alphabet(counts: Counter[str], config: TokenizerConfig, pieces: Callable[[str], list[str]]) -> list[str]:
    """The characters that get pieces, sorted: printable ASCII if there is room, then the most frequent ones."""
    room = config.vocab_size - len(SPECIAL_TOKENS)
    spare = max(ALPHABET * room, min(SMALL_ALPHABET, room / 2))
    left = total = counts.total()
    ascii_first = sum(len(pieces(c)) for c in counts if c.isascii()) <= spare
    order = sorted(counts.items(), key=lambda i: (not (ascii_first and i[0].isascii()), -i[1], i[0]))
    characters: list[str] = []
    size = 0
    for character, count in order:
        size += len(pieces(character))
        is_rare = left <= RARE_CHARACTERS * total and size > spare
        if size > room or is_rare or (count == 0 and not ascii_first):
            break
        characters.append(character)
        left -= count
    if left:
        rare, part = len(counts) - len(characters), 100 * left / total
        log.info(f"{rare:,} of {len(counts):,} characters, {part:.3f} % of the text, are rare and become [UNK]")
    return sorted(characters)


def _count_tokens(tokenizer: Tokenizer, texts: Texts, size: int) -> NDArray[np.int64]:
    """How often each token occurs in the texts."""
    counts = np.zeros(size, np.int64)
    documents = texts("counting pieces")
    while batch := list(islice(documents, DOCUMENTS_AT_ONCE)):
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            np.add.at(counts, encoding.ids, 1)
    return counts
