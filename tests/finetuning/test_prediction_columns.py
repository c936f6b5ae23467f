"""Prediction columns have the same names in all rows and differ from all input columns."""

import json
import math

from elektron.finetuning.prediction_columns import PredictionColumns
from elektron.finetuning.readers.records import Record
from elektron.io.files import to_json

SAID = {"label": "said", "score": 0.5}


def rows(beside: PredictionColumns, *columns: dict) -> list[dict]:
    return beside.rows([Record({}, own, "") for own in columns], [SAID] * len(columns))


def test_prediction_names_are_equal_in_all_rows() -> None:
    found = rows(PredictionColumns(), {"text": "a"}, {"text": "b", "label": "own"})
    assert found == [
        {"text": "a", "predicted_label": "said", "predicted_score": 0.5},
        {"text": "b", "label": "own", "predicted_label": "said", "predicted_score": 0.5},
    ]


def test_prefix_is_repeated_if_column_exists() -> None:
    own = {"label": 1, "predicted_label": 2}
    first, second = rows(PredictionColumns(), {"text": "a"}, own)
    assert second == own | {"predicted_predicted_label": "said", "predicted_score": 0.5}
    assert first == {"text": "a", "predicted_predicted_label": "said", "predicted_score": 0.5}


def test_column_appearing_later_is_logged_and_renames_predictions(caplog) -> None:
    beside = PredictionColumns()
    assert rows(beside, {"text": "a"})[0]["predicted_label"] == "said"
    (second,) = rows(beside, {"text": "b", "predicted_label": "own"})
    (third,) = rows(beside, {"text": "c"})
    assert second["predicted_label"] == "own"
    assert second["predicted_predicted_label"] == "said"
    assert third == {"text": "c", "predicted_predicted_label": "said", "predicted_score": 0.5}
    (line,) = caplog.messages
    assert line.startswith("a column 'predicted_label' appears only now")


def test_non_finite_numbers_are_null_in_json() -> None:
    row = {"a": math.nan, "b": [math.inf, 1.5], "c": {"d": -math.inf}, "e": "NaN"}
    back = json.loads(to_json(row), parse_constant=lambda word: 1 / 0)
    assert back == {"a": None, "b": [None, 1.5], "c": {"d": None}, "e": "NaN"}
