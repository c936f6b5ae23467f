"""What every measure is, and how far its figures would move on other rows of the same kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sized
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Measure(Protocol):
    """Figures of a set of predictions, of all of them or of a resample."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def __call__(self, chosen: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Flat names to figures, over the rows `chosen` (with repetition), or all.

        A figure that repetition itself would change, as it does the share of distinct outputs, is
        given for all rows only.
        """
        ...


def bootstrap(
    measure: Measure, resamples: int = 1000, seed: int = 0, confidence: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile intervals (Efron, 1979) for every figure that the measure gives of a resample.

    Args:
        measure: at least one row.
        resamples: how often as many rows as there are will be drawn with repetition.
        seed: the same seed draws the same rows.
        confidence: share of the resamples inside an interval.

    Returns:
        Lower and upper end by figure. A figure that only some resamples have, such as that of a few
        questions without an answer, is judged by those.
    """
    generator = np.random.default_rng(seed)
    drawn: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(resamples):
        for name, figure in measure(generator.integers(len(measure), size=len(measure))).items():
            drawn[name].append(figure)
    tail = (1 - confidence) / 2
    intervals = {}
    for name, figures in drawn.items():
        low, high = np.quantile(figures, [tail, 1 - tail])
        intervals[name] = (float(low), float(high))
    return intervals


def require_rows(truth: Sized, predicted: Sized) -> None:
    """A measure needs a prediction for each truth, and one at least."""
    if len(truth) != len(predicted):
        raise ValueError(f"{len(truth)} truths but {len(predicted)} predictions")
    if not len(truth):
        raise ValueError("no rows to measure")
