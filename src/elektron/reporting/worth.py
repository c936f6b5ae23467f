"""Was pre-training worth it? What the seeds of two sides bear out, in one sentence, and no more."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from elektron.reporting.resolution import verdict


@dataclass(frozen=True)
class Spread:
    """One figure over several seeds."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the greatest."""
        return min(self.values), max(self.values)


def finding(
    pretrained: Spread,
    scratch: Spread,
    write: Callable[[float], str],
    write_difference: Callable[[float], str],
) -> str:
    """By the rule of `resolution.py`, on the seeds alone."""
    medians = f"{write(pretrained.median)} against {write(scratch.median)}"
    found = verdict(scratch.values, pretrained.values)
    if found.word == "not resolved":
        return f"Not resolved, {found.reason}: {medians}."
    difference = write_difference(abs(pretrained.median - scratch.median))
    sides = ("pre-trained seed", "seed from scratch")
    better, worse = sides if found.word == "ahead" else reversed(sides)
    return f"Pre-training is {found.word} by {difference} ({medians}): every {better} beats every {worse}."
