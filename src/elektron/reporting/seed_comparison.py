"""The rule that decides whether one side of a comparison is ahead of another; every comparison uses it.

A side is the metric values of one model or method, one per seed. One side is *ahead* of another if all of this holds:

1. Each has at least MIN_SEEDS seeds.
2. Every seed of it is better than every seed of the other. Between two sides of n seeds that do not differ, this
   happens by chance in one of `separation_odds(n)` cases: one in ten with three seeds.
3. If 95 % bootstrap intervals are known, the medians differ by more than half the interval's width (the larger of the
   two sides' median widths), so that other test rows would probably not close the gap.

*Behind* is the same with the sides exchanged. Everything else is *not resolved*, which does not mean equal.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Interval = tuple[float, float]

MIN_SEEDS = 3


@dataclass(frozen=True)
class Outcome:
    """The result of a comparison and, if it is not resolved, the reason."""

    result: Literal["ahead", "behind", "not resolved"]
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.result}: {self.reason}" if self.reason else self.result


def compare_seeds(
    base: Sequence[float],
    other: Sequence[float],
    intervals: Sequence[Interval | None] | None = None,
    less_is_better: bool = False,
) -> Outcome:
    """Whether `other` is ahead of `base`.

    Args:
        base: the metric of one side, one value per seed.
        other: the metric of the other side.
        intervals: the 95 % intervals of `base`, then of `other`; without them the seeds alone decide.
        less_is_better: whether a small value is a good one.
    """
    if min(len(base), len(other)) < MIN_SEEDS:
        return Outcome("not resolved", f"fewer than {MIN_SEEDS} seeds")
    if min(other) <= max(base) and min(base) <= max(other):
        return Outcome("not resolved", "seeds overlap")
    difference = statistics.median(other) - statistics.median(base)
    if intervals is not None:
        half = max(half_width(intervals[: len(base)]), half_width(intervals[len(base) :]))
        if abs(difference) <= half:
            return Outcome("not resolved", "within the interval")
    return Outcome("ahead" if (difference > 0) != less_is_better else "behind")


def half_width(intervals: Sequence[Interval | None]) -> float:
    """Half the median width of the intervals; infinite if none is known."""
    widths = [interval[1] - interval[0] for interval in intervals if interval is not None]
    return statistics.median(widths) / 2 if widths else math.inf


def separation_odds(seeds: int) -> int:
    """N such that two equally good sides with so many seeds by chance do not overlap, either way, in one of N cases."""
    return math.comb(2 * seeds, seeds) // 2


@dataclass(frozen=True)
class Spread:
    """One metric over several seeds."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def ends(self) -> Interval:
        """The lowest and the highest value."""
        return min(self.values), max(self.values)


def pretraining_gain_sentence(
    pretrained: Spread, scratch: Spread, format_value: Callable[[float], str], format_difference: Callable[[float], str]
) -> str:
    """Say in one sentence whether the pre-trained seeds are ahead of those from scratch."""
    medians = f"{format_value(pretrained.median)} against {format_value(scratch.median)}"
    outcome = compare_seeds(scratch.values, pretrained.values)
    if outcome.result == "not resolved":
        return f"Not resolved, {outcome.reason}: {medians}."
    difference = format_difference(abs(pretrained.median - scratch.median))
    sides = ("pre-trained seed", "seed from scratch")
    better, worse = sides if outcome.result == "ahead" else reversed(sides)
    return f"Pre-training is {outcome.result} by {difference} ({medians}): every {better} beats every {worse}."
