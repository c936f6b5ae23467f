"""Figures of predicted numbers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from elektron.finetuning.metrics.measure import require_rows


@dataclass(eq=False)
class Numbers:
    """Predictions of one number a row.

    pearson and spearman, the figures of STS-B in GLUE, go from −1 to 1; mse and mae, mean squared
    and mean absolute error, from 0 up, and less is better.

    Where all truths or all predictions are the same number, no correlation is defined; pearson and
    spearman are 0 then, for predictions that follow nothing.
    """

    truth: NDArray[np.float64]
    predicted: NDArray[np.float64]

    def __post_init__(self) -> None:
        require_rows(self.truth, self.predicted)
        # Single precision, as a network gives it, would lose digits in sums over many rows.
        self.truth = np.asarray(self.truth, dtype=np.float64)
        self.predicted = np.asarray(self.predicted, dtype=np.float64)

    def __len__(self) -> int:
        return len(self.truth)

    def __call__(self, chosen: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Figures over the rows `chosen`, or all."""
        rows = slice(None) if chosen is None else chosen
        truth, predicted = self.truth[rows], self.predicted[rows]
        errors = predicted - truth
        return {
            "pearson": correlation("pearson", truth, predicted),
            "spearman": correlation("spearman", truth, predicted),
            "mse": float(np.square(errors).mean()),
            "mae": float(np.abs(errors).mean()),
        }


def correlation(
    kind: Literal["pearson", "spearman"],
    truth: NDArray[np.float64],
    predicted: NDArray[np.float64],
) -> float:
    """scipy's coefficient, 0 where it warns that one side is constant, or so but for rounding."""
    from scipy import stats

    if len(truth) < 2:
        return 0.0
    function = stats.pearsonr if kind == "pearson" else stats.spearmanr
    with warnings.catch_warnings():
        warnings.simplefilter("error", stats.DegenerateDataWarning)
        try:
            return float(function(truth, predicted).statistic)
        except stats.DegenerateDataWarning:
            return 0.0
