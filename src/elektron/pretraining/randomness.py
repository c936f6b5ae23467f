"""Random numbers and data order as pure functions of (seed, step, global row).

There is no state: a resumed run, or one on another number of processes, draws the same numbers for the same rows.
Numbers come from Philox, a counter-based generator (Salmon et al. 2011). The order of an epoch is a keyed permutation
(a Feistel network with cycle walking), so that no array of the corpus' size is needed.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

STREAMS = {"training": 0, "evaluation": 1}
DRAWS_IN_A_COUNTER = 4
FEISTEL_ROUNDS = 6


def row_uniforms(
    seed: int, step: int, first_row: int, rows: int, draws: int, stream: Literal["training", "evaluation"] = "training"
) -> NDArray[np.float64]:
    """Uniform numbers `(rows, draws)` in [0, 1) for `rows` rows of the step's global batch from `first_row` on."""
    counters = -(-draws // DRAWS_IN_A_COUNTER)
    philox = np.random.Philox(key=[seed, step], counter=[0, 0, 0, STREAMS[stream]])
    philox.advance(first_row * counters)
    numbers = np.random.Generator(philox).random((rows, counters * DRAWS_IN_A_COUNTER))
    return numbers[:, :draws]


def mix(values: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """Hash 64-bit values with a key (the finalizer of SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(key & 0xFFFFFFFFFFFFFFFF)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def key_of(*numbers: int) -> int:
    """One 64-bit key from several numbers in order."""
    state = np.zeros(1, np.uint64)
    for number in numbers:
        state = mix(state, number + 1)
    return int(state[0])


def permute(indices: NDArray[np.uint64], size: int, key: int) -> NDArray[np.uint64]:
    """The images of `indices` under the permutation of `range(size)` that belongs to `key`."""
    half_bits = np.uint64(max(1, -(-(size - 1).bit_length() // 2)))
    half_mask = np.uint64((1 << int(half_bits)) - 1)

    def shuffle_once(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = values >> half_bits, values & half_mask
        for round_number in range(FEISTEL_ROUNDS):
            left, right = right, left ^ (mix(right, key + round_number * 0x9E3779B9) & half_mask)
        return (left << half_bits) | right

    values = shuffle_once(indices)
    while (outside := values >= size).any():
        values[outside] = shuffle_once(values[outside])
    return values


def rows_from(first: int, count: int, total_rows: int, seed: int) -> NDArray[np.int64]:
    """The row numbers at positions `first` to `first + count - 1` of the data order: each row once per epoch."""
    order = np.arange(first, first + count, dtype=np.uint64)
    epochs, offsets = np.divmod(order, np.uint64(total_rows))
    rows = np.empty(count, np.int64)
    for epoch in np.unique(epochs):
        in_epoch = epochs == epoch
        rows[in_epoch] = permute(offsets[in_epoch], total_rows, key_of(seed, int(epoch)))
    return rows


def step_seed(seed: int, step: int, micro_batch: int, rank: int = 0) -> int:
    """The seed of dropout for one micro-batch of one rank."""
    return key_of(seed, step, micro_batch, rank) >> 1
