"""`Measure`: metrics over all rows or a resample; bootstrap intervals; precision, recall and F1 from counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

Rows = slice | NDArray[np.int64]
"""All rows (a slice), or row indices with repetition."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """The metrics of one set of predictions."""

    rows: int
    compute: Callable[[Rows], dict[str, float]]
    """Metrics over some of the rows."""
    not_resampled: dict[str, float] = field(default_factory=dict)
    """Metrics over all rows that have no interval, because repeated rows would change them, such as `distinct_1`."""
    details: dict[str, Any] = field(default_factory=dict)
    """For the report: `per_class`, `confusion`, `points`."""
    notes: dict[str, str] = field(default_factory=dict)
    """How metrics were computed, such as the signatures of sacrebleu."""

    def __call__(self) -> dict[str, float]:
        """Metrics over all rows."""
        return self.compute(slice(None)) | self.not_resampled


def bootstrap(measure: Measure, resamples: int = 1000) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals (Efron, 1979) of every metric that is computed from a resample.

    Args:
        measure: a measure with at least one row.
        resamples: number of resamples, each with as many rows as `measure`.

    Returns:
        Lower and upper end by metric. If only some resamples have a metric, such as that of a few
        questions without an answer, its interval is computed from these.
    """
    generator = np.random.default_rng(0)
    resampled: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(resamples):
        for name, value in measure.compute(generator.integers(measure.rows, size=measure.rows)).items():
            resampled[name].append(value)
    intervals = {}
    for name, values in resampled.items():
        low, high = np.quantile(values, [0.025, 0.975])
        intervals[name] = (float(low), float(high))
    return intervals


class Counts:
    """How often each kind (class, entity type, tag) is right, predicted and true in each row.

    Args:
        right: `(rows, kinds)`, dense or sparse, as are the others.
        predicted: counts of predictions.
        true: counts of what is true.
    """

    def __init__(self, right: Any, predicted: Any, true: Any) -> None:
        parts = [csr_array(part, dtype=np.int64) for part in (right, predicted, true)]
        self.table = hstack(parts, format="csr")

    def total(self, rows: Rows) -> NDArray[np.int64]:
        """`(3, kinds)`: right, predicted and true over some of the rows."""
        count = self.table.shape[0]
        weights = np.bincount(np.arange(count)[rows], minlength=count)
        return (weights @ self.table).reshape(3, -1)


def precision_recall_f1(totals: NDArray[np.int64]) -> NDArray[np.float64]:
    """`(3, …)` right, predicted and true to `(3, …)` precision, recall and F1; 0 where undefined."""
    right, predicted, true = totals
    return np.stack([ratio(right, predicted), ratio(right, true), ratio(2 * right, predicted + true)])


def ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """`part / whole`, 0 where `whole` is 0 (and `part` too)."""
    return part / np.maximum(whole, 1)


def micro(totals: NDArray[np.int64]) -> dict[str, float]:
    """Precision, recall and F1 over all kinds together."""
    return named(precision_recall_f1(totals.sum(axis=1)))


def macro(totals: NDArray[np.int64]) -> dict[str, float]:
    """Mean precision, recall and F1 of the kinds that are true or predicted in any row."""
    by_kind = precision_recall_f1(totals[:, totals.any(axis=0)])
    return named(by_kind.mean(axis=1) if by_kind.size else np.zeros(3))


def named(values: NDArray[np.float64]) -> dict[str, float]:
    """Precision, recall and F1 under their names."""
    return dict(zip(("precision", "recall", "f1"), values.tolist(), strict=True))


def per_class(totals: NDArray[np.int64], kinds: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support (how often it is true) of each kind."""
    values = precision_recall_f1(totals)
    return {kind: named(values[:, index]) | {"support": int(totals[2, index])} for index, kind in enumerate(kinds)}
