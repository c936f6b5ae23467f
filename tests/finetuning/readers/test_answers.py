"""Question answering files: SQuAD's JSON, tables, and answers with a wrong or missing position."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from elektron.errors import ElektronError
from tests.finetuning.readers.layouts import SQUAD, read, values

CONTEXT = "A cat met a cat on the mat."


def squad(*entries: dict[str, Any], context: str = CONTEXT) -> dict[str, Any]:
    article = {"title": "Cats", "paragraphs": [{"context": context, "qas": list(entries)}]}
    return {"version": "v2.0", "data": [article]}


def entry(*answers: tuple[str, Any], impossible: bool = False) -> dict[str, Any]:
    found = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": "q1", "question": "Who?", "answers": found, "is_impossible": impossible}


def write(folder: Path, document: Any, name: str = "a.json", indent: int | None = None) -> Path:
    path = folder / name
    content = json.dumps(document, indent=indent).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
@pytest.mark.parametrize("indent", [None, 1])
def test_squad_json(tmp_path: Path, name: str, indent: int | None) -> None:
    document = squad(entry(("cat", 12), ("the mat", 19)), entry(("mat", 23), impossible=True))
    path = write(tmp_path, document, name, indent)
    first, second = read(path, layout=SQUAD)
    assert first.values == {
        "id": "q1",
        "question": "Who?",
        "context": CONTEXT,
        "answers": [{"text": "cat", "answer_start": 12}, {"text": "the mat", "answer_start": 19}],
    }
    assert first.columns == {"id": "q1", "question": "Who?", "title": "Cats"}
    assert first.where == f"{path}, question q1"
    assert second.values["answers"] == []


def test_squad_v1_without_is_impossible(tmp_path: Path) -> None:
    bare = {"id": 7, "question": "Who?", "answers": [{"text": "cat", "answer_start": 2}]}
    (record,) = read(write(tmp_path, squad(bare)), layout=SQUAD)
    assert record.values["id"] == "7"
    assert record.values["answers"] == [{"text": "cat", "answer_start": 2}]


def test_answers_are_optional_for_prediction(tmp_path: Path) -> None:
    document = squad({"id": "q", "question": "Who?"}, entry(("cat", 2)))
    found = values(write(tmp_path, document), layout=SQUAD, labelled=False)
    assert [row["question"] for row in found] == ["Who?", "Who?"]
    assert all("answers" not in row for row in found)


@pytest.mark.parametrize("says", [True, 1, "true"])
def test_flat_row_with_is_impossible_has_no_answers(tmp_path: Path, says: Any) -> None:
    answers = {"text": ["cat"], "answer_start": [4]}
    row = {"question": "who?", "context": "the cat"}
    rows = [
        row | {"answers": answers, "is_impossible": False},
        row | {"answers": answers, "is_impossible": says},
        row | {"is_impossible": says},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    assert [len(record.values["answers"]) for record in read(path, layout=SQUAD)] == [1, 0, 0]


@pytest.mark.parametrize(
    ("stated", "real"),
    [(2, 2), (12, 12), (3, 2), (11, 12), (99, 12), (-5, 2), (None, 2), ("12", 12), (12.0, 12), ("12.0", 12), ("", 2)],
)
def test_answer_start_becomes_nearest_occurrence(tmp_path: Path, stated: Any, real: int) -> None:
    (record,) = read(write(tmp_path, squad(entry(("cat", stated)))), layout=SQUAD)
    assert record.values["answers"] == [{"text": "cat", "answer_start": real}]


def test_answers_not_in_context_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    document = squad(entry(("dog", 2)), entry(("dog", 2), (" mat ", 0)))
    path = write(tmp_path, document)
    (record,) = read(path, layout=SQUAD)
    assert record.values["answers"] == [{"text": "mat", "answer_start": 23}]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"{path}: 2 answers are not in their context")
    assert f"{path}, question q1: 'dog'" in warning
    assert "1 rows are left out" in warning
    assert "1 answers are not where answer_start says" in warning
    assert len(read(path, layout=SQUAD, labelled=False)) == 2


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"text": ["cat", "mat"], "answer_start": [12, 23]}, [("cat", 12), ("mat", 23)]),
        ({"text": [], "answer_start": []}, []),
        ({"text": ["cat"]}, [("cat", 2)]),
        ({"text": "cat", "answer_start": 12}, [("cat", 12)]),
        ([{"text": "cat", "answer_start": 12}], [("cat", 12)]),
        (["mat", "cat"], [("mat", 23), ("cat", 2)]),
        ("mat", [("mat", 23)]),
        ("", []),
        (None, []),
        ([""], []),
        ([], []),
    ],
)
def test_answers_in_tables(tmp_path: Path, answers: Any, expected: list[tuple[str, int]]) -> None:
    row = {"question": "Who?", "context": CONTEXT, "answers": answers, "title": "Cats"}
    (record,) = read(write(tmp_path, row, "a.jsonl"), layout=SQUAD)
    found = [(answer["text"], answer["answer_start"]) for answer in record.values["answers"]]
    assert found == expected
    assert record.columns == row
    assert record.values["id"] == "1"


def test_csv_with_answers_as_text_or_json(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", "context", "answers"])
        writer.writerow(["x", "Who?", CONTEXT, "mat"])
        writer.writerow(["y", "Who?", CONTEXT, '{"text": ["cat"], "answer_start": [12]}'])
        writer.writerow(["z", "Who?", CONTEXT, ""])
    found = values(path, layout=SQUAD)
    assert [value["id"] for value in found] == ["x", "y", "z"]
    assert [value["answers"] for value in found] == [
        [{"text": "mat", "answer_start": 23}],
        [{"text": "cat", "answer_start": 12}],
        [],
    ]


@pytest.mark.parametrize(
    "written",
    [
        "{'text': ['cat'], 'answer_start': [12]}",
        "{'text': array(['cat'], dtype=object), 'answer_start': array([12], dtype=int32)}",
        "[{'text': 'cat', 'answer_start': 12}]",
        '[{"text": "cat", "answer_start": 12}]',
    ],
)
def test_serialized_answers_are_parsed(tmp_path: Path, written: str) -> None:
    row = {"question": "Who?", "context": CONTEXT, "answers": written}
    (record,) = read(write(tmp_path, row, "a.jsonl"), layout=SQUAD)
    assert record.values["answers"] == [{"text": "cat", "answer_start": 12}]


def test_bracketed_answer_text_is_not_parsed_as_list(tmp_path: Path) -> None:
    row = {"question": "Which?", "context": "See [1] and 1.", "answers": "[1]"}
    (record,) = read(write(tmp_path, row, "a.jsonl"), layout=SQUAD)
    assert record.values["answers"] == [{"text": "[1]", "answer_start": 4}]


@pytest.mark.parametrize("start", [12, 12.0, "12", "12.0", [12], "[12]"])
def test_answer_start_in_separate_column(tmp_path: Path, start: Any) -> None:
    row = {"question": "Who?", "context": CONTEXT, "answer": "cat", "answer_start": start}
    (record,) = read(write(tmp_path, row, "a.jsonl"), layout=SQUAD)
    assert record.values["answers"] == [{"text": "cat", "answer_start": 12}]


def test_list_of_answer_starts_in_separate_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        f"question,context,answers,answer_start\nWho?,{CONTEXT},\"['cat', 'mat']\",\"[12, 23]\"\nWho?,{CONTEXT},,\n"
    )
    first, second = values(path, layout=SQUAD)
    assert [answer["answer_start"] for answer in first["answers"]] == [12, 23]
    assert second["answers"] == []


@pytest.mark.parametrize("cmrc", [False, True])
def test_list_of_contexts_with_questions(tmp_path: Path, cmrc: bool) -> None:
    names = ("context_text", "query_text", "query_id") if cmrc else ("context", "question", "id")
    context, question, number = names
    answers: list[Any] = ["cat", "mat"] if cmrc else [{"text": "cat", "answer_start": 12}]
    asked = [
        {number: name, question: text, "answers": answers}
        for name, text in (("q1", "Who?"), ("q2", " "), ("q3", "What?"))
    ]
    path = write(tmp_path, [{context: CONTEXT, "qas": asked}, {context: "a cat", "qas": asked}])
    found = read(path, layout=SQUAD)
    assert [record.values["id"] for record in found] == ["q1", "q3", "q1", "q3"]
    assert found[0].values["question"] == "Who?"
    assert found[0].values["context"] == CONTEXT
    assert found[0].values["answers"][0] == {"text": "cat", "answer_start": 2 if cmrc else 12}


def test_empty_questions_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    empty = {"id": "e", "question": "", "answers": [{"text": "cat", "answer_start": 2}]}
    path = write(tmp_path, squad(entry(("cat", 2)), empty, empty))
    assert [value["id"] for value in values(path, layout=SQUAD)] == ["q1"]
    assert "2 rows are left out: the question is empty" in caplog.text
    assert "question e" in caplog.text
    # For prediction no row is left out.
    assert len(values(path, layout=SQUAD, labelled=False)) == 3


def test_squad_v1_question_without_answers_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, squad(entry(("cat", 2)), {"id": "x", "question": "Who?"}))
    assert len(values(path, layout=SQUAD)) == 1
    assert "neither answers nor" in caplog.text


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"data": [{"paragraphs": 3}]}, "row 1: 'paragraphs' must be a list of objects"),
        ({"data": [{"title": "x"}]}, "which column is the question"),
        ({"data": [3]}, "which column is the question"),
        ({"data": []}, "empty"),
        (squad({"id": "q"}), "which column is the answers"),
        (
            squad({"id": "q", "question": " ", "answers": []}),
            "no row is left; 1 rows are left out: the question is empty .*question q",
        ),
        (squad(entry(("cat", 2)), context=""), "no row is left.*the context is empty"),
        (squad({"id": "q", "question": "a"}), "which column is the answers"),
        (squad(entry(("dog", 2))), "no row is left.*none of their answers is in the context"),
        (squad(entry(("cat", "x"))), "answer_start must be the number of a character, got 'x'"),
        (squad(entry(("cat", 1.5))), "answer_start must be the number of a character, got 1.5"),
        (squad(entry(({}, 2))), "an answer must be text"),  # type: ignore[arg-type]
        ({"question": "a", "context": "b"}, r"which column is the answers\?"),
        ({"question": "", "context": "b", "answers": "b"}, "the question is empty .*line 1"),
        ({"question": "a", "context": "b", "answers": [["x"]]}, "an answer must be text"),
    ],
)
def test_invalid_squad_file_raises_one_line_error(tmp_path: Path, document: Any, complaint: str) -> None:
    with pytest.raises(ElektronError, match=f"a.json.*{complaint}") as caught:
        read(write(tmp_path, document), layout=SQUAD)
    assert "\n" not in str(caught.value)
