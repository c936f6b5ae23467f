"""Counts of what was found, predicted and there to find: all that precision, recall and F1 need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Counts = Mapping[str, int]
"""By kind: a class, an entity type, a tag."""


@dataclass(frozen=True, eq=False)
class Tallies:
    """Right, predicted and true items of each kind, row by row, so that a resample is a sum."""

    rows: csr_array
    """`(rows, 3 × kinds)`: right of every kind, then predicted, then true. Most rows have few kinds."""

    @classmethod
    def of_sets(cls, truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> Tallies:
        """From `(rows, kinds)`: which kinds each row has."""
        from scipy.sparse import csr_array

        return cls(csr_array(np.hstack([truth & predicted, predicted, truth]).astype(np.int64)))

    @classmethod
    def of_counts(
        cls, rows: Sequence[tuple[Counts, Counts, Counts]], kinds: Sequence[str]
    ) -> Tallies:
        """From the counts of each row: right, predicted, true."""
        from scipy.sparse import csr_array

        column = {kind: index for index, kind in enumerate(kinds)}
        entries = [
            (row, block * len(kinds) + column[kind], count)
            for row, counts in enumerate(rows)
            for block, by_kind in enumerate(counts)
            for kind, count in by_kind.items()
        ]
        row_of, column_of, values = np.array(entries, dtype=np.int64).reshape(-1, 3).T
        return cls(csr_array((values, (row_of, column_of)), shape=(len(rows), 3 * len(kinds))))

    def total(self, chosen: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """`(3, kinds)`: right, predicted and true over the rows `chosen`, or all."""
        return (times_drawn(chosen, self.rows.shape[0]) @ self.rows).reshape(3, -1)


def times_drawn(chosen: NDArray[np.int64] | None, rows: int) -> NDArray[np.int64]:
    """How often each row counts."""
    if chosen is None:
        return np.ones(rows, dtype=np.int64)
    return np.bincount(chosen, minlength=rows)


def precision_recall_f1(totals: NDArray[np.int64]) -> NDArray[np.float64]:
    """`(3, …)` right, predicted and true to `(3, …)` precision, recall and F1; 0 where undefined."""
    right, predicted, true = totals
    return np.stack(
        [share(right, predicted), share(right, true), share(2 * right, predicted + true)]
    )


def micro(totals: NDArray[np.int64]) -> dict[str, float]:
    """Precision, recall and F1 of all items, whatever their kind."""
    precision, recall, f1 = precision_recall_f1(totals.sum(axis=1)).tolist()
    return {"precision": precision, "recall": recall, "f1": f1}


def macro_f1(totals: NDArray[np.int64]) -> float:
    """Mean F1 of the kinds that are there or were predicted; any other has none."""
    there = totals.any(axis=0)
    return float(precision_recall_f1(totals[:, there])[2].mean()) if there.any() else 0.0


def by_kind(totals: NDArray[np.int64], kinds: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support (how often it is true) of each kind."""
    columns = np.vstack([precision_recall_f1(totals), totals[2]]).T.tolist()
    names = ("precision", "recall", "f1", "support")
    return {
        kind: dict(zip(names, column, strict=True))
        for kind, column in zip(kinds, columns, strict=True)
    }


def share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Part by whole, 0 where there is no whole (and so no part)."""
    return part / np.maximum(whole, 1)
