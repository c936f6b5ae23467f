"""The tokenizer of the output: trained on the training targets, with lossless decoding.

BERT's tokenizer loses the positions of spaces. This one is byte pair encoding (Sennrich et al., 2016) of cased words,
in which a space is the character `▁` before the word, and a character without a piece (subword token) is encoded as its
bytes. Decoding joins the pieces (Kudo & Richardson, 2018); only a `▁` in the text itself is lost and becomes a space.

The same targets give the same vocabulary, byte for byte.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from elektron.corpus.vocabulary import RARE_CHARACTERS
from elektron.errors import ElektronError

log = logging.getLogger(__name__)

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[START]", "[END]"
SPECIAL_TOKENS = [PAD, UNKNOWN, START, END]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPACE = "▁"
CONTINUATION = "##"

PIECES = rf"{SPACE}?[\p{{L}}\p{{M}}\p{{N}}]+|{SPACE}?[^{SPACE}\p{{L}}\p{{M}}\p{{N}}]|{SPACE}"
"""A word or a number with the space before it; any other character, with the space before it."""
MIN_FREQUENCY = 2
"""Adjacent pieces that occur less often are not merged."""
CHARACTERS_FRACTION = 0.75
"""Largest fraction of the vocabulary for single characters, of which Chinese has thousands."""
MIN_LEARNED = 64


def train_target_tokenizer(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """Train a tokenizer of at most `vocab_size` entries; it has fewer if the texts have too few frequent pieces.

    Raises:
        ElektronError: `vocab_size` leaves too little room besides the bytes.
    """
    room = vocab_size - len(SPECIAL_TOKENS) - len(BYTES)
    if room < MIN_LEARNED:
        least = vocab_size - room + MIN_LEARNED
        raise ElektronError(f"--target-vocab-size must be at least {least}, got {vocab_size}")
    characters = _alphabet(texts, int(CHARACTERS_FRACTION * room))
    learner = _rules(BPE(unk_token=UNKNOWN, byte_fallback=True))
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=[*SPECIAL_TOKENS, *BYTES],
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    # The trainer needs the bytes as special tokens; in the tokenizer they are ordinary pieces.
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    tokenizer = _rules(BPE(vocab=learned["vocab"], merges=merges, unk_token=UNKNOWN, byte_fallback=True))
    log.info("the output's vocabulary: %s pieces", f"{tokenizer.get_vocab_size():,}")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )


def _alphabet(texts: Iterable[str], max_size: int) -> list[str]:
    """The sorted characters of the texts, without the rarest; at most the `max_size` most common ones."""
    counts = Counter(character for text in texts for character in text if character not in (" ", SPACE))
    rare = RARE_CHARACTERS * counts.total()
    remaining = counts.total()
    characters = {SPACE}
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if remaining <= rare or len(characters) == max_size:
            break
        characters.add(character)
        remaining -= count
    return sorted(characters)


def _rules(model: BPE) -> Tokenizer:
    """A tokenizer with the rules that split text into words and join them again."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def end_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends an output: `eos`, or BERT's `sep`.

    Raises:
        ElektronError: the tokenizer has neither.
    """
    for token_id in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if token_id is not None:
            return int(token_id)
    raise ElektronError(f"{tokenizer.name_or_path}: the tokenizer has no end token (eos or sep)")


def start_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that an output starts with: `bos`, BERT's `cls`, or the end token as in BART."""
    for token_id in (tokenizer.bos_token_id, tokenizer.cls_token_id):
        if token_id is not None and token_id != tokenizer.pad_token_id:
            return int(token_id)
    return end_token_id(tokenizer)


def shared_pieces(target: PreTrainedTokenizerBase, source: PreTrainedTokenizerBase) -> dict[int, int]:
    """Ids in `target` of the pieces that both tokenizers have, each with its id in `source`.

    Vocabularies write the same piece differently: `▁word` and `ing` here, `word` and `##ing` in
    BERT's, `Ġword` in GPT's. Case and accents are folded where `source` folds them. Punctuation,
    which BERT's never has inside a word, is the same with and without a space before it.
    """
    normalizer = source.backend_tokenizer.normalizer
    fold = normalizer.normalize_str if normalizer is not None and _is_wordpiece(source) else str
    source_ids = {piece: token_id for token_id, piece in _pieces(source)}
    shared = {}
    for token_id, (begins, text) in _pieces(target):
        forms = [(begins, fold(text))] if text[:1].isalnum() else [(begins, text), (True, text)]
        if ids := [source_ids[form] for form in forms if form in source_ids]:
            shared[token_id] = ids[0]
    return shared


def _pieces(tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[int, tuple[bool, str]]]:
    """The id of each piece that is no special token or byte; whether it begins a word, and its characters.

    Sorted by id, because the order of `get_vocab` differs between processes, which would change the rounding errors
    of sums over embeddings.
    """
    wordpiece = _is_wordpiece(tokenizer)
    left_out = {*tokenizer.all_special_tokens, *BYTES}
    for token, token_id in sorted(tokenizer.get_vocab().items(), key=itemgetter(1)):
        text = token.removeprefix(CONTINUATION) if wordpiece else token.lstrip(f"{SPACE}Ġ")
        if text and token not in left_out:
            yield token_id, ((text == token) == wordpiece, text)


def _is_wordpiece(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether continuations of words are marked, `##ing`, and beginnings are not."""
    return type(tokenizer.backend_tokenizer.model).__name__ == "WordPiece"
