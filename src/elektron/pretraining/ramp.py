"""How rows, batches and masks change over a run: all of it a function of the step's number.

Short rows first: a row of the store is cut into parts, each a row of its own, so that a step has as
many tokens as ever and attention costs less. Small batches first: a step takes fewer rows. Both
double from stage to stage, each stage as long as the others (LTG-BERT, Samuel et al. 2023, and
Cramming, Geiping and Goldstein 2023, ramp so). The share of masked tokens may fall linearly. Where
none of it is asked for, every step is alike and nothing needs to know how long the run is.
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
    """What a step is made of; steps of one shape cost the same."""

    store_rows: int
    """Rows of the store."""
    parts: int
    """Rows that each of them is cut into."""
    length: int
    """Tokens in a row."""

    @property
    def rows(self) -> int:
        """Rows that the networks see."""
        return self.store_rows * self.parts

    @property
    def tokens(self) -> int:
        return self.rows * self.length


class Ramp:
    """The shapes of a run's steps."""

    def __init__(self, config: PretrainConfig, seq_len: int) -> None:
        ramp, masking = config.ramp, config.masking
        self.batches = doublings(ramp.first_batch or config.batch, config.batch)
        self.batch_share = ramp.batch_share
        self.lengths = doublings(ramp.first_length or seq_len, seq_len)
        if self.lengths[-1] != seq_len:
            raise ElektronError(
                f"--ramp.first-length {ramp.first_length} does not double to the {seq_len} tokens "
                "of a row: give a half, a quarter, an eighth … of it"
            )
        self.length_share = ramp.length_share
        self.seq_len = seq_len
        self.shares = (
            masking.share,
            masking.share if masking.final_share is None else masking.final_share,
        )
        self.steps = self.total_steps(config)

    def total_steps(self, config: PretrainConfig) -> int | None:
        """Steps of the run; None where only time or operations will tell."""
        if config.steps is not None:
            return config.steps
        if config.tokens is None:
            return None
        growing = self.batch_share if len(self.batches) > 1 else 0.0
        mean_rows = (
            growing * float(np.mean(self.batches[:-1] or [0])) + (1 - growing) * self.batches[-1]
        )
        return math.ceil(config.tokens / (mean_rows * self.seq_len))

    def shape(self, step: int) -> Shape:
        """What step number `step` (from 0) is made of."""
        length = self.at(step, self.lengths, self.length_share)
        return Shape(
            store_rows=self.at(step, self.batches, self.batch_share),
            parts=self.seq_len // length,
            length=length,
        )

    def mask_share(self, step: int) -> float:
        """Share of a step's tokens that are masked."""
        first, last = self.shares
        falls = 0.0 if first == last else step / max(1, (self.steps or 1) - 1)
        return first + (last - first) * min(1.0, falls)

    def at(self, step: int, values: list[int], share: float) -> int:
        """The value of the stage that a step is in."""
        return values[bisect.bisect_right(self.begins(len(values), share), step) - 1]

    def rows_before(self, step: int) -> int:
        """Rows of the store that the steps before this one have taken."""
        begins = self.begins(len(self.batches), self.batch_share)
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
        """Tokens, padding included, that the steps before this one have taken."""
        return self.rows_before(step) * self.seq_len


def doublings(first: int, last: int) -> list[int]:
    """`first`, its double, and so on up to `last`; without `last` where doubling misses it."""
    values = [first]
    while values[-1] * 2 <= last:
        values.append(values[-1] * 2)
    return values
