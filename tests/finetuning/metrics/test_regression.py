"""Regression metrics against scipy and scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from elektron.finetuning.metrics.measure import bootstrap
from elektron.finetuning.metrics.regression import regression


@pytest.mark.parametrize("ties", [False, True])
def test_regression_metrics_equal_scipy_and_scikit_learn(ties: bool) -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=80)
    predicted = truth + generator.normal(size=80)
    if ties:
        truth, predicted = truth.round(), predicted.round()
    measure = regression(truth, predicted)
    chosen = generator.integers(80, size=80)
    for figures, rows in ((measure(), slice(None)), (measure.compute(chosen), chosen)):
        pair = truth[rows], predicted[rows]
        assert figures == pytest.approx(
            {
                "pearson": stats.pearsonr(*pair).statistic,
                "spearman": stats.spearmanr(*pair).statistic,
                "mse": metrics.mean_squared_error(*pair),
                "mae": metrics.mean_absolute_error(*pair),
            },
            abs=1e-6,
        )


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 2), min_size=1, max_size=12))
def test_regression_metrics_are_finite_without_warnings(rows: list[tuple[float, float]]) -> None:
    truth, predicted = np.array(rows).T
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = regression(truth, predicted)()
    assert np.isfinite(list(figures.values())).all()
    assert -1 <= figures["pearson"] <= 1 and -1 <= figures["spearman"] <= 1


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8 / 3])
def test_constant_predictions_have_zero_correlation(value: float) -> None:
    measure = regression(np.arange(10.0), np.full(10, value))
    figures = measure()
    assert figures["pearson"] == figures["spearman"] == 0
    assert bootstrap(measure, 20)["pearson"] == (0, 0)
    assert regression(np.ones(1), np.zeros(1))()["pearson"] == 0
