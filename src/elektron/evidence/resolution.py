"""Is one variant better than another? The rule, plain enough to be checked by eye.

A variant is *ahead* of another where both hold:

1. Every seed of it is beyond every seed of the other. Of n seeds a side that are alike, all of one
   side come out beyond all of the other by chance in `chance(n)` of cases: once in three with two
   seeds, once in ten with three.
2. The medians differ by more than half the width of the figure's 95 % bootstrap interval (of either
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
    intervals: Sequence[Interval | None],
    less_is_better: bool = False,
) -> Verdict:
    """What the seeds bear out of `other` against `base`.

    Args:
        base: figures of the one, one a seed.
        other: figures of the other.
        intervals: the 95 % intervals of the figures of `base`, then of `other`.
        less_is_better: whether a small figure is a good one.
    """
    if min(len(base), len(other)) < 2:
        return Verdict("not resolved", "one seed")
    if min(other) <= max(base) and min(base) <= max(other):
        return Verdict("not resolved", "seeds overlap")
    half = max(half_width(intervals[: len(base)]), half_width(intervals[len(base) :]))
    difference = statistics.median(other) - statistics.median(base)
    if abs(difference) <= half:
        return Verdict("not resolved", "within the interval")
    return Verdict("ahead" if (difference > 0) != less_is_better else "behind")


def half_width(intervals: Sequence[Interval | None]) -> float:
    """Half the median width; without intervals nothing is known, and it is infinite."""
    widths = [interval[1] - interval[0] for interval in intervals if interval is not None]
    return statistics.median(widths) / 2 if widths else math.inf


def chance(seeds: int) -> int:
    """In how many cases alike sides of so many seeds come apart once, in either direction."""
    return math.comb(2 * seeds, seeds) // 2
