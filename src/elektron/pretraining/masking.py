"""Where the generator has to fill in.

Each row has the same number of masked positions, so that every step has the same shapes; a row with little
text uses fewer of them, and the others carry weight 0. As in the official code, 85 % of the
chosen positions become [MASK] and 15 % keep their token, and every masked position gets a generator
sample in the corruption. Unlike it, positions are drawn without replacement: drawing with
replacement masks 14.2 % instead of 15 % at length 128.

Whole words are drawn in random order; a word that no longer fits is skipped, so that their number is
reached where possible and never exceeded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Masks(NamedTuple):
    """What masking decides for a batch of rows."""

    masked_ids: NDArray[np.int64]
    """`(batch, length)`: the generator's input."""
    positions: NDArray[np.int64]
    """`(batch, masked)`: distinct positions."""
    weights: NDArray[np.float32]
    """`(batch, masked)`: 1 for masked positions, 0 for padding of this axis, which is in no loss, sample or metric."""


def max_masked_positions(length: int, share: float) -> int:
    """The most masked positions in a row of `length` tokens: a constant for its length and share."""
    return max(1, round(share * length))


def draws_in_row(length: int, max_masked: int) -> int:
    """Uniform numbers that masking takes for a row: one for each position and one for each masked position."""
    return length + max_masked


def mask_rows(
    input_ids: NDArray[np.int64],
    uniforms: NDArray[np.float64],
    special_ids: Mapping[str, int],
    never_masked: Sequence[int],
    share: float,
    keep: float,
    word_begins: NDArray[np.bool_] | None = None,
) -> Masks:
    """Choose positions and build the generator's input.

    Args:
        input_ids: `(batch, length)` token ids.
        uniforms: `(batch, draws_in_row(length, max_masked))` numbers in [0, 1).
        special_ids: ids of `pad` and `mask`.
        never_masked: ids of all special tokens.
        share: share of a row's real tokens to choose.
        keep: share of the chosen that keep their token.
        word_begins: `(batch, length)`, where words begin, to mask whole words; None for single tokens.
    """
    length = input_ids.shape[1]
    max_masked = uniforms.shape[1] - length
    maskable = ~np.isin(input_ids, never_masked)
    real = (input_ids != special_ids["pad"]).sum(1)
    wanted = np.minimum(
        np.maximum(1, np.rint(share * real)), np.minimum(max_masked, maskable.sum(1))
    )
    if word_begins is None:
        # Positions that may be masked come first, in random order; the first ones are masked.
        order = np.argsort(np.where(maskable, uniforms[:, :length], 2.0), axis=1, kind="stable")
        used = wanted
    else:
        chosen = choose_words(maskable, word_begins, uniforms[:, :length], wanted.astype(np.int64))
        order = np.argsort(~chosen, axis=1, kind="stable")
        used = chosen.sum(1)
    positions = order[:, :max_masked]
    weights = np.arange(max_masked) < used[:, None]

    becomes_mask = weights & (uniforms[:, length:] >= keep)
    chosen_ids = np.take_along_axis(input_ids, positions, axis=1)
    masked_ids = input_ids.copy()
    replacement = np.where(becomes_mask, special_ids["mask"], chosen_ids)
    np.put_along_axis(masked_ids, positions, replacement, axis=1)
    return Masks(masked_ids, positions, weights.astype(np.float32))


def choose_words(
    maskable: NDArray[np.bool_],
    word_begins: NDArray[np.bool_],
    uniforms: NDArray[np.float64],
    wanted: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Positions `(batch, length)` of whole words, as many as fit into `wanted` `(rows,)` positions a row.

    A row whose words are all longer than that gets a part of one: it has to learn something too.
    """
    rows, length = maskable.shape
    begins = word_begins & maskable
    # What follows a special token begins a word, whatever the tokenizer says.
    begins[:, 1:] |= maskable[:, 1:] & ~maskable[:, :-1]
    begins[:, 0] |= maskable[:, 0]
    words = np.where(maskable, np.cumsum(begins, axis=1) - 1, -1)
    here = np.arange(rows)
    sizes = np.zeros((rows, length), np.int64)
    np.add.at(sizes, (np.repeat(here, length), words.ravel()), maskable.ravel())

    order = np.argsort(np.where(np.arange(length) < begins.sum(1)[:, None], uniforms, 2.0), axis=1)
    taken = np.zeros((rows, length), np.bool_)
    left = wanted.copy()
    for rank in range(int(begins.sum(1).max(initial=0))):
        word = order[:, rank]
        size = sizes[here, word]
        fits = (size > 0) & (size <= left)
        taken[here[fits], word[fits]] = True
        left -= np.where(fits, size, 0)
        if not left.any():
            break
    chosen = maskable & np.take_along_axis(taken, np.maximum(words, 0), axis=1)
    for row in np.flatnonzero((wanted > 0) & ~chosen.any(1)):
        part = np.flatnonzero(words[row] == order[row, 0])
        chosen[row, part[: wanted[row]]] = True
    return chosen
