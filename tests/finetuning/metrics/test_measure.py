"""Intervals by resampling, and the tables of counts that make them fast."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from elektron.finetuning.metrics import precision_recall
from elektron.finetuning.metrics.classification import Classes, LabelSets
from elektron.finetuning.metrics.measure import Measure, bootstrap
from elektron.finetuning.metrics.precision_recall import Tallies
from elektron.finetuning.metrics.regression import Numbers
from elektron.finetuning.metrics.squad import Answers
from elektron.finetuning.metrics.tagging import Tags
from elektron.finetuning.metrics.text import Summaries, Translations

TEXTS = ["the cat sat on the mat", "a dog", "", "rain. And then sun!", "it is 5 o'clock"] * 4
OTHERS = ["the cat sat on a mat", "a dog", "nothing", "", "it was 5 o'clock"] * 4


@dataclass
class Mean:
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)

    def __call__(self, chosen: NDArray[np.int64] | None = None) -> dict[str, float]:
        return {"mean": float((self.values if chosen is None else self.values[chosen]).mean())}


def measures() -> list[Measure]:
    generator = np.random.default_rng(0)
    numbers, others = generator.integers(3, size=(2, 20))
    sets, other_sets = generator.random((2, 20, 4)) < 0.4
    tags = [["B-A", "I-A", "O"], ["O"], ["B-B", "B-A"], []] * 5
    other_tags = [["B-A", "O", "O"], ["O"], ["B-A", "B-A"], []] * 5
    return [
        Classes(numbers, others, ["x", "y", "z"]),
        LabelSets(sets, other_sets),
        Numbers(numbers.astype(float), others.astype(float)),
        Tags(tags, other_tags),
        Tags([["N", "V"], ["N"]] * 10, [["N", "N"], ["V"]] * 10),
        Answers([[text] for text in TEXTS], OTHERS),
        Translations([[text] for text in TEXTS], OTHERS, False),
        Summaries([[text, "the dog"] for text in TEXTS], OTHERS),
    ]


def test_an_interval_is_as_wide_as_statistics_has_it() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    low, high = bootstrap(Mean(values))["mean"]
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    narrow = bootstrap(Mean(values), confidence=0.5)["mean"]
    assert low < narrow[0] < narrow[1] < high


def test_the_seed_decides() -> None:
    measure = Mean(np.arange(50.0))
    assert bootstrap(measure, 50, seed=1) == bootstrap(measure, 50, seed=1)
    assert bootstrap(measure, 50, seed=1) != bootstrap(measure, 50, seed=2)


def test_all_right_is_sure() -> None:
    truth = np.arange(30) % 3
    measure = Classes(truth, truth, ["x", "y", "z"])
    assert set(bootstrap(measure, 50).values()) == {(1.0, 1.0)}


@pytest.mark.parametrize("measure", measures(), ids=lambda measure: type(measure).__name__)
def test_figures_of_every_measure(measure: Measure) -> None:
    figures = measure()
    assert all(type(figure) is float and np.isfinite(figure) for figure in figures.values())
    in_other_order = np.random.default_rng(2).permutation(len(measure))
    again = measure(in_other_order)
    assert again == pytest.approx({name: figures[name] for name in again})
    intervals = bootstrap(measure, 60)
    assert intervals.keys() == again.keys()
    assert all(low <= figures[name] <= high for name, (low, high) in intervals.items())


def test_a_figure_that_some_resamples_lack_is_judged_by_the_others() -> None:
    measure = Answers([["yes"]] * 5 + [[]], ["yes"] * 5 + [""])
    assert bootstrap(measure, 50)["no_answer_f1"] == (100.0, 100.0)


def test_rows_must_match() -> None:
    with pytest.raises(ValueError, match="3 truths but 2 predictions"):
        Numbers(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="no rows"):
        Translations([], [], False)


def test_tallies_add_up() -> None:
    rows = [({"a": 1}, {"a": 2, "b": 1}, {"a": 1}), ({}, {}, {}), ({"b": 3}, {"b": 3}, {"b": 4})]
    table = Tallies.of_counts(rows, ["a", "b"])
    assert table.total().tolist() == [[1, 3], [2, 4], [1, 4]]
    assert table.total(np.array([0, 0, 1])).tolist() == [[2, 0], [4, 2], [2, 0]]
    assert precision_recall.by_kind(table.total(), ["a", "b"]) == {
        "a": {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1},
        "b": {"precision": 0.75, "recall": 0.75, "f1": 0.75, "support": 4},
    }
    assert Tallies.of_counts([({}, {}, {})], []).total().shape == (3, 0)
