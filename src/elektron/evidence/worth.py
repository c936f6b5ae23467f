"""Was pre-training worth it? What the seeds of two sides bear out, in one sentence, and no more."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# With three seeds a side, complete separation happens by chance once in twenty times.
SEEDS_TO_CLAIM = 3


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
    """Ahead or behind only where every seed of one side beats every seed of the other."""
    medians = f"{write(pretrained.median)} against {write(scratch.median)}"
    difference = write_difference(abs(pretrained.median - scratch.median))
    if min(len(pretrained.values), len(scratch.values)) < SEEDS_TO_CLAIM:
        return f"Not resolved: {medians} from fewer than {SEEDS_TO_CLAIM} seeds says little."
    if min(pretrained.values) > max(scratch.values):
        return (
            f"Pre-training is ahead by {difference} ({medians}): "
            "every pre-trained seed beats every seed from scratch."
        )
    if max(pretrained.values) < min(scratch.values):
        return (
            f"Pre-training is behind by {difference} ({medians}): "
            "every seed from scratch beats every pre-trained seed."
        )
    return f"Not resolved: the seeds of the two overlap ({medians})."
