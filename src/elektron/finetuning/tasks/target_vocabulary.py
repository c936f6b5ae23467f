"""The vocabulary of the output: learned from the training targets so that text comes back exact.

BERT's tokenizer forgets where spaces were, so what a model wrote with it must be guessed back into
text. This one is made for writing. A space is a visible character, `▁`, that belongs to the word
after it; words are cut by byte pair encoding (Sennrich et al., 2016), in cased letters as they
stand; a character that has no piece is written as its bytes. Decoding is joining (Kudo &
Richardson, 2018). Only `▁` itself comes back as a space.

Learning gives the same bytes for the same targets.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from elektron.corpus.vocabulary import RARE_CHARACTERS_SHARE
from elektron.errors import ElektronError

log = logging.getLogger(__name__)

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[START]", "[END]"
SPECIAL_TOKENS = [PAD, UNKNOWN, START, END]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPACE = "▁"
CONTINUATION = "##"

# A word or a number with the space before it; any other character, with the space before it.
PIECES = rf"{SPACE}?[\p{{L}}\p{{M}}\p{{N}}]+|{SPACE}?[^{SPACE}\p{{L}}\p{{M}}\p{{N}}]|{SPACE}"
# A pair of pieces that meets less often is not joined.
MIN_FREQUENCY = 2
# Share of the room that single characters may take: Chinese has thousands.
CHARACTERS_SHARE = 0.75
FEWEST_LEARNED = 64


def learn_vocabulary(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """A tokenizer of at most `vocab_size` entries; fewer where the texts do not support as many.

    Raises:
        ElektronError: there is hardly room for more than the bytes.
    """
    room = vocab_size - len(SPECIAL_TOKENS) - len(BYTES)
    if room < FEWEST_LEARNED:
        least = vocab_size - room + FEWEST_LEARNED
        raise ElektronError(f"--target-vocab-size must be at least {least}, got {vocab_size}")
    characters = _alphabet(texts, int(CHARACTERS_SHARE * room))
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
    # The trainer took the bytes for special tokens: here they become pieces like any other.
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    tokenizer = _rules(
        BPE(vocab=learned["vocab"], merges=merges, unk_token=UNKNOWN, byte_fallback=True)
    )
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


def _alphabet(texts: Iterable[str], most: int) -> list[str]:
    """The commonest characters, all but a sliver of the text, sorted."""
    counts = Counter(character for text in texts for character in text if character != " ")
    counts[SPACE] = 0
    dispensable = RARE_CHARACTERS_SHARE * sum(counts.values())
    left = sum(counts.values())
    characters = {SPACE}
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if left <= dispensable or len(characters) == most:
            break
        characters.add(character)
        left -= count
    return sorted(characters)


def _rules(model: BPE) -> Tokenizer:
    """How text is cut before the model cuts words, and put together again."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
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
    """The token that an output is started with: `bos`, BERT's `cls`, or the end token as in BART."""
    for token_id in (tokenizer.bos_token_id, tokenizer.cls_token_id):
        if token_id is not None and token_id != tokenizer.pad_token_id:
            return int(token_id)
    return end_token_id(tokenizer)


def shared_pieces(ours: PreTrainedTokenizerBase, theirs: PreTrainedTokenizerBase) -> dict[int, int]:
    """Ids in `ours` of the pieces that `theirs` has too, with the ids that they have there.

    Vocabularies write alike pieces differently: `▁word` and `ing` here, `word` and `##ing` in
    BERT's, `Ġword` in GPT's. Case and accents are folded where `theirs` folds them. Punctuation,
    which BERT's never has inside a word, is the same with and without a space before it.
    """
    normalizer = theirs.backend_tokenizer.normalizer
    fold = normalizer.normalize_str if normalizer is not None and _is_bert(theirs) else str
    known = {surface: token_id for token_id, surface in _surfaces(theirs).items()}
    found = {}
    for token_id, (begins, text) in _surfaces(ours).items():
        forms = [(begins, fold(text))] if text[:1].isalnum() else [(begins, text), (True, text)]
        for form in forms:
            if form in known:
                found[token_id] = known[form]
                break
    return found


def _surfaces(tokenizer: PreTrainedTokenizerBase) -> dict[int, tuple[bool, str]]:
    """Of each piece, whether it begins a word, and its letters; special tokens and bytes left out."""
    apart = {*tokenizer.all_special_tokens, *BYTES}
    words_unmarked = _is_bert(tokenizer)
    surfaces = {}
    for token, token_id in tokenizer.get_vocab().items():
        text = token.removeprefix(CONTINUATION) if words_unmarked else token.lstrip(f"{SPACE}Ġ")
        begins = (text == token) == words_unmarked
        if token not in apart and text:
            surfaces[token_id] = (begins, text)
    return surfaces


def _is_bert(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether continuations are marked, `##ing`, and beginnings of words are not."""
    return json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"] == "WordPiece"
