"""Text that a tokenizer replaces by its unknown token: how many characters, and why.

One [UNK] replaces a whole word of any length, so characters are counted, not tokens.
"""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from elektron.corpus.documents import SAMPLED_CHARACTERS
from elektron.errors import ElektronError

if TYPE_CHECKING:  # not imported by worker processes of `prepare`
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

WARN_FRACTION, MAX_FRACTION = 1e-3, 0.05
"""Fractions of characters replaced by [UNK] above which a warning is logged, and above which the text is refused."""
ALLOW_ADVICE = "to continue anyway, give --allow-unknown true"


LONG_WORDS = "words longer than the tokenizer's max_input_chars_per_word"
DECOMPOSED = "characters in composed form (NFC), where the vocabulary has them decomposed (NFD)"
COMPOSED = "characters in decomposed form (NFD), where the vocabulary has them composed (NFC)"
CAPITALS = "capital letters, which the vocabulary lacks"
CHARACTERS = "characters that the vocabulary lacks"
ADVICE = {
    LONG_WORDS: "train a tokenizer with `elektron tokenizer`",
    DECOMPOSED: "convert the text to NFD, or set strip_accents in tokenizer_config.json if the "
    "vocabulary was made with it",
    COMPOSED: "convert the text to NFC",
    CAPITALS: "lowercase the text, or set do_lower_case to true in the tokenizer_config.json of a BERT tokenizer",
    CHARACTERS: "train a tokenizer on such text with `elektron tokenizer`, or one with a larger --vocab-size",
}
CHANGES: dict[str, Callable[[str], str]] = {
    DECOMPOSED: partial(unicodedata.normalize, "NFD"),
    COMPOSED: partial(unicodedata.normalize, "NFC"),
    CAPITALS: str.lower,
}
"""Changes of a word by cause: if the changed word has no [UNK], this is the cause."""
EXPLAINED_WORDS = 500
"""The cause is determined for this many of the most frequent words replaced by [UNK]."""
SHOWN_CHARACTERS = 12
SHOWN_WORD = 20
SAMPLED_TEXTS = 2000


@dataclass
class Unknown:
    """How much of a text becomes [UNK]."""

    characters: int = 0
    """All characters except white space."""
    replaced: int = 0
    """Characters covered by unknown tokens."""
    causes: Counter[str] = field(default_factory=Counter)
    """Characters of the most frequent replaced words, by cause."""
    examples: dict[str, str] = field(default_factory=dict)
    """A replaced word for each cause."""
    missing: Counter[str] = field(default_factory=Counter)
    """Characters that the vocabulary lacks."""

    @property
    def fraction(self) -> float:
        return self.replaced / max(1, self.characters)

    def add(self, other: Unknown) -> None:
        """Add another count to this one."""
        self.characters += other.characters
        self.replaced += other.replaced
        self.causes += other.causes
        self.missing += other.missing
        self.examples = other.examples | self.examples

    @property
    def cause(self) -> str:
        """The cause of most replaced characters, with an example, and what to do about it."""
        if not self.causes:
            return ""
        ((name, _),) = self.causes.most_common(1)
        word = self.examples[name]
        shown = f"such as {word if len(word) <= SHOWN_WORD else word[:SHOWN_WORD] + '…'!r}"
        if name == CHARACTERS:
            shown = " ".join(c for c, _ in self.missing.most_common(SHOWN_CHARACTERS))
        return f"{name} ({shown}): {ADVICE[name]}"

    @property
    def message(self) -> str:
        """The fraction of characters that become [UNK], and why; empty if it is at most WARN_FRACTION."""
        if self.fraction <= WARN_FRACTION:
            return ""
        return f"{self.fraction:.1%} of the characters become [UNK], mostly {self.cause}"

    def check(self, name: str, allow: bool) -> None:
        """Warn of text that becomes [UNK], or raise an error if it is too much.

        Args:
            name: the file, corpus or model, for the message.
            allow: only warn, whatever the fraction.

        Raises:
            ElektronError: more than MAX_FRACTION becomes [UNK].
        """
        if self.fraction > MAX_FRACTION and not allow:
            raise ElektronError(f"{name}: {self.message}; {ALLOW_ADVICE}")
        if self.message:
            log.warning("%s: %s", name, self.message)


class UnknownCounter:
    """Counts the characters of texts that a tokenizer replaces by [UNK]."""

    def __init__(self, tokenizer: Tokenizer, unknown_id: int) -> None:
        self.tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.tokenizer.encode_special_tokens = True  # "[CLS]" in a text is ordinary text
        self.unknown_id = unknown_id
        model = self.tokenizer.model
        is_wordpiece = isinstance(model, WordPiece)
        self.longest_word = model.max_input_chars_per_word if is_wordpiece else None
        self.continuation = model.continuing_subword_prefix if is_wordpiece else ""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> UnknownCounter:
        """The counter for a tokenizer of transformers."""
        assert tokenizer.unk_token_id is not None
        return cls(tokenizer.backend_tokenizer, tokenizer.unk_token_id)

    def count(self, texts: Sequence[str]) -> Unknown:
        """Count the characters of these texts that become [UNK], and determine why."""
        unknown = Unknown(visible_characters(texts))
        words: Counter[str] = Counter()
        encodings = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        for text, encoding in zip(texts, encodings, strict=True):
            if self.unknown_id not in encoding.ids:
                continue
            for token_id, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True):
                if token_id == self.unknown_id:
                    words["".join(text[begin:end].split())] += 1
        unknown.replaced = sum(len(word) * count for word, count in words.items())
        for word, count in words.most_common(EXPLAINED_WORDS):
            cause = self._cause(word)
            unknown.causes[cause] += len(word) * count
            unknown.examples.setdefault(cause, word)
            if cause == CHARACTERS:
                for position, character in enumerate(self._normalized(word)):
                    piece = self.continuation + character if position else character
                    if self.tokenizer.token_to_id(piece) is None:
                        unknown.missing[character] += count
        return unknown

    def _cause(self, word: str) -> str:
        if self.longest_word is not None and len(self._normalized(word)) > self.longest_word:
            return LONG_WORDS
        for cause, change in CHANGES.items():
            ids = self.tokenizer.encode(change(word), add_special_tokens=False).ids
            if self.unknown_id not in ids:
                return cause
        return CHARACTERS

    def _normalized(self, word: str) -> str:
        normalizer = self.tokenizer.normalizer
        return word if normalizer is None else normalizer.normalize_str(word)


def visible_characters(texts: Sequence[str]) -> int:
    """Number of characters except white space."""
    return sum(len("".join(text.split())) for text in texts)


def count_unknown(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Unknown:
    """Count the characters that become [UNK] in an evenly spread sample of texts."""
    step = max(1, len(texts) // SAMPLED_TEXTS)
    return UnknownCounter.of(tokenizer).count([text[:SAMPLED_CHARACTERS] for text in texts[::step]])
