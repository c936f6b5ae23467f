"""Metrics of sentence embeddings: correlation of cosines with scores, and ranks in retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import issparse

from elektron.finetuning.metrics.measure import Measure, Rows
from elektron.finetuning.metrics.regression import pearson, spearman

BLOCK = 1024
"""Number of texts whose cosines with all candidates are computed at once."""


def similarity(truth: Sequence[float], cosines: Sequence[float]) -> Measure:
    """spearman and pearson, the metrics of STS-B, from −1 to 1."""
    pair = np.asarray(truth, dtype=np.float64), np.asarray(cosines, dtype=np.float64)

    def compute(rows: Rows) -> dict[str, float]:
        true, predicted = (numbers[rows] for numbers in pair)
        return {"spearman": spearman(true, predicted), "pearson": pearson(true, predicted)}

    return Measure(rows=len(truth), compute=compute)


def retrieval(rank: Sequence[int]) -> Measure:
    """mrr, the mean of 1 / rank of the right texts, and recall@k, the fraction of ranks up to k, for k 1 and 10."""
    numbers = np.asarray(rank)

    def compute(rows: Rows) -> dict[str, float]:
        chosen = numbers[rows]
        recall = {f"recall@{k}": float((chosen <= k).mean()) for k in (1, 10)}
        return {"mrr": float((1 / chosen).mean())} | recall

    return Measure(rows=len(numbers), compute=compute)


def ranks(first: Any, second: Any, names: Sequence[str]) -> list[int]:
    """The rank of each right text by cosine among all distinct ones, from 1; texts with the same cosine come before it.

    Args:
        first: `(rows, hidden)`, unit vectors of the queries, dense or sparse.
        second: `(rows, hidden)`, unit vectors of the right texts.
        names: the right texts; equal texts are one candidate.
    """
    indices: dict[str, int] = {}
    candidates = np.array([indices.setdefault(name, len(indices)) for name in names])
    vectors = second[np.unique(candidates, return_index=True)[1]]
    result: list[int] = []
    for start in range(0, first.shape[0], BLOCK):
        cosines = first[start : start + BLOCK] @ vectors.T
        cosines = cosines.toarray() if issparse(cosines) else cosines
        right = np.take_along_axis(cosines, candidates[start : start + BLOCK, None], axis=1)
        result += (cosines >= right).sum(axis=1).tolist()
    return result
