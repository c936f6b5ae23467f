"""SQuAD metrics against hand-computed values, and the null threshold against the official sweep."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elektron.finetuning.metrics.squad import best_null_threshold, normalize_answer, scores_of, squad


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Cat's  hat!", "cats hat"),
        ("an apple\na day", "apple day"),
        ("Theory of a then", "theory of then"),
        ("$5,000", "5000"),
        ("the", ""),
        (" “quoted” – here ", "“quoted” – here"),
        ("“中国”，北京。", "中国北京"),
    ],
)
def test_normalisation(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("gold", "predicted", "exact", "f1"),
    [
        (["the Eiffel Tower"], "Eiffel tower.", 100, 100),
        (["Eiffel Tower"], "the tower", 0, 200 / 3),
        (["in Paris", "Paris, France", "Paris"], "Paris", 100, 100),
        (["in Paris", "Paris, France today"], "France", 0, 50),
        (["one one two"], "one one one", 0, 200 / 3),
        (["Paris"], "", 0, 0),
        (["Paris"], "London", 0, 0),
        ([], "", 100, 100),
        ([""], "Paris", 0, 0),
        (["the", "..."], "", 100, 100),  # both answers are empty after normalization
        (["the", "Paris"], "", 0, 0),
        (["Paris"], "the", 0, 0),
        (["中国北京"], "北京", 0, 200 / 3),
        (["中国，北京"], "中国北京。", 100, 100),
        (["iPhone 手机"], "手机", 0, 80),
        (["東京タワー"], "タワー", 0, 75),
    ],
)
def test_exact_match_and_f1_of_one_question(gold: list[str], predicted: str, exact: float, f1: float) -> None:
    figures = squad([gold], [predicted])()
    assert figures["exact_match"] == exact
    assert figures["f1"] == pytest.approx(f1)


def test_has_answer_and_no_answer_metrics() -> None:
    gold = [["red"], ["dark blue"], [], [""]]
    measure = squad(gold, ["red", "blue", "", "green"])
    assert measure() == pytest.approx(
        {
            "exact_match": 50,
            "f1": (100 + 200 / 3 + 100) / 4,
            "has_answer_exact_match": 50,
            "has_answer_f1": (100 + 200 / 3) / 2,
            "no_answer_exact_match": 50,
            "no_answer_f1": 50,
        }
    )
    assert "has_answer_f1" not in measure.compute(np.array([2, 2]))
    assert set(squad(gold[:2], ["red", ""])()) == {"exact_match", "f1"}


def best(
    gold: Sequence[Sequence[str]], spans: Sequence[str], margins: Sequence[float]
) -> tuple[float, dict[str, float]]:
    """The best threshold, and the metrics with it."""
    threshold = best_null_threshold(gold, spans, margins)
    answers = ["" if margin > threshold else span for span, margin in zip(spans, margins, strict=True)]
    return threshold, squad(gold, answers)()


def test_null_threshold_equals_hand_computed_value() -> None:
    gold, spans = [["red"], [], ["blue"], []], ["red", "cat", "blue", "dog"]
    threshold, figures = best(gold, spans, [-3.0, 2.0, -1.0, 0.5])
    assert threshold == -1.0
    assert figures["f1"] == figures["exact_match"] == 100
    # No threshold separates questions with equal margins.
    threshold, figures = best(gold, spans, [1.0, 1.0, 1.0, 2.0])
    assert (threshold, figures["f1"]) == (1.0, 75)
    # No span is right: the threshold is below every margin.
    threshold, figures = best(gold, ["x"] * 4, [-3.0, -2.0, -1.0, -4.0])
    assert threshold < -4.0 and figures["no_answer_f1"] == 100


def officially(gold: Sequence[Sequence[str]], spans: Sequence[str], differences: Sequence[float]) -> float:
    """F1 at the best threshold, adapted from `find_best_thresh_v2` in SQuAD 2.0's evaluation script."""
    scores = scores_of(gold, spans)[1][:, 1] / 100
    current = best = float(sum(not answers for answers in gold))
    for index in sorted(range(len(gold)), key=lambda index: differences[index]):
        if gold[index]:
            current += scores[index]
        else:
            current += -1 if spans[index] else 0
        best = max(best, current)
    return 100 * best / len(gold)


WORDS = st.sampled_from(["red", "blue", "dark red", ""])


@given(st.lists(st.tuples(WORDS, WORDS, st.floats(-9, 9)), min_size=1, max_size=12, unique_by=lambda row: row[2]))
def test_null_threshold_f1_equals_official_sweep(rows: list[tuple[str, str, float]]) -> None:
    gold = [[answer] if answer else [] for answer, _, _ in rows]
    _, spans, differences = zip(*rows, strict=True)
    _, figures = best(gold, spans, differences)
    assert figures["f1"] == pytest.approx(officially(gold, spans, differences), abs=1e-6)


@given(st.lists(st.tuples(WORDS, WORDS, st.integers(0, 3)), min_size=1, max_size=12))
def test_null_threshold_maximizes_f1(rows: list[tuple[str, str, int]]) -> None:
    gold = [[answer] for answer, _, _ in rows]
    _, spans, differences = zip(*rows, strict=True)
    _, figures = best(gold, spans, differences)
    for threshold in (-1, 0, 1, 2, 3):
        answers = ["" if d > threshold else s for s, d in zip(spans, differences, strict=True)]
        assert squad(gold, answers)()["f1"] <= figures["f1"] + 1e-6
