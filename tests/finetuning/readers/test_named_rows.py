"""Formats with named columns: JSON, parquet, Hub data sets."""

import datetime
import json
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elektron.errors import ElektronError
from elektron.finetuning.in_memory import as_source
from tests.finetuning.readers.layouts import CHOICES, read, values


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_json_values_keep_their_types(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": 2.5}, {"text": "c", "label": ["x"]}]
    records = read(write(tmp_path / "a.jsonl", *rows))
    assert [record.values for record in records] == rows
    assert [record.columns for record in records] == rows
    assert records[2].where == f"{tmp_path / 'a.jsonl'}, line 3"


def test_empty_label_list_stays_empty(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a", "label": []})
    assert values(path, label_separator=",")[0]["label"] == []


@pytest.mark.parametrize(("indent", "under"), [(None, None), (2, None), (2, "data")])
def test_json_document_with_list_of_rows(tmp_path: Path, indent: int | None, under: str | None) -> None:
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({under: rows} if under else rows, indent=indent))
    assert values(path) == rows
    assert read(path)[1].where == f"{path}, row 2"


def test_columns_are_union_of_first_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a"}, {"text": "b", "label": 1})
    assert values(path, labelled=False) == [{"text": "a"}, {"text": "b"}]
    with pytest.raises(ElektronError, match=r"line 1: no label: .* only text"):
        read(path)


def test_single_column_is_text_for_prediction(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"review": "a"})
    assert values(path, labelled=False) == [{"text": "a"}]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"text": "a", "label": 1}\n{"text": \n', "line 2: not valid JSON"),
        ('{"text": "a", "label": 1}\n[1]\n', "line 2: not a JSON object"),
        ('{"text": "a", "label": null}\n', "the label is empty.*line 1"),
        ('{"text": "a", "label": NaN}\n', "the label is empty.*line 1"),
        ('{"text": null, "label": 1}\n', "line 1: the text is empty"),
        ('{"text": ' + "1" * 5000 + "}", "line 1: not valid JSON"),
        ('[{"text": "a"}, 3]', "row 2: neither a JSON object"),
        ('[{"text": "a"},', "the JSON array is not closed"),
        ("[]", "empty"),
        ("\n", "empty"),
        ("[" * 100_000, "not valid JSON"),
        ('{"label": 1}\n', r"which column is the text\? .*there are: label"),
    ],
)
def test_invalid_json_raises_one_line_error(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(ElektronError, match=complaint) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lone_surrogates_are_replaced_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a\\ud800", "label": ["x"], "\\ud800": 1}\n')
    (record,) = read(path)
    assert record.values == {"text": "a\ufffd", "label": ["x"]}
    assert "were replaced" in caplog.text


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {"text": ["a", "b"], "label": [1, 2], "day": [datetime.date(2024, 1, 2)] * 2}
    pq.write_table(pa.table({**columns, "raw": [b"\xff", None]}), path)
    first, second = read(path)
    assert first.values == {"text": "a", "label": 1}
    assert first.columns == {"text": "a", "label": 1, "day": "2024-01-02", "raw": "(1 bytes)"}
    assert second.where == f"{path}, row 2"
    with pytest.raises(ElektronError, match="no column 'txt' for --text: did you mean text"):
        read(path, text="txt")


def test_invalid_or_empty_parquet_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for content in (b"", b"text,label\na,1\n", b"PAR1" + b"\0" * 50 + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(ElektronError, match=f"{path}: not readable parquet"):
            read(path)
    pq.write_table(pa.table({"text": pa.array([], pa.string()), "label": pa.array([])}), path)
    with pytest.raises(ElektronError, match=f"{path}: empty"):
        read(path)
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), path)
    with pytest.raises(ElektronError, match="several columns are called 'text'"):
        read(path)


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    rows = {"text": ["a", "b"], "label": [1, -1]}
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "train.parquet")
    return tmp_path


def test_class_ids_become_class_names(data_set: Path) -> None:
    assert as_source(pa.table({"text": ["a", "b"]})).rows == [{"text": "a"}, {"text": "b"}]
    in_memory = as_source(datasets.Dataset.from_parquet(str(data_set / "train.parquet")))
    for source in (f"hf:{data_set}", f"hf:{data_set}::train", data_set / "train.parquet", in_memory):
        records = read(source, labelled=False)
        assert [record.values for record in records] == [{"text": "a"}, {"text": "b"}]
        assert records[0].columns == {"text": "a", "label": "good"}
        assert records[0].where == f"{source}, row 1"
        assert values(source) == [{"text": "a", "label": "good"}]
        assert records[0].classes == ["bad", "good"]


@pytest.mark.parametrize("kind", ["pandas", "arrow", "numpy", "list"])
def test_data_sets_in_another_format_or_alone_in_a_list(data_set: Path, kind: str) -> None:
    rows = datasets.Dataset.from_parquet(str(data_set / "train.parquet"))
    source = as_source([rows] if kind == "list" else rows.with_format(kind))
    assert values(source) == [{"text": "a", "label": "good"}]
    assert read(source)[0].classes == ["bad", "good"]


def test_named_index_of_data_frame_is_a_column() -> None:
    frame = pd.DataFrame({"id": ["x", "y"], "text": ["a", "b"], "n": pd.Series([1, None], dtype="Int64")})
    expected = [{"id": "x", "text": "a", "n": 1}, {"id": "y", "text": "b", "n": None}]
    assert as_source(frame).rows == as_source(frame.set_index("id")).rows == as_source([frame]).rows == expected


def test_dataset_that_cannot_be_loaded_raises(data_set: Path) -> None:
    for source, complaint in (
        ("hf:", "which data set"),
        ("hf:/no/such/folder", r"cannot be loaded \(Couldn't find any data file"),
        (f"hf:{data_set}::nosplit", r"cannot be loaded \(Bad split: nosplit"),
    ):
        with pytest.raises(ElektronError, match=f"^{source}: {complaint}"):
            read(source)


def test_choices_in_hub_format_are_kept(tmp_path: Path) -> None:
    choices = {"label": ["A", "B"], "text": ["yes", "no"]}
    path = write(tmp_path / "a.jsonl", {"question": "?", "choices": choices, "label": "A"})
    assert values(path, layout=CHOICES)[0]["choices"] == choices
