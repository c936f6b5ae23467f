import csv
import json

import pyarrow.parquet as pq
import pytest

from elektron.errors import ElektronError
from elektron.inference.output import writing

ROWS = [
    {"text": 'says "so", and\tgoes', "label": "a", "score": 0.5, "tags": ["B", "O"]},
    {"text": "zwei\nZeilen", "label": "b", "score": 1.0, "tags": []},
]


def write(path, *chunks):
    with writing(path) as writer:
        for chunk in chunks:
            writer.write(chunk)


def test_json_lines(tmp_path):
    write(tmp_path / "p.jsonl", ROWS[:1], ROWS[1:])
    lines = (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == ROWS


@pytest.mark.parametrize(("name", "delimiter"), [("p.csv", ","), ("p.tsv", "\t")])
def test_tables_come_back_whole(tmp_path, name, delimiter):
    write(tmp_path / name, ROWS[:1], ROWS[1:])
    with (tmp_path / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=delimiter))
    assert [row["text"] for row in rows] == [row["text"] for row in ROWS]
    assert [json.loads(row["tags"]) for row in rows] == [row["tags"] for row in ROWS]


def test_parquet(tmp_path):
    write(tmp_path / "p.parquet", ROWS[:1], ROWS[1:])
    assert pq.read_table(tmp_path / "p.parquet").to_pylist() == ROWS


def test_parquet_with_other_types_later_on_is_refused(tmp_path):
    with pytest.raises(ElektronError, match="jsonl instead"):
        write(tmp_path / "p.parquet", ROWS, [ROWS[0] | {"score": "high"}])
    assert list(tmp_path.iterdir()) == []


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("before")
    with pytest.raises(KeyError), writing(path) as writer:
        writer.write(ROWS)
        raise KeyError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_standard_output_is_json_lines(capsys):
    write(None, ROWS)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == ROWS


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ElektronError, match=r"\.jsonl, \.csv, \.tsv, \.parquet"):
        write(tmp_path / "p.xlsx", ROWS)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ElektronError, match="cannot be written"):
        write(tmp_path / "file/p.jsonl", ROWS)
