"""Metrics of predicted numbers, and of sentence embeddings: correlation of cosines with scores, ranks in retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from elektron.finetuning.metrics.measure import Measure, Rows

MAX_POINTS = 2000
"""Pairs of true and predicted numbers that a figure can show."""
CONSTANT = 1e-13
"""Deviations from the mean, relative to it, that are rounding errors; as in scipy."""
BLOCK = 1024
"""Texts whose cosines with all candidates are in memory at once."""


def regression(truth: Sequence[float], predicted: Sequence[float]) -> Measure:
    """Predictions of one number a row.

    pearson and spearman, the metrics of STS-B in GLUE, are from −1 to 1; mse and mae, mean squared
    and mean absolute error, from 0 up, and less is better. Where all truths or all predictions are
    the same number, no correlation is defined; pearson and spearman are 0 then.
    """
    # Sums over many rows would lose digits in single precision.
    true_numbers, numbers = (np.asarray(part, dtype=np.float64) for part in (truth, predicted))

    def compute(rows: Rows) -> dict[str, float]:
        pair = true_numbers[rows], numbers[rows]
        errors = pair[1] - pair[0]
        return {
            "pearson": pearson(*pair),
            "spearman": spearman(*pair),
            "mse": float(np.square(errors).mean()),
            "mae": float(np.abs(errors).mean()),
        }

    points = [[*pair] for pair in zip(true_numbers.tolist(), numbers.tolist(), strict=True)]
    details = {"points": points[:: -(-len(points) // MAX_POINTS)]}
    return Measure(rows=len(points), compute=compute, details=details)


def pearson(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Pearson correlation, 0 where one side is constant except for rounding.

    scipy's function, with which tests compare it, takes several times as long for few rows.
    """
    directions = []
    for side in (truth, predicted):
        deviations = side - side.mean()
        norm = np.linalg.norm(deviations)
        if norm <= CONSTANT * abs(side.mean()):
            return 0.0
        directions.append(deviations / norm)
    return float(np.clip(directions[0] @ directions[1], -1, 1))


def spearman(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Spearman correlation: that of the ranks."""
    from scipy.stats import rankdata

    return pearson(rankdata(truth), rankdata(predicted))


def similarity(truth: Sequence[float], cosines: Sequence[float]) -> Measure:
    """spearman and pearson, the metrics of STS-B, from −1 to 1."""
    pair = np.asarray(truth, dtype=np.float64), np.asarray(cosines, dtype=np.float64)

    def compute(rows: Rows) -> dict[str, float]:
        true, predicted = (numbers[rows] for numbers in pair)
        return {"spearman": spearman(true, predicted), "pearson": pearson(true, predicted)}

    return Measure(rows=len(truth), compute=compute)


def retrieval(rank: Sequence[int]) -> Measure:
    """mrr, the mean of 1 / rank, and recall@1 and recall@10, the fractions of ranks up to 1 and 10."""
    numbers = np.asarray(rank)

    def compute(rows: Rows) -> dict[str, float]:
        chosen = numbers[rows]
        recall = {f"recall@{k}": float((chosen <= k).mean()) for k in (1, 10)}
        return {"mrr": float((1 / chosen).mean())} | recall

    return Measure(rows=len(numbers), compute=compute)


def ranks(first: Any, second: Any, names: Sequence[str]) -> list[int]:
    """The rank of each right text among all different ones, from 1; texts with the same cosine come before it.

    Args:
        first: `(rows, hidden)`, unit vectors of the queries, dense or sparse.
        second: `(rows, hidden)`, those of the right texts.
        names: the right texts; equal ones are one candidate.
    """
    _, chosen, place = np.unique(np.asarray(names), return_index=True, return_inverse=True)
    vectors = second[chosen]
    found: list[int] = []
    for start in range(0, first.shape[0], BLOCK):
        cosines = first[start : start + BLOCK] @ vectors.T
        cosines = cosines.toarray() if issparse(cosines) else cosines
        right = np.take_along_axis(cosines, place[start : start + BLOCK, None], axis=1)
        found += (cosines >= right).sum(axis=1).tolist()
    return found
