"""Bootstrap intervals of all metrics, and the counts from which they are computed."""

import numpy as np
import pytest
from numpy.typing import NDArray

from elektron.finetuning.metrics.classification import multi_label, single_label
from elektron.finetuning.metrics.measure import Counts, Measure, bootstrap, per_class
from elektron.finetuning.metrics.regression import regression
from elektron.finetuning.metrics.squad import squad
from elektron.finetuning.metrics.tagging import tagging
from elektron.finetuning.metrics.text import summarization, translation

TEXTS = ["the cat sat on the mat", "a dog", "", "rain. And then sun!", "it is 5 o'clock"] * 4
OTHERS = ["the cat sat on a mat", "a dog", "nothing", "", "it was 5 o'clock"] * 4


def mean_of(values: NDArray[np.float64]) -> Measure:
    return Measure(rows=len(values), compute=lambda rows: {"mean": float(values[rows].mean())})


def measures() -> list[Measure]:
    generator = np.random.default_rng(0)
    numbers, others = generator.integers(3, size=(2, 20))
    sets, other_sets = generator.random((2, 20, 4)) < 0.4
    tags = [["B-A", "I-A", "O"], ["O"], ["B-B", "B-A"], []] * 5
    other_tags = [["B-A", "O", "O"], ["O"], ["B-A", "B-A"], []] * 5
    return [
        single_label(numbers, others, ["x", "y", "z"]),
        multi_label(sets, other_sets, list("abcd")),
        regression(numbers.tolist(), others.tolist()),
        tagging(tags, other_tags),
        tagging([["N", "V"], ["N"]] * 10, [["N", "N"], ["V"]] * 10),
        squad([[text] for text in TEXTS], OTHERS),
        translation([[text] for text in TEXTS], OTHERS, False),
        summarization([[text, "the dog"] for text in TEXTS], OTHERS),
    ]


def test_bootstrap_interval_width_matches_standard_error() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    low, high = bootstrap(mean_of(values))["mean"]
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert bootstrap(mean_of(values))["mean"] == (low, high)


def test_bootstrap_of_perfect_predictions_has_zero_width() -> None:
    truth = np.arange(30) % 3
    measure = single_label(truth, truth, ["x", "y", "z"])
    assert set(bootstrap(measure, 50).values()) == {(1.0, 1.0)}


@pytest.mark.parametrize("measure", measures())
def test_metrics_are_finite_order_invariant_and_inside_intervals(measure: Measure) -> None:
    figures = measure()
    assert all(type(figure) is float and np.isfinite(figure) for figure in figures.values())
    in_other_order = np.random.default_rng(2).permutation(measure.rows)
    again = measure.compute(in_other_order)
    assert again == pytest.approx({name: figures[name] for name in again})
    intervals = bootstrap(measure, 60)
    assert intervals.keys() == again.keys()
    assert all(low <= figures[name] <= high for name, (low, high) in intervals.items())


def test_bootstrap_uses_only_resamples_that_have_the_metric() -> None:
    measure = squad([["yes"]] * 5 + [[]], ["yes"] * 5 + [""])
    assert bootstrap(measure, 50)["no_answer_f1"] == (100.0, 100.0)


def test_counts_total_and_per_class_equal_hand_computed_values() -> None:
    right, predicted, true = ([[1, 0], [0, 0], [0, 3]], [[2, 1], [0, 0], [0, 3]], [[1, 0], [0, 0], [0, 4]])
    counts = Counts(right, predicted, true)
    everything = counts.total(slice(None))
    assert everything.tolist() == [[1, 3], [2, 4], [1, 4]]
    assert counts.total(np.array([0, 0, 1])).tolist() == [[2, 0], [4, 2], [2, 0]]
    assert per_class(everything, ["a", "b"]) == {
        "a": {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1},
        "b": {"precision": 0.75, "recall": 0.75, "f1": 0.75, "support": 4},
    }
