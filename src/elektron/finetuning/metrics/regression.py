"""Metrics of predicted numbers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from elektron.finetuning.metrics.measure import Measure, Rows

MOST_POINTS = 2000
"""Pairs of true and predicted numbers that a figure can show."""


def regression(truth: Sequence[float], predicted: Sequence[float]) -> Measure:
    """Predictions of one number a row.

    pearson and spearman, the metrics of STS-B in GLUE, are from −1 to 1; mse and mae, mean squared
    and mean absolute error, from 0 up, and less is better. Where all truths or all predictions are
    the same number, no correlation is defined; pearson and spearman are 0 then.
    """
    from scipy import stats

    # Sums over many rows would lose digits in single precision.
    true_numbers, numbers = (np.asarray(part, dtype=np.float64) for part in (truth, predicted))

    def compute(rows: Rows) -> dict[str, float]:
        pair = true_numbers[rows], numbers[rows]
        errors = pair[1] - pair[0]
        return {
            "pearson": correlation(stats.pearsonr, *pair),
            "spearman": correlation(stats.spearmanr, *pair),
            "mse": float(np.square(errors).mean()),
            "mae": float(np.abs(errors).mean()),
        }

    points = [[*pair] for pair in zip(true_numbers.tolist(), numbers.tolist(), strict=True)]
    details = {"points": points[:: -(-len(points) // MOST_POINTS)]}
    return Measure(rows=len(points), compute=compute, details=details)


def correlation(coefficient: Any, truth: Any, predicted: Any) -> float:
    """scipy's coefficient, 0 where it warns that one side is constant except for rounding."""
    from scipy import stats

    if len(truth) < 2:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error", stats.DegenerateDataWarning)
        try:
            return float(coefficient(truth, predicted).statistic)
        except stats.DegenerateDataWarning:
            return 0.0
