"""Masking: which positions the generator predicts, and what it sees there.

Each row has the same number K of masked positions, so that every step has the same shapes; a row with little text
uses fewer of them, and the others have weight 0. As in the official code, 85 % of the masked positions become [MASK]
and 15 % keep their token, and every masked position gets a sample of the generator. Unlike it, positions are drawn
without replacement: with replacement, 14.2 % instead of 15 % are masked at length 128.

For whole-word masking, WordPiece marks the tokens that continue a word, `##ing`; BPE and Unigram those that follow a
space, `Ġ` or `▁`. With these, punctuation is a word of its own, as is every token of a script without spaces. With
WordPiece, every Chinese character is a token; there a segmenter, `jieba` or a function of the user's, finds the words.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from elektron.corpus.vocabulary import CONTINUATION, UNSPACED, readable
from elektron.errors import ElektronError

SPACES = "▁ĠĊĉč"
"""Space in tokens of Unigram; space, line feed, tab and carriage return in tokens of BPE."""
Segmenter = Callable[[str], Iterable[str]]


class Masks(NamedTuple):
    """The masks of a batch of rows."""

    masked_ids: NDArray[np.int64]
    """`(batch, length)`: the generator's input."""
    positions: NDArray[np.int64]
    """`(batch, masked)`: distinct positions."""
    weights: NDArray[np.float32]
    """`(batch, masked)`: 1 for masked positions, 0 for padding of this axis, which is in no loss, sample or metric."""


def max_masked_positions(length: int, mask_probability: float) -> int:
    """K: the maximum number of masked positions in a row of `length` tokens, for the initial mask probability."""
    return max(1, round(mask_probability * length))


def mask_rows(
    input_ids: NDArray[np.int64],
    uniforms: NDArray[np.float64],
    special_ids: Mapping[str, int],
    never_masked: Sequence[int],
    mask_probability: float,
    keep_probability: float,
    word_starts: NDArray[np.bool_] | None = None,
) -> Masks:
    """Choose positions and build the generator's input.

    Args:
        input_ids: `(batch, length)` token ids.
        uniforms: `(batch, length + K)` numbers in [0, 1): one for each position and one for each masked position.
        special_ids: ids of `pad` and `mask`.
        never_masked: ids of all special tokens.
        mask_probability: fraction of a row's tokens, without padding, to mask.
        keep_probability: fraction of the masked positions that keep their token.
        word_starts: `(batch, length)`, the starts of words, to mask whole words; None for single tokens.
    """
    length = input_ids.shape[1]
    max_masked = uniforms.shape[1] - length
    maskable = ~np.isin(input_ids, never_masked)
    real = (input_ids != special_ids["pad"]).sum(1)
    num_masked = np.minimum(np.maximum(1, np.rint(mask_probability * real)), np.minimum(max_masked, maskable.sum(1)))
    if word_starts is None:
        # Positions that may be masked come first, in random order; the first ones are masked.
        order = np.argsort(np.where(maskable, uniforms[:, :length], 2.0), axis=1, kind="stable")
        num_used = num_masked
    else:
        chosen = choose_words(maskable, word_starts, uniforms[:, :length], num_masked.astype(np.int64))
        order = np.argsort(~chosen, axis=1, kind="stable")
        num_used = chosen.sum(1)
    positions = order[:, :max_masked]
    weights = np.arange(max_masked) < num_used[:, None]

    becomes_mask = weights & (uniforms[:, length:] >= keep_probability)
    chosen_ids = np.take_along_axis(input_ids, positions, axis=1)
    masked_ids = input_ids.copy()
    replacement = np.where(becomes_mask, special_ids["mask"], chosen_ids)
    np.put_along_axis(masked_ids, positions, replacement, axis=1)
    return Masks(masked_ids, positions, weights.astype(np.float32))


def choose_words(
    maskable: NDArray[np.bool_],
    word_starts: NDArray[np.bool_],
    uniforms: NDArray[np.float64],
    num_masked: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """A mask `(batch, length)` of whole words that fill at most `num_masked` `(batch,)` positions of each row.

    Words are taken in random order; those that no longer fit are skipped. If every word of a row is too long, a part
    of one is chosen.
    """
    rows, length = maskable.shape
    starts = word_starts & maskable
    # What follows a special token starts a word, whatever the tokenizer says.
    starts[:, 1:] |= maskable[:, 1:] & ~maskable[:, :-1]
    starts[:, 0] |= maskable[:, 0]
    words = np.where(maskable, np.cumsum(starts, axis=1) - 1, -1)
    row = np.arange(rows)
    sizes = np.zeros((rows, length), np.int64)
    np.add.at(sizes, (np.repeat(row, length), words.ravel()), maskable.ravel())

    order = np.argsort(np.where(np.arange(length) < starts.sum(1)[:, None], uniforms, 2.0), axis=1)
    is_chosen = np.zeros((rows, length), np.bool_)
    remaining = num_masked.copy()
    for rank in range(int(starts.sum(1).max(initial=0))):
        word = order[:, rank]
        size = sizes[row, word]
        fits = (size > 0) & (size <= remaining)
        is_chosen[row[fits], word[fits]] = True
        remaining -= np.where(fits, size, 0)
        if not remaining.any():
            break
    chosen = maskable & np.take_along_axis(is_chosen, np.maximum(words, 0), axis=1)
    for number in np.flatnonzero((num_masked > 0) & ~chosen.any(1)):
        part = np.flatnonzero(words[number] == order[number, 0])
        chosen[number, part[: num_masked[number]]] = True
    return chosen


class WordFinder:
    """Finds the token ids that start a word."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, segmenter: str | None) -> None:
        kind = type(tokenizer.backend_tokenizer.model).__name__
        if kind not in ("WordPiece", "BPE", "Unigram"):
            raise ElektronError(
                f"--masking.unit whole_word cannot tell where words begin with a {kind} tokenizer: choose token"
            )
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        special = set(tokenizer.all_special_tokens)
        self.starts = np.array([not token.startswith(CONTINUATION) for token in tokens])
        self.is_word = np.zeros(len(tokens), np.bool_)
        """Tokens that are always whole words, whatever token follows."""
        if kind != "WordPiece":
            self.is_word = np.array([t in special or is_punctuation(t) for t in tokens])
            for number, token in enumerate(tokens):
                text = readable(token, tokenizer.backend_tokenizer)
                unspaced = UNSPACED.search(text) or any(map(is_unspaced, text))
                self.starts[number] = token[0] in SPACES or unspaced or self.is_word[number]
        self.segment = None if segmenter is None else load_segmenter(segmenter)
        # The text as the tokenizer has normalized it, so that a word always consists of whole tokens.
        self.texts = ["" if token in special else token.removeprefix(CONTINUATION) for token in tokens]
        self.unspaced = np.array([len(text) == 1 and is_unspaced(text) for text in self.texts])

    def word_starts(self, input_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """`(batch, length)`: whether a token starts a word."""
        starts = self.starts[input_ids]
        starts[:, 1:] |= self.is_word[input_ids[:, :-1]]
        if self.segment is not None:
            for row, ids in enumerate(input_ids):
                edges = np.flatnonzero(np.diff(self.unspaced[ids], prepend=False, append=False))
                for first, end in edges.reshape(-1, 2):  # runs of single-character tokens
                    starts[row, first:end] = self._segmented(ids[first:end])
        return starts

    def _segmented(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """The starts of words in a run of single-character tokens."""
        assert self.segment is not None
        text = "".join(self.texts[token_id] for token_id in ids)
        ends = np.cumsum([len(word) for word in self.segment(text)], dtype=np.int64)
        if not len(ends) or ends[-1] != len(ids):
            raise ElektronError(
                f"--masking.segmenter: the words of {text[:20]!r}… have {ends[-1] if len(ends) else 0} "
                f"characters and the text {len(ids)}: a segmenter must keep every character"
            )
        return np.isin(np.arange(len(ids)), [0, *ends])


def load_segmenter(name: str) -> Segmenter:
    """Import `jieba.cut` for the name `jieba`, else the function that MODULE:FUNCTION names.

    Raises:
        ElektronError: there is no such function.
    """
    module_name, colon, function = ("jieba", ":", "cut") if name == "jieba" else name.partition(":")
    if not colon:
        raise ElektronError(f"--masking.segmenter must be jieba or MODULE:FUNCTION, got {name!r}")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError, TypeError) as error:
        hint = ": pip install 'elektron[chinese]'" if name == "jieba" else ""
        raise ElektronError(f"--masking.segmenter {name}: {error}{hint}") from error
    segmenter: Segmenter | None = getattr(module, function, None)
    if not callable(segmenter):
        raise ElektronError(f"--masking.segmenter: {module_name} has no function {function}")
    return segmenter


def is_punctuation(token: str) -> bool:
    """Whether a token of BPE or Unigram is text without letters and digits; bytes above 127 count as letters."""
    text = token.strip(SPACES)
    return bool(text) and not any(c.isalnum() or ord(c) > 127 for c in text)


def is_unspaced(character: str) -> bool:
    """Whether a character is of a script without spaces, each of whose characters is a token: mostly Han."""
    return "㐀" <= character <= "鿿" or "豈" <= character <= "﫿" or "\U00020000" <= character <= "\U0003ffff"
