"""Metrics of predicted numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from elektron.finetuning.metrics.measure import Measure, Rows

MAX_POINTS = 2000
"""Pairs of true and predicted numbers that a figure can show."""
CONSTANT = 1e-13
"""Numbers are constant, except for rounding errors, if their deviations relative to the mean are below this; as in
scipy."""


def regression(truth: Sequence[float], predicted: Sequence[float]) -> Measure:
    """Metrics of predictions with one number per row.

    pearson and spearman, the metrics of STS-B in GLUE, are from −1 to 1; mse and mae, mean squared
    and mean absolute error, are from 0 up, and lower is better. If all true numbers or all predictions
    are equal, no correlation is defined, and pearson and spearman are 0.
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
    """Pearson correlation; 0 if one side is constant except for rounding errors.

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
    """Spearman correlation: the Pearson correlation of the ranks."""
    from scipy.stats import rankdata

    return pearson(rankdata(truth), rankdata(predicted))
