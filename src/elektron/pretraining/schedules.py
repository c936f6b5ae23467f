"""Schedules over a run: its length and position, the learning rate, and the curriculum of batch shapes.

The curriculum takes short rows first (rows of the blocks are split, so that a step has the same number of tokens and
attention costs less) and small batches first. Both double from stage to stage, in stages of equal length (as in
LTG-BERT, Samuel et al. 2023, and Cramming, Geiping and Goldstein 2023). The mask probability may change linearly.
"""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from elektron.errors import ElektronError
from elektron.pretraining.config import PretrainConfig

GIGA = 1e9
SHORTENED_WARMUP = 0.1
"""A warm-up that is longer than the run is shortened to this fraction of it."""


@dataclass
class Progress:
    """The position in a run. Checkpoints store it as JSON."""

    step: int = 0
    seconds: float = 0.0
    """Training time over all sessions, including evaluation and checkpoints."""
    flops: float = 0.0
    held_out_loss: float | None = None
    """Weighted loss of both networks at the last evaluation; the best checkpoint has the lowest."""
    stage: int = 0
    """Stage of the plan."""
    stage_step: int = 0
    """First step of the stage."""
    schedule_from: float = 0.0
    """Start of the learning-rate schedule, in the unit of the run's length: 0, or the end of the run before it was
    made longer."""
    skipped: int = 0
    """Skipped steps since the last line of metrics without any."""
    rollbacks: list[int] = field(default_factory=list)
    """The steps at which the run rolled back; emptied once a checkpoint beyond them is written."""
    skipped_rows: list[tuple[int, int]] = field(default_factory=list)
    """`(step, rows)`: from this step on, this number of further rows of the data order is skipped."""
    settings: str = ""
    """Identity of the settings and blocks under which the recent losses were computed."""
    device: str = ""
    """Processor, precision and execution mode; results are only bit-identical if these are the same."""

    def __post_init__(self) -> None:
        """Raise ValueError for values that only a damaged file has."""
        counts = [self.step, self.stage, self.stage_step, self.skipped, *self.rollbacks]
        counts += itertools.chain(*self.skipped_rows)
        if min(counts) < 0 or not all(map(math.isfinite, (self.seconds, self.flops, self.schedule_from))):
            raise ValueError("a count below 0, or an amount that is not finite")


@dataclass(frozen=True)
class RunLength:
    """The length of a run: in steps, in seconds of training, or in GFLOPs."""

    total: float
    unit: Literal["steps", "seconds", "GFLOPs"]

    @classmethod
    def of(cls, config: PretrainConfig, steps: int | None) -> RunLength:
        """The configured length; `steps` is the number of steps where the configuration determines it."""
        if config.minutes is not None:
            return cls(config.minutes * 60, "seconds")
        if config.flops is not None:
            return cls(config.flops / GIGA, "GFLOPs")
        assert steps is not None
        return cls(steps, "steps")

    @property
    def steps(self) -> int | None:
        """The number of steps, where it is known from the start."""
        return int(self.total) if self.unit == "steps" else None

    def done(self, progress: Progress) -> float:
        """How much of the run is done, in its unit."""
        return {"steps": progress.step, "seconds": progress.seconds, "GFLOPs": progress.flops / GIGA}[self.unit]

    def fraction_done(self, progress: Progress, since: float = 0.0) -> float:
        """How much of the run after `since`, a position in its unit, is done, from 0 to 1."""
        done, length = self.done(progress) - since, self.total - since
        return min(1.0, max(0.0, done / length)) if length > 0 else 1.0

    def __str__(self) -> str:
        return {
            "steps": f"{self.total:,} steps",
            "seconds": f"{self.total / 60:g} minutes",
            "GFLOPs": f"{self.total * GIGA:.3g} FLOPs",
        }[self.unit]


def effective_warmup(warmup: float, steps: int | None) -> float:
    """The configured warm-up, shortened if a schedule of `steps` steps (None: unknown) would end before it does."""
    return warmup if steps is None or warmup < 1 or warmup < steps else SHORTENED_WARMUP


def learning_rate_factor(fraction: float, step: int, warmup: float, decay_fraction: float) -> float:
    """The factor on the peak learning rate: a warm-up times a linear decay to 0, as in the official code.

    Args:
        fraction: how much of the run is done, from 0 to 1.
        step: steps done.
        warmup: below 1 a fraction of the run, else a number of steps.
        decay_fraction: last fraction of the run over which the rate decays.
    """
    warm = 1.0
    if warmup:
        warm = min(1.0, (fraction if warmup < 1 else step) / warmup)
    return warm * min(1.0, (1.0 - fraction) / decay_fraction)


@dataclass(frozen=True)
class Shape:
    """The shape of a step's batch."""

    store_rows: int
    """Rows of the blocks."""
    parts: int
    """Rows that each row of the blocks is split into."""
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
    """The batch shape and the mask probability of every step of a run."""

    def __init__(self, config: PretrainConfig, seq_len: int) -> None:
        curriculum, masking = config.curriculum, config.masking
        self.seq_len = seq_len
        self.batch_fraction, self.length_fraction = curriculum.batch_fraction, curriculum.length_fraction
        self.batches = doublings(curriculum.first_batch_size or config.batch_size, config.batch_size)
        self.lengths = doublings(curriculum.first_length or seq_len, seq_len)
        for option, first, values, last in (
            ("first-length", curriculum.first_length, self.lengths, seq_len),
            ("first-batch-size", curriculum.first_batch_size, self.batches, config.batch_size),
        ):
            if values[-1] != last:
                way = "give a half, a quarter, an eighth … of it"
                raise ElektronError(f"--curriculum.{option} {first} does not double to {last}: {way}")
        final = masking.final_mask_probability
        self.mask_probabilities = masking.mask_probability, masking.mask_probability if final is None else final
        self.steps = config.steps
        """Steps of the run; None where its length is in minutes or FLOPs."""
        if config.tokens is not None:
            growing = self.batch_fraction if len(self.batches) > 1 else 0.0
            mean_rows = growing * float(np.mean(self.batches[:-1] or [0]))
            mean_rows += (1 - growing) * self.batches[-1]
            self.steps = math.ceil(config.tokens / (mean_rows * seq_len))

    def shape(self, step: int) -> Shape:
        """The shape of step number `step` (from 0)."""
        length = self._at(step, self.lengths, self.length_fraction)
        rows = self._at(step, self.batches, self.batch_fraction)
        return Shape(rows, self.seq_len // length, length)

    def mask_probability(self, step: int) -> float:
        """The mask probability of a step."""
        first, last = self.mask_probabilities
        done = 0.0 if first == last else step / max(1, (self.steps or 1) - 1)
        return first + (last - first) * min(1.0, done)

    def rows_before(self, step: int) -> int:
        """Rows of the blocks that the steps before this one have used."""
        starts = self._stage_starts(len(self.batches), self.batch_fraction)
        ends = [*starts[1:], max(step, starts[-1])]
        return sum(
            rows * max(0, min(step, end) - start) for rows, start, end in zip(self.batches, starts, ends, strict=True)
        )

    def tokens_before(self, step: int) -> int:
        """Tokens, including padding, that the steps before this one have used."""
        return self.rows_before(step) * self.seq_len

    def _at(self, step: int, values: list[int], fraction: float) -> int:
        """The value in the stage of a step."""
        return values[bisect.bisect_right(self._stage_starts(len(values), fraction), step) - 1]

    def _stage_starts(self, stages: int, fraction: float) -> list[int]:
        """The first step of each stage; the last one starts after `fraction` of the run."""
        if stages == 1:
            return [0]
        assert self.steps is not None
        return [math.ceil(n * fraction * self.steps / (stages - 1)) for n in range(stages)]


def doublings(first: int, last: int) -> list[int]:
    """`first`, twice that, and so on up to at most `last`."""
    return [first << n for n in range((last // first).bit_length())] or [first]
