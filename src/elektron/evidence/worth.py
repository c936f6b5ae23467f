"""Was pre-training worth it? What the seeds of two sides bear out, in one sentence, and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

# With three seeds a side, complete separation happens by chance once in twenty times.
SEEDS_TO_CLAIM = 3


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
    """Ahead or behind only where every seed of one side beats every seed of the other."""
    middles = f"{write(pretrained.middle)} against {write(scratch.middle)}"
    difference = write_difference(abs(pretrained.middle - scratch.middle))
    if min(len(pretrained.values), len(scratch.values)) < SEEDS_TO_CLAIM:
        return f"Not resolved: {middles} from fewer than {SEEDS_TO_CLAIM} seeds says little."
    if min(pretrained.values) > max(scratch.values):
        return (
            f"Pre-training is ahead by {difference} ({middles}): "
            "every pre-trained seed beats every seed from scratch."
        )
    if max(pretrained.values) < min(scratch.values):
        return (
            f"Pre-training is behind by {difference} ({middles}): "
            "every seed from scratch beats every pre-trained seed."
        )
    return f"Not resolved: the seeds of the two overlap ({middles})."
