"""How long what is left of a comparison will take, by the runs that it has seen."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable

from elektron.compare.runs import Run


class Pace:
    """Seconds that runs took, pre-training and probes together."""

    def __init__(self) -> None:
        self.seen: list[tuple[Run, float]] = []

    def took(self, run: Run, seconds: float) -> None:
        """Note a run."""
        self.seen.append((run, seconds))

    def expected(self, run: Run) -> float | None:
        """Seconds of a run: as those of its variant at its budget, else of others at the budget, else in
        proportion to the budget; before any was seen, the time it may train for; else None."""
        alike: list[Callable[[Run], bool]] = [
            lambda other: (other.variant, other.budget) == (run.variant, run.budget),
            lambda other: other.budget == run.budget,
        ]
        for is_alike in alike:
            if known := [seconds for other, seconds in self.seen if is_alike(other)]:
                return statistics.mean(known)
        if self.seen:
            return run.budget.amount * statistics.mean(
                seconds / other.budget.amount for other, seconds in self.seen
            )
        return run.budget.amount if run.budget.kind == "time" else None

    def left(self, runs: Iterable[Run], at_once: int) -> float | None:
        """Seconds of all these runs, so many at once; None while nothing is known."""
        each = [self.expected(run) for run in runs]
        known = [seconds for seconds in each if seconds is not None]
        return sum(known) / at_once if len(known) == len(each) else None
