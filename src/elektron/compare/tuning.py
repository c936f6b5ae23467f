"""Which of the tried values a variant is run with: the one with the best mean rank over the probes.

Ranks instead of figures, because the probes' figures have no common scale. They are of the rows that
choices go by, never of test rows. A value under which the loss was no longer finite ranks last.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from elektron.errors import ElektronError
from elektron.evidence.reading import Record
from elektron.evidence.variants import Trial


def trials(results: Sequence[Record], probes: Sequence[str]) -> list[Trial]:
    """The results of one variant with their mean ranks."""
    figures = [
        {name: float(result["probes"][name]["eval"]) for name in probes if name in result["probes"]}
        for result in results
    ]
    by_probe = [ranks([found.get(name) for found in figures]) for name in probes]
    return [
        Trial(
            settings=result["tuned"],
            figures=found,
            mean_rank=statistics.mean(column[place] for column in by_probe),
            diverged="diverged" in result,
        )
        for place, (result, found) in enumerate(zip(results, figures, strict=True))
    ]


def best(variant: str, of: Sequence[Trial]) -> Trial:
    """The trial with the best mean rank, of equals the first.

    Raises:
        ElektronError: all have diverged.
    """
    finite = [trial for trial in of if not trial.diverged]
    if not finite:
        raise ElektronError(
            f"variant {variant}: the loss was not finite with any of the values of --tune: "
            "give lower ones"
        )
    return min(finite, key=lambda trial: trial.mean_rank)


def ranks(figures: Sequence[float | None]) -> list[float]:
    """1 for the greatest; equals share the mean of their places; None comes last."""
    values = [float("-inf") if figure is None else figure for figure in figures]
    return [
        sum(other > value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]
