"""Was pre-training worth it? What the seeds of two sides bear out, in one sentence, and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from elektron.evidence.resolution import verdict


@dataclass(frozen=True)
class Side:
    """One side of a comparison."""

    values: Sequence[float]
    """A figure, one a seed; more is better."""
    middle: float
    """Their mean or median, the figure that the side goes by."""


def finding(
    pretrained: Side,
    scratch: Side,
    write: Callable[[float], str],
    write_difference: Callable[[float], str],
) -> str:
    """By the rule of `resolution.py`, on the seeds alone."""
    middles = f"{write(pretrained.middle)} against {write(scratch.middle)}"
    found = verdict(scratch.values, pretrained.values)
    if found.word == "not resolved":
        return f"Not resolved, {found.reason}: {middles}."
    difference = write_difference(abs(pretrained.middle - scratch.middle))
    sides = ("pre-trained seed", "seed from scratch")
    better, worse = sides if found.word == "ahead" else reversed(sides)
    return f"Pre-training is {found.word} by {difference} ({middles}): every {better} beats every {worse}."
