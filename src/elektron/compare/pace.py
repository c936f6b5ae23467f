"""How long what is left of a comparison will take, by the runs that it has seen."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from elektron.compare.runs import Run


@dataclass(frozen=True)
class Taken:
    """What a run took, in seconds."""

    run: Run
    training: float
    rest: float
    """Probes, reports and all else, which does not grow with the budget."""


class Pace:
    """The runs of this session, and what they say of others."""

    def __init__(self) -> None:
        self.seen: list[Taken] = []

    def took(self, run: Run, seconds: float, training: float) -> None:
        """Note a run; of its training an earlier session may have done a part."""
        training = min(training, seconds)
        self.seen.append(Taken(run, training, seconds - training))

    def expected(self, run: Run) -> float | None:
        """Seconds of a run: as those of its variant at its budget, else of others at the budget, else with
        training in proportion to the budget; before any was seen, the time it may train for; else None.
        """
        alike: list[Callable[[Run], bool]] = [
            lambda other: (other.variant, other.budget) == (run.variant, run.budget),
            lambda other: other.budget == run.budget,
        ]
        for is_alike in alike:
            if known := [taken for taken in self.seen if is_alike(taken.run)]:
                return statistics.mean(taken.training + taken.rest for taken in known)
        if self.seen:
            share = run.budget.amount
            return statistics.mean(
                taken.training * share / taken.run.budget.amount + taken.rest for taken in self.seen
            )
        return run.budget.amount if run.budget.kind == "time" else None

    def left(self, runs: Iterable[Run], at_once: int) -> float | None:
        """Seconds of all these runs, so many at once; None while nothing is known."""
        each = [self.expected(run) for run in runs]
        known = [seconds for seconds in each if seconds is not None]
        return sum(known) / at_once if len(known) == len(each) else None
