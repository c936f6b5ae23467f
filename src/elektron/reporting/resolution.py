"""Is one side better than another? The rule, plain enough to be checked by eye, used by every comparison.

One side is *ahead* of another where all of this holds:

1. Each has at least SEEDS_TO_CLAIM seeds.
2. Every seed of it is beyond every seed of the other. Of n seeds a side that are alike, all of one
   side come out beyond all of the other by chance in `chance(n)` of cases: once in ten with three.
3. Where 95 % bootstrap intervals are known, the medians differ by more than half their width (of either
   side the median width, of the two the larger), so that other rows would hardly have closed the gap.

*Behind* is the same from the other side. Everything else is *not resolved*, which does not say that
the two are equal.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Interval = tuple[float, float]

SEEDS_TO_CLAIM = 3


@dataclass(frozen=True)
class Verdict:
    """What is borne out, and if nothing is, why."""

    word: Literal["ahead", "behind", "not resolved"]
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}" if self.reason else self.word


def verdict(
    base: Sequence[float],
    other: Sequence[float],
    intervals: Sequence[Interval | None] | None = None,
    less_is_better: bool = False,
) -> Verdict:
    """What the seeds bear out of `other` against `base`.

    Args:
        base: figures of the one, one a seed.
        other: figures of the other.
        intervals: the 95 % intervals of the figures of `base`, then of `other`; without them seeds alone decide.
        less_is_better: whether a small figure is a good one.
    """
    if min(len(base), len(other)) < SEEDS_TO_CLAIM:
        return Verdict("not resolved", f"fewer than {SEEDS_TO_CLAIM} seeds")
    if min(other) <= max(base) and min(base) <= max(other):
        return Verdict("not resolved", "seeds overlap")
    difference = statistics.median(other) - statistics.median(base)
    if intervals is not None:
        half = max(half_width(intervals[: len(base)]), half_width(intervals[len(base) :]))
        if abs(difference) <= half:
            return Verdict("not resolved", "within the interval")
    return Verdict("ahead" if (difference > 0) != less_is_better else "behind")


def half_width(intervals: Sequence[Interval | None]) -> float:
    """Half the median width; where none is known, it is infinite."""
    widths = [interval[1] - interval[0] for interval in intervals if interval is not None]
    return statistics.median(widths) / 2 if widths else math.inf


def chance(seeds: int) -> int:
    """In how many cases alike sides of so many seeds come apart once, in either direction."""
    return math.comb(2 * seeds, seeds) // 2
