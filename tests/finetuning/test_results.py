"""Written predictions, and warnings and improvements from the comparison of metrics with baselines."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from elektron.finetuning.readers.records import Record
from elektron.finetuning.results import (
    compared_with_baselines,
    judge,
    metrics_text,
    paired_difference,
    summary_text,
    write_json,
    write_predictions,
)
from elektron.finetuning.tasks.classification import Classification, Regression
from elektron.finetuning.tasks.question_answering import QuestionAnswering
from elektron.reporting.task_result import METRICS, PREDICTIONS, RUNS, read_task_result, task_result

READING = {"max_length": 8, "pairs": False, "truncation": "head", "stride": 0}
CLASSES = Classification(labels=["a", "b"], **READING)
SETS = Classification(labels=["a", "b", "c"], several=True, **READING)
NUMBERS = Regression(mean=0.0, spread=1.0, **READING)
ANSWERS = QuestionAnswering(max_length=64, stride=8, no_answers=True)


def judged(task, values, predictions, seeds=()):
    """Clear improvements over baselines, and warnings, for predictions of rows with these labels."""
    role = "answers" if task is ANSWERS else "label"
    records = [Record({"text": "t", role: value}, {}, "") for value in values]
    measure = task.measure(records, predictions)
    baselines = compared_with_baselines(task, records, measure, [])
    return judge(task, records, predictions, measure(), baselines, seeds)


def said(task, values, predictions, seeds=()):
    """Only the warnings."""
    return judged(task, values, predictions, seeds)[1]


def labels(names):
    return [{"label": name} for name in names]


def test_classification_is_judged_against_constant_baseline():
    true = "a" * 60 + "b" * 140
    assert said(CLASSES, true, labels("a" * 50 + "b" * 150)) == []
    # All but one prediction are equal, so MCC is about 0.
    collapsed, no_better = said(CLASSES, true, labels("b" * 199 + "a"))
    assert "it predicts 'b' for 99.5 % of the texts" in collapsed
    assert "Accuracy of 69.5 % is not clearly better than the 70.0 %" in no_better
    assert "always 'b'" in no_better
    # The predictions vary, but only 141 of 200 are correct.
    (no_better,) = said(CLASSES, true, labels("a" * 21 + "b" * 39 + "a" * 20 + "b" * 120))
    assert "Accuracy of 70.5 % is not clearly better than the 70.0 %" in no_better
    (worse,) = said(CLASSES, true, labels("b" * 30 + "a" * 90 + "b" * 80))
    assert "Accuracy of 55.0 % is worse than the 70.0 %" in worse


def test_clear_improvement_is_reported_with_confidence_interval():
    true, right = "a" * 60 + "b" * 140, labels("a" * 50 + "b" * 150)
    (sentence,), warnings = judged(CLASSES, true, right)
    assert warnings == []
    # The model is correct in 50 of 200 rows more; the standard error is about 3 points.
    found = re.fullmatch(
        r"Accuracy of 95.0 % is clearly better than the 70.0 % of a simple baseline \(always 'b'\): "
        r"95 % interval of the difference (\d+\.\d) to (\d+\.\d) points",
        sentence,
    )
    low, high = map(float, found.groups())
    assert 17 < low < 21 and 29 < high < 33
    assert judged(CLASSES, true, right, [{"accuracy": 0.7}])[0] == []


def test_difference_to_baseline_is_bootstrapped_by_row():
    # The model is correct in all rows in which the constant is, and in 8 of 200 rows more.
    true = "a" * 100 + "b" * 100
    assert said(CLASSES, true, labels("a" * 192 + "b" * 8)) == []
    # The accuracy is the same, but correct rows differ from those of the constant.
    (close,) = said(CLASSES, true, labels("a" * 54 + "b" * 46 + "b" * 54 + "a" * 46))
    assert "Accuracy of 54.0 % is not clearly better than the 50.0 %" in close


def test_paired_difference_of_two_models_on_same_rows(tmp_path):
    true = "a" * 100 + "b" * 100
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder, said in zip(folders, ("a" * 100 + "a" * 20 + "b" * 80, "a" * 90 + "b" * 110), strict=True):
        folder.mkdir()
        CLASSES.save(folder)
        records = [Record({"text": "t", "label": v}, {"text": "t", "label": v}, "", {}) for v in true]
        write_predictions(folder / PREDICTIONS, records, labels(said))
    low, high = paired_difference(*folders, "accuracy")
    # The second alone is correct in 20 rows, the first alone in 10: a difference of 0.05 with a standard error of
    # sqrt((20 + 10) / 200 - 0.05²) / sqrt(200) = 0.027.
    assert low == pytest.approx(0.05 - 1.96 * 0.027, abs=0.012)
    assert high == pytest.approx(0.05 + 1.96 * 0.027, abs=0.012)
    assert paired_difference(*reversed(folders), "accuracy") == pytest.approx((-high, -low), abs=0.012)


def test_seed_not_above_baseline_is_reported():
    true, better = "a" * 60 + "b" * 140, labels("a" * 50 + "b" * 150)
    assert said(CLASSES, true, better, [{"accuracy": 0.95}, {"accuracy": 0.9}]) == []
    (found,) = said(CLASSES, true, better, [{"accuracy": 0.95}, {"accuracy": 0.7}])
    assert "Accuracy of 1 of 2 seeds is not above the 70.0 %" in found


def test_each_baseline_has_a_column():
    metrics = {
        "accuracy": 0.75,
        "rows": 8,
        "intervals": {"accuracy": [0.5, 1.0]},
        "baselines": [
            {"name": "always 'b'", "metrics": {"accuracy": 0.5}},
            {"name": "x\x1b[31m", "metrics": {"accuracy": 0.625}},
        ],
    }
    of, head, _, accuracy = metrics_text(task_result(Path("m"), {"task": "classification"}, metrics)).splitlines()
    assert "8 rows" in of
    assert "always 'b'" in head and "\x1b" not in head
    cells = [cell.strip() for cell in accuracy.split("|")[1:-1]]
    assert cells == ["Accuracy", "75.0 %", "50.0 to 100.0 %", "50.0 %", "62.5 %"]


@pytest.mark.parametrize(
    ("learned", "titles"),
    [
        ({"labels": ["a", "b"]}, ["F1", "F1, macro average"]),
        ({"labels": ["a", "b", "c"]}, ["F1, macro average"]),
        ({"labels": ["a", "b", "c"], "several": True}, ["F1, micro average", "F1, macro average"]),
    ],
)
def test_metrics_that_are_equal_by_definition_are_printed_once(learned, titles):
    metrics = {"accuracy": 0.75, "f1": 0.5, "f1_micro": 0.25, "f1_macro": 0.125}
    rows = metrics_text(task_result(Path("m"), {"task": "classification"} | learned, metrics)).splitlines()[3:]
    assert [row.split("|")[1].strip() for row in rows] == ["Accuracy", *titles]


def test_constant_predictions_of_majority_label_give_two_warnings():
    # The constant baseline uses the majority label of the evaluated rows, not of the training rows.
    assert len(said(CLASSES, "a" * 5 + "b" * 95, labels("b" * 100))) == 2


def test_multi_label_predictions_are_judged_by_micro_f1():
    true = [["a"], ["a", "b"], ["c"], []] * 30
    assert said(SETS, true, [{"labels": names} for names in true]) == []
    (nothing, no_better) = said(SETS, true, [{"labels": []}] * 120)
    assert "no label" in nothing
    assert no_better.startswith("F1, micro average of 0.0 % is worse")


def test_regression_warns_of_collapse_low_correlation_and_high_error():
    true = np.linspace(2008, 2012, 100).tolist()

    def scores(numbers):
        return [{"score": number} for number in numbers]

    assert said(NUMBERS, true, scores(np.linspace(2008.5, 2011.5, 100))) == []
    (collapsed,) = said(NUMBERS, true, scores(np.linspace(2009.99, 2010.01, 100)))
    assert "it predicts 2010 for every text" in collapsed
    # The order is correct, but all values are far off.
    (far,) = said(NUMBERS, true, scores(np.linspace(1008, 1012, 100)))
    assert far.startswith("Mean squared error")
    shuffled = np.random.default_rng(0).permutation(true)
    assert [text.partition(" of ")[0] for text in said(NUMBERS, true, scores(shuffled))] == [
        *("Pearson correlation", "Mean squared error")
    ]


@pytest.mark.parametrize(("answered", "count"), [(30, 0), (1, 1), (0, 1)])
def test_question_answering_is_judged_against_no_answer_baseline(answered, count):
    true = [[{"text": "cat", "answer_start": 0}]] * 50 + [[]] * 50
    predictions = [
        {"answer": "cat" if place < answered else "", "no_answer_margin": float(place)} for place in range(100)
    ]
    found = said(ANSWERS, true, predictions)
    assert len(found) == count
    assert all("50.0 % of a simple baseline (never an answer)" in text for text in found)


def test_predictions_of_nested_files_have_context_and_answers(tmp_path):
    values = {"id": "7", "question": "who?", "context": "the cat", "answers": []}
    names = {role: role for role in values}
    record = Record(values, {"id": "7", "question": "who?", "title": "Cats"}, "", names)
    write_predictions(tmp_path / "p.jsonl", [record], [{"answer": "cat"}])
    assert json.loads((tmp_path / "p.jsonl").read_text()) == values | {"title": "Cats", "predicted_answer": "cat"}


@pytest.mark.parametrize("written", ["b|a", "['b', 'a']", [1, 1, 0]])
def test_multiple_labels_are_written_as_list(tmp_path, written):
    record = Record({"text": "x", "label": ["b", "a"]}, {"text": "x", "tags": written}, "", {"label": "tags"})
    write_predictions(tmp_path / "p.jsonl", [record], [{"labels": ["a"]}])
    assert json.loads((tmp_path / "p.jsonl").read_text()) == {
        "text": "x",
        "tags": ["b", "a"],
        "predicted_labels": ["a"],
    }


@pytest.mark.parametrize(
    ("role", "value"), [("choices", ["yes", "no"]), ("answers", [{"text": "1907", "answer_start": 10}])]
)
def test_choices_and_answers_given_as_text_are_written_as_lists(tmp_path, role, value):
    record = Record({"text": "x", role: value}, {"text": "x", "column": str(value)}, "", {role: "column"})
    write_predictions(tmp_path / "p.jsonl", [record], [{"label": 0}])
    assert json.loads((tmp_path / "p.jsonl").read_text())["column"] == value
    plain = Record({"text": "x", role: value}, {"text": "x", "column": "1907"}, "", {role: "column"})
    write_predictions(tmp_path / "p.jsonl", [plain], [{"label": 0}])
    assert json.loads((tmp_path / "p.jsonl").read_text())["column"] == "1907"


def test_control_characters_in_untrusted_names_are_escaped(tmp_path) -> None:
    escape = "\x1b[31m<script>"
    runs = [{"seed": seed, "settings": {"model": escape * seed}, "eval": {"f1": 0.5}} for seed in (1, 2)]
    metrics = {"split": "eval", "f1": 0.5, f"f1_{escape}": 0.25, "intervals": {}}
    folder = tmp_path / "out\x1b]0;title\x07"
    folder.mkdir()
    for name, content in {"task.json": {}, METRICS: metrics, RUNS: runs}.items():
        write_json(folder / name, content)
    said = summary_text(folder)
    assert "\x1b" not in said and "\x07" not in said
    assert "f1 \\\\x1b" in said and "out\\x1b]0;title\\x07/report.html" in said


def test_non_finite_metrics_are_written_as_null_and_skipped_on_read(tmp_path):
    run = {"name": "a", "seed": 1, "eval": {"f1": math.nan}, "seconds": math.inf}
    metrics = {"f1": math.nan, "accuracy": 0.5, "intervals": {"f1": [math.nan] * 2}}
    for name, content in {"task.json": {}, METRICS: metrics, RUNS: [run]}.items():
        write_json(tmp_path / name, content)
    assert json.loads((tmp_path / METRICS).read_text())["f1"] is None
    result = read_task_result(tmp_path)
    assert (result.metrics, result.intervals) == ({"accuracy": 0.5}, {})
    assert (result.runs[0].eval, result.runs[0].seconds) == ({}, None)
