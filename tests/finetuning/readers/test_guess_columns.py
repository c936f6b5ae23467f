"""Columns by role: values that are not text, dotted names, columns per split, and columns known from training."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.roles import LAYOUTS, Layout
from tests.finetuning.readers.layouts import PARALLEL, TEXTS, read, values


def objects(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("text", [["the", "cat"], {"body": "the cat"}])
def test_text_that_is_list_or_object_raises(tmp_path: Path, text: Any) -> None:
    path = objects(tmp_path / "a.jsonl", {"text": "fine", "label": 1}, {"text": text, "label": 1})
    with pytest.raises(ElektronError, match=r"line 2: the text must be a text"):
        read(path)
    with pytest.raises(ElektronError, match=r"line 2: the text must be a text"):
        read(path, labelled=False)


@pytest.mark.parametrize("text", ["['the', 'cat']", '["the", "cat"]', "{'body': 'the cat'}"])
def test_text_column_of_serialized_lists_or_objects_raises(tmp_path: Path, text: str) -> None:
    path = objects(tmp_path / "a.jsonl", *[{"text": text, "label": n} for n in range(3)])
    with pytest.raises(ElektronError, match=r"a\.jsonl, column text: the text must be a text"):
        read(path)
    rows = [{"text": text, "label": 1}, {"text": "[sic]", "label": 2}]
    assert values(objects(path, *rows)) == rows
    numbers = [{"text": "[12]", "label": 1}]
    assert values(objects(path, *numbers)) == numbers


def test_dotted_name_selects_value_inside_object(tmp_path: Path) -> None:
    path = objects(tmp_path / "a.jsonl", {"data": {"text": "a"}, "note": {"label": "x"}})
    with pytest.raises(ElektronError, match=r"--text.*data\.text"):
        read(path)
    (record,) = read(path, text="data.text", label="note.label")
    assert record.values == {"text": "a", "label": "x"}
    assert record.names == {"text": "data.text", "label": "note.label"}
    assert values(path, text="data.text", label="note.label", labelled=False)[0]["text"] == "a"
    with pytest.raises(ElektronError, match=r"no column 'data\.body'.*data\.text"):
        read(path, text="data.body", label="note.label")
    path = objects(path, {"data": {"text": "a"}, "label": 1}, {"data": {}, "label": 1})
    with pytest.raises(ElektronError, match=r"line 2: no text: there is no column 'data\.text'"):
        read(path, text="data.text")


@pytest.mark.parametrize("as_text", [False, True])
def test_translation_objects_with_language_keys(tmp_path: Path, as_text: bool) -> None:
    pair = {"en": "the cat", "de": "die Katze"}
    path = objects(tmp_path / "a.jsonl", {"translation": str(pair) if as_text else pair})
    layout = LAYOUTS["translation"]
    assert values(path, layout=layout) == [{"source": "the cat", "target": "die Katze"}]
    assert values(path, layout=layout, source="de", target="en") == [{"source": "die Katze", "target": "the cat"}]
    path = objects(path, {"translation": {"fr": "le chat", "is": "köttur"}})
    with pytest.raises(ElektronError, match=r"--target.*translation\.fr, translation\.is"):
        read(path, layout=layout)
    assert values(path, layout=layout, source="translation.is", target="fr")[0]["source"] == "köttur"


def test_unused_columns_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    read(objects(tmp_path / "a.jsonl", {"id": 1, "text": "a", "label": 1, "author": "b"}))
    assert "not used: id, author" in caplog.text


@pytest.mark.parametrize(("first", "second"), [("text", "text_b"), ("text_a", "text_b"), ("question1", "question2")])
def test_two_text_columns_are_text_and_pair(tmp_path: Path, first: str, second: str) -> None:
    path = objects(tmp_path / "a.jsonl", {first: "a", second: "b", "label": 1})
    assert values(path, layout=LAYOUTS["classification"]) == [{"text": "a", "pair": "b", "label": 1}]


def test_eval_and_test_columns_options(tmp_path: Path) -> None:
    train = objects(tmp_path / "train.jsonl", {"says": "a", "is": "x"})
    test = objects(tmp_path / "test.jsonl", {"body": "b", "is": "y"})
    config = FinetuneConfig(
        task="classification",
        model="m",
        train=[str(train)],
        out=tmp_path / "out",
        text="says",
        label="is",
        test_columns=["text=body"],
    )

    def rows(path: Path, split: Any = "") -> list[dict[str, Any]]:
        records = read_records([str(path)], TEXTS, config, labelled=True, split=split)
        return [record.values for record in records]

    assert rows(train) == [{"text": "a", "label": "x"}]
    assert rows(test, "test") == [{"text": "b", "label": "y"}]
    with pytest.raises(ElektronError, match=r"no column 'says'.*--eval-columns text="):
        rows(test, "eval")
    for wrong in (["body"], ["text="], ["nose=body"]):
        config.eval_columns = wrong
        with pytest.raises(ElektronError, match="--eval-columns"):
            rows(test, "eval")


def test_one_column_for_two_roles_raises(tmp_path: Path) -> None:
    path = objects(tmp_path / "a.jsonl", {"says": "a", "is": "x"})
    config = FinetuneConfig(
        task="classification", model="m", train=[str(path)], out=tmp_path / "out", text="says", pair="says"
    )
    with pytest.raises(ElektronError, match="column 'says' cannot be both the text and the pair"):
        list(read_records([str(path)], LAYOUTS["classification"], config, labelled=False))


def trained_on(layout: Layout, **columns: str) -> Layout:
    """The layout with the columns of training as the first usual names."""
    return dataclasses.replace(
        layout,
        roles=tuple(
            dataclasses.replace(role, names=(columns[role.name], *role.names)) if role.name in columns else role
            for role in layout.roles
        ),
    )


def test_columns_known_from_training_need_no_options(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("7,a,x\n8,b,y\n9,2,x\n")
    layout = trained_on(TEXTS, text="2", label="3")
    for labelled in (True, False):
        found = values(path, layout=layout, labelled=labelled)
        assert [row["text"] for row in found] == ["a", "b", "2"]
    path.write_text("7,text\n8,b\n")  # a known header takes precedence over column numbers
    assert values(path, layout=layout, labelled=False) == [{"text": "b"}]
    path.write_text("a,b\n8,c\n")  # two columns, but training used column 3
    with pytest.raises(ElektronError, match="which column is which"):
        read(path, layout=layout, labelled=False)
    nested = objects(tmp_path / "a.jsonl", {"data": {"body": "a"}, "hot": 1, "cold": 0})
    layout = trained_on(TEXTS, text="data.body", label="hot,cold")
    assert values(nested, layout=layout) == [{"text": "a", "label": ["hot"]}]


def test_error_for_very_wide_table_is_short(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",".join(f"c{n}" for n in range(100_000)) + "\n" + "x," * 99_999 + "x\n")
    for options in ({}, {"text": "nothing"}, {"header": True}):
        with pytest.raises(ElektronError, match="more") as caught:
            read(path, **options)
        assert len(str(caught.value)) < 2000


def test_empty_target_is_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = objects(tmp_path / "a.jsonl", *[{"source": "a", "target": said} for said in ("b", None)])
    assert values(path, layout=PARALLEL) == [{"source": "a", "target": "b"}]
    assert "1 rows are left out: the target is empty" in caplog.text
