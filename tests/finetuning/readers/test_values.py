"""Serialized lists and objects, label formats, rows without a label, and encodings."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elektron.errors import ElektronError
from elektron.finetuning.readers.values import class_name, literal, true_classes
from tests.finetuning.readers.layouts import read, values

SIMPLE = st.none() | st.booleans() | st.integers() | st.text()
NESTED = st.recursive(SIMPLE, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


def table(path: Path, *labels: str) -> Path:
    rows = "".join(f"text {n}\t{label}\n" for n, label in enumerate(labels))
    path.write_text(f"text\tlabel\n{rows}", encoding="utf-8")
    return path


def objects(path: Path, *labels: Any) -> Path:
    rows = ({"text": f"text {n}", "label": label} for n, label in enumerate(labels))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def labels_of(path: Path, **options: Any) -> list[Any]:
    return [value["label"] for value in values(path, **options)]


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("['a', 'b c']", ["a", "b c"]),
        ('["a", "b c"]', ["a", "b c"]),
        ("('a', 'b c')", ["a", "b c"]),
        ("{'a'}", ["a"]),
        ("['a' 'b c']", ["a", "b c"]),
        ("[3, 1.0]", [3, 1.0]),
        ("[]", []),
        ("[a]", "[a]"),
        ("{", "{"),
        ("(1)", "(1)"),
    ],
)
def test_serialized_list_in_field_is_several_labels(tmp_path: Path, written: str, read_as: Any) -> None:
    assert labels_of(table(tmp_path / "a.tsv", written, "x")) == [read_as, "x"]


@pytest.mark.parametrize(
    "rows",
    [
        ([1, 1, 0], [0, 0, 1], [0, 0, 0]),
        ([1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]),
        ([True, True, False], [False, False, True], [False, False, False]),
    ],
)
def test_multi_hot_lists(tmp_path: Path, rows: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    expected = [["0", "1"], ["2"], []]
    assert labels_of(objects(tmp_path / "a.jsonl", *rows)) == expected
    assert "3 zeros and ones" in caplog.text
    assert labels_of(table(tmp_path / "a.tsv", *map(str, rows))) == expected


def test_numpy_multi_hot_lists(tmp_path: Path) -> None:
    assert labels_of(table(tmp_path / "a.tsv", "[1 0 1]", "[0. 1. 0.]")) == [["0", "2"], ["1"]]


def test_class_id_lists_are_not_multi_hot(tmp_path: Path) -> None:
    for rows in ([[0, 1], [1]], [[0], [1]], [[0, 1], [2, 1]]):
        assert labels_of(objects(tmp_path / "a.jsonl", *rows)) == rows
    texts = [["0", "1"], ["1", "0"]]
    assert labels_of(objects(tmp_path / "a.jsonl", *texts)) == texts


def test_later_row_that_is_not_multi_hot_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for wrong in ([0, 2], [1, 0, 1]):
        with pytest.raises(ElektronError, match="line 151"):
            read(objects(path, *[[0, 1]] * 150, wrong))


def test_multi_hot_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,bad,rude\na,1,0\nb,True,1.0\nc,0,False\n")
    records = read(path, label="bad,rude")
    assert [record.values["label"] for record in records] == [["bad"], ["bad", "rude"], []]
    with pytest.raises(ElektronError, match="--label bad,rude"):
        read(path)
    path.write_text("text,bad,rude\na,1,0\nb,maybe,1\n")
    with pytest.raises(ElektronError, match=r"line 3: 'maybe' for the label 'bad'"):
        read(path, label="bad,rude")


def test_multi_hot_objects(tmp_path: Path) -> None:
    rows = ({"bad": 1, "rude": 0}, {"bad": 1, "rude": 1})
    assert labels_of(objects(tmp_path / "a.jsonl", *rows)) == [["bad"], ["bad", "rude"]]


@pytest.mark.parametrize("label", [{"name": "x", "id": 7}, json.dumps({"name": "x", "id": 7})])
def test_object_label_raises_and_dotted_name_selects_part(tmp_path: Path, label: Any) -> None:
    path = objects(tmp_path / "a.jsonl", label)
    with pytest.raises(ElektronError, match=r"line 1: .*not a label.*label\.NAME.*name"):
        read(path)
    assert labels_of(path, label="label.name") == ["x"]


def test_dotted_name_selects_part_of_objects_in_list(tmp_path: Path) -> None:
    path = objects(tmp_path / "a.jsonl", [{"name": "x"}, {"name": "y"}], [])
    with pytest.raises(ElektronError, match=r"line 1: .*--label label\.NAME"):
        read(path)
    assert labels_of(path, label="label.name") == [["x", "y"], []]


def test_class_name_normalizes_numbers_and_booleans() -> None:
    names = ["1.0", "1", "-2.00", "TRUE", "true", "False", "1.5", "v1.0", " x "]
    assert [class_name(name) for name in names] == [*("1", "1", "-2", "True", "True", "False", "1.5", "v1.0", "x")]


@pytest.mark.parametrize("none", ["", "NaN", "nan", "<NA>", "null", None])
def test_rows_without_a_label_are_left_out_and_counted(
    tmp_path: Path, none: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = objects(tmp_path / "a.jsonl", "x", none, "y", none)
    assert labels_of(path) == ["x", "y"]
    assert "2 rows are left out: the label is empty" in caplog.text
    assert f"{path}, line 2" in caplog.text
    with pytest.raises(ElektronError, match=r"the label is empty.*line 1"):
        read(objects(path, none, none))
    assert len(read(path, labelled=False)) == 2


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ("- entailment neutral", "entailment neutral"),
        ("- +", "- +"),
        ("-1 0 1 2", "0 1 2"),
        ("-1 0 1", "-1 0 1"),
        ("-1 1", "-1 1"),
        ("-2 -1 0 1 2", "-2 -1 0 1 2"),
        ("-1 1 2 3", "-1 1 2 3"),
    ],
)
def test_true_classes(names: str, classes: str) -> None:
    assert true_classes(names.split()) == set(classes.split())


def test_undecodable_label_raises_and_suggests_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    words = ["größe", "übel", "schön", "müßig", "für", "weiß", "nähe", "höhe"]
    text = "text,label\n" + "".join(
        f"The German word {word} is here as number {n},größe\n" for n, word in enumerate(words)
    )
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ElektronError, match=r"line 2: the label .* --encoding, perhaps \w+"):
        read(path)
    assert labels_of(path, encoding="latin-1") == ["größe"] * len(words)
    assert values(path, encoding="cp1252")[1]["text"] == "The German word übel is here as number 1"


def test_unknown_or_wrong_encoding_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\nübel,x\n".encode())
    for name in ("klingon", "rot13", "base64", "a\0b"):
        with pytest.raises(ElektronError, match="--encoding"):
            read(path, encoding=name)
    with pytest.raises(ElektronError, match=r"a\.csv: not valid ascii"):
        read(path, encoding="ascii")


def test_non_utf8_file_raises_and_suggests_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(("text,label\n" + "кот сидит на ковре и смотрит в окно,да\n" * 20).encode("cp1251"))
    with pytest.raises(ElektronError, match="perhaps cp1251: give --encoding"):
        read(path)
    assert labels_of(path, encoding="cp1251") == ["да"] * 20


def test_label_column_has_parsed_value_only_if_labelled(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label,bad,rude\na,1.0,1,0\nb,\"['x']\",0,1\n")
    assert [record.columns["label"] for record in read(path)] == ["1", ["x"]]
    assert read(path, labelled=False)[0].columns["label"] == "1.0"
    assert read(path, label="bad,rude")[1].columns["bad,rude"] == ["rude"]


@given(st.lists(NESTED) | st.dictionaries(st.text(), NESTED))
def test_literal_parses_python_repr(value: Any) -> None:
    assert literal(repr(value)) == value


@given(st.lists(st.text(), min_size=1))
def test_literal_parses_numpy_lists_without_commas(texts: list[str]) -> None:
    assert literal("[" + " ".join(map(repr, texts)) + "]") == texts
    assert literal("[" + "\n ".join(map(repr, texts)) + "]") == texts


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('["a", null, true]', ["a", None, True]),
        ("(0, -3, 'PER')", [0, -3, "PER"]),
        ("{'a': array(['x', 'y'], dtype=object), 'b': array([1])}", {"a": ["x", "y"], "b": [1]}),
        ("  ['a']\n", ["a"]),
    ],
)
def test_literal_parses_json_tuples_and_arrays(text: str, value: Any) -> None:
    assert literal(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "[a]", "[a] b", "(note)", "('a')", "[1 + 1]", "['a', ...]", "[f()]", "{**{}}"),
        *("['a", "[b'x']", "{'a'}", "[" * 100_000 + "]", "[" + "-" * 100_000 + "1]"),
        "[" + r"'\\" * 50_000 + "]",
    ],
)
def test_literal_returns_none_for_other_text(text: str) -> None:
    assert literal(text) is None
