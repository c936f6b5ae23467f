import csv
import io
import json
import math
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from elektron.errors import ElektronError
from elektron.inference.output import open_writer
from tests.finetuning.readers.layouts import read

ROWS = [
    {"text": 'says "so", and\tgoes', "label": "a", "score": 0.5, "tags": ["B", "O"]},
    {"text": "zwei\nZeilen", "label": "b", "score": 1.0, "tags": []},
]


def write(path, *chunks):
    with open_writer(path) as write_rows:
        for chunk in chunks:
            write_rows(chunk)


def test_json_lines(tmp_path):
    write(tmp_path / "p.jsonl", ROWS[:1], ROWS[1:])
    lines = (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == ROWS


def test_csv_round_trip(tmp_path):
    write(tmp_path / "p.csv", ROWS[:1], ROWS[1:])
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == [row["text"] for row in ROWS]
    assert [json.loads(row["tags"]) for row in rows] == [row["tags"] for row in ROWS]


def test_a_lone_carriage_return_is_quoted_in_csv(tmp_path):
    write(tmp_path / "p.csv", [{"text": "a\rb", "label": "c"}])
    assert (tmp_path / "p.csv").read_bytes() == b'text,label\n"a\rb",c\n'


def test_tsv_replaces_tabs_and_line_ends_and_logs_their_count(tmp_path, caplog):
    write(tmp_path / "p.tsv", ROWS[:1], ROWS[1:])
    rows = [record.columns for record in read(tmp_path / "p.tsv")]
    assert [row["text"] for row in rows] == ['says "so", and goes', "zwei Zeilen"]
    assert [json.loads(row["tags"]) for row in rows] == [row["tags"] for row in ROWS]
    (line,) = [line for line in caplog.messages if "spaces" in line]
    assert line.startswith("2 tabs and line ends")


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.parquet"])
def test_table_has_columns_of_all_rows_of_first_chunk(tmp_path, name):
    """Columns of the input come before those of the prediction, whichever row they are in."""
    prediction = {"predicted_label": "x", "predicted_score": 0.5}
    rows = [{"text": "a"}, {"text": "b", "label": 1}, {"text": "c", "note": "n"}]
    write(tmp_path / name, [row | prediction for row in rows])
    if name == "p.parquet":
        names = pq.read_table(tmp_path / name).schema.names
        assert pq.read_table(tmp_path / name)["label"].to_pylist() == [None, 1, None]
    else:
        names = re.split(r"[,\t]", (tmp_path / name).read_text().splitlines()[0])
    assert names == ["text", "label", "note", "predicted_label", "predicted_score"]


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.parquet"])
def test_new_column_after_first_chunk_of_table_raises(tmp_path, name):
    with pytest.raises(ElektronError, match=r"row 3 has a column 'note'.*write \.jsonl instead"):
        write(tmp_path / name, ROWS, [ROWS[0] | {"note": "n"}])
    assert list(tmp_path.iterdir()) == []


def test_json_lines_accept_new_columns_in_later_rows(tmp_path):
    write(tmp_path / "p.jsonl", ROWS, [ROWS[0] | {"note": "n"}])
    assert json.loads((tmp_path / "p.jsonl").read_text().splitlines()[2])["note"] == "n"


def test_nan_and_infinity_are_null_in_json_lines(tmp_path):
    write(tmp_path / "p.jsonl", [{"x": math.nan, "y": math.inf}])
    assert (tmp_path / "p.jsonl").read_text() == '{"x": null, "y": null}\n'


def test_parquet(tmp_path):
    write(tmp_path / "p.parquet", ROWS[:1], ROWS[1:])
    assert pq.read_table(tmp_path / "p.parquet").to_pylist() == ROWS


def test_parquet_with_changed_type_in_later_rows_raises(tmp_path):
    with pytest.raises(ElektronError, match="jsonl instead"):
        write(tmp_path / "p.parquet", ROWS, [ROWS[0] | {"score": "high"}])
    assert list(tmp_path.iterdir()) == []


def test_parquet_with_integer_above_64_bits_raises(tmp_path):
    with pytest.raises(ElektronError, match="jsonl instead"):
        write(tmp_path / "p.parquet", [{"id": 2**64}])


def test_parquet_infers_types_after_leading_nulls(tmp_path):
    """Rows with nulls are rewritten once a later row determines the type of the column."""
    first = {"text": "a", "note": None, "tags": [], "n": 1, "never": None}
    later = {"text": "b", "note": "n", "tags": ["B"], "n": 1.5, "never": None}
    write(tmp_path / "p.parquet", [first] * 1100, [first, later], [first])
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert rows == [*[first] * 1101, later, first]
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]


def test_npy_has_embeddings_alone(tmp_path):
    rows = [{"text": "a", "predicted_embedding": [0.5, 1.0]}, {"text": "b", "predicted_embedding": [2.0, 3.0]}]
    write(tmp_path / "p.npy", rows[:1], rows[1:])
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), np.array([[0.5, 1.0], [2.0, 3.0]], np.float32))
    with pytest.raises(ElektronError, match="this model does not compute"):
        write(tmp_path / "q.npy", ROWS)
    assert not (tmp_path / "q.npy").exists()


def test_failed_write_leaves_existing_file_unchanged(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("before")
    with pytest.raises(KeyError), open_writer(path) as write_rows:
        write_rows(ROWS)
        raise KeyError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_standard_output_is_json_lines(capsys):
    write(None, ROWS)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == ROWS


def test_unknown_file_extension_raises(tmp_path):
    with pytest.raises(ElektronError, match=r"\.jsonl, \.csv, \.tsv, \.parquet"):
        write(tmp_path / "p.xlsx", ROWS)


def test_unwritable_path_raises(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ElektronError, match="cannot be written"):
        write(tmp_path / "file/p.jsonl", ROWS)


def test_symlink_is_kept_and_its_target_replaced(tmp_path):
    (tmp_path / "real.jsonl").write_text("before")
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    write(tmp_path / "link.jsonl", ROWS)
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len((tmp_path / "real.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_standard_output_is_valid_json_in_any_encoding(encoding, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding))
    with open_writer(None) as write_rows:
        write_rows([{"text": "é 中 😀"}])
    assert json.loads(raw.getvalue().decode("utf-8")) == {"text": "é 中 😀"}
    assert raw.getvalue().isascii() == (encoding != "utf-8")


def test_folder_or_input_file_as_output_raises(tmp_path):
    folder, source = tmp_path / "folder.csv", tmp_path / "in.csv"
    folder.mkdir()
    source.write_text("text\nmine\n")
    for output, named in ((folder, "is a folder"), (source, "is the input itself")):
        with pytest.raises(ElektronError, match=named), open_writer(output, str(source)):
            pytest.fail("it was opened")
    with pytest.raises(ElektronError, match="is the input itself"), open_writer(source, "-", str(source)):
        pytest.fail("a further input was opened")
    assert source.read_text() == "text\nmine\n"
