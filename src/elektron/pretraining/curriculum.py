"""The curriculum: row length, batch size and mask probability as functions of the step.

Short rows first: a row of the blocks is split into parts, each a row of its own, so that a step has the same number of
tokens and attention costs less. Small batches first: a step takes fewer rows. Both double from stage to stage, in
stages of equal length (as in LTG-BERT, Samuel et al. 2023, and Cramming, Geiping and Goldstein 2023). The mask
probability may change linearly. Without a curriculum no step depends on the length of the run.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass

import numpy as np

from elektron.errors import ElektronError
from elektron.pretraining.config import PretrainConfig


@dataclass(frozen=True)
class Shape:
    """The shape of a step's batch."""

    store_rows: int
    """Rows of the blocks."""
    parts: int
    """Rows that each of them is split into."""
    length: int
    """Tokens in a row."""

    @property
    def rows(self) -> int:
        """Rows in the batch."""
        return self.store_rows * self.parts

    @property
    def tokens(self) -> int:
        return self.rows * self.length


class Curriculum:
    """The shape and the mask probability of every step of a run."""

    def __init__(self, config: PretrainConfig, seq_len: int) -> None:
        curriculum, masking = config.curriculum, config.masking
        self.batches = doublings(
            curriculum.first_batch_size or config.batch_size, config.batch_size
        )
        self.batch_fraction = curriculum.batch_fraction
        self.lengths = doublings(curriculum.first_length or seq_len, seq_len)
        if self.lengths[-1] != seq_len:
            raise ElektronError(
                f"--curriculum.first-length {curriculum.first_length} does not double to the {seq_len} tokens "
                "of a row: give a half, a quarter, an eighth … of it"
            )
        self.length_fraction = curriculum.length_fraction
        self.seq_len = seq_len
        self.shares = (
            masking.mask_probability,
            masking.mask_probability
            if masking.final_mask_probability is None
            else masking.final_mask_probability,
        )
        self.steps = self.total_steps(config)

    def total_steps(self, config: PretrainConfig) -> int | None:
        """Steps of the run; None where its length is in minutes or FLOPs."""
        if config.steps is not None:
            return config.steps
        if config.tokens is None:
            return None
        growing = self.batch_fraction if len(self.batches) > 1 else 0.0
        mean_rows = (
            growing * float(np.mean(self.batches[:-1] or [0])) + (1 - growing) * self.batches[-1]
        )
        return math.ceil(config.tokens / (mean_rows * self.seq_len))

    def shape(self, step: int) -> Shape:
        """The shape of step number `step` (from 0)."""
        length = self.at(step, self.lengths, self.length_fraction)
        return Shape(
            store_rows=self.at(step, self.batches, self.batch_fraction),
            parts=self.seq_len // length,
            length=length,
        )

    def mask_probability(self, step: int) -> float:
        """The mask probability of a step."""
        first, last = self.shares
        falls = 0.0 if first == last else step / max(1, (self.steps or 1) - 1)
        return first + (last - first) * min(1.0, falls)

    def at(self, step: int, values: list[int], share: float) -> int:
        """The value in the stage of a step."""
        return values[bisect.bisect_right(self.begins(len(values), share), step) - 1]

    def rows_before(self, step: int) -> int:
        """Rows of the blocks that the steps before this one have used."""
        begins = self.begins(len(self.batches), self.batch_fraction)
        ends = [*begins[1:], max(step, begins[-1])]
        return sum(
            rows * max(0, min(step, end) - begin)
            for rows, begin, end in zip(self.batches, begins, ends, strict=True)
        )

    def begins(self, stages: int, share: float) -> list[int]:
        """The first step of each stage; the last one begins after `share` of the run."""
        if stages == 1:
            return [0]
        assert self.steps is not None
        return [math.ceil(n * share * self.steps / (stages - 1)) for n in range(stages)]

    def tokens_before(self, step: int) -> int:
        """Tokens, including padding, that the steps before this one have used."""
        return self.rows_before(step) * self.seq_len


def doublings(first: int, last: int) -> list[int]:
    """`first`, twice that, and so on up to at most `last`."""
    values = [first]
    while values[-1] * 2 <= last:
        values.append(values[-1] * 2)
    return values
