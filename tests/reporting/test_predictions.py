"""Tables of predictions: the rows that are shown, and the columns they are read from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from elektron.errors import ElektronError
from elektron.reporting.page import Heading, Table, Token
from elektron.reporting.predictions import MAX_TOKENS, around, middle_left_out, prediction_tables, shortened
from elektron.reporting.task_result import read_task_result
from tests.reporting import tuned


@dataclass
class Shown:
    title: str
    rows: list[Any]


def shown(tmp_path: Path, files: tuned.Files) -> list[Shown]:
    blocks = prediction_tables(read_task_result(tuned.write(tmp_path / "a", files)))
    tables = []
    for heading, table in zip(blocks[::2], blocks[1::2], strict=True):
        assert isinstance(heading, Heading) and isinstance(table, Table)
        tables.append(Shown(str(heading.content), list(table.rows)))
    return tables


def test_errors_are_sorted_by_descending_score(tmp_path: Path) -> None:
    wrong, right = shown(tmp_path, tuned.classification())
    assert len(wrong.rows) == 8 and len(right.rows) == 4
    shares = [int(cells[0].partition("(")[2].partition(" ")[0]) for cells in wrong.rows]
    assert shares == sorted(shares, reverse=True)
    assert all(cells[0].startswith(cells[1]) for cells in right.rows)


def test_predictions_without_labels_are_not_listed_as_errors(tmp_path: Path) -> None:
    """The column of the prediction is not read as the label."""
    files = tuned.classification()
    files["predictions.jsonl"] = [{"text": "a", "predicted_label": "pos", "predicted_score": 0.9}]
    (some,) = shown(tmp_path, files)
    assert some.title != "Errors with the highest scores" and some.rows[0][1] == "–"


@pytest.mark.parametrize(
    ("row", "columns", "settings", "wrong"),
    [
        ({"stars": 1.0, "predicted_label": "1"}, {"label": "stars"}, {}, False),
        ({"stars": 2, "predicted_label": "1"}, {}, {"label": "stars"}, True),
        ({"1": "2", "2": "t", "predicted_label": "1"}, {}, {"label": "1"}, True),
        ({"tags": ["b", "a"], "predicted_labels": ["a", "b"]}, {"label": "tags"}, {}, False),
        ({"topics": ["a"], "predicted_labels": ["a", "b"]}, {"label": "topics"}, {}, True),
        ({"topics": [], "predicted_labels": []}, {"label": "topics"}, {}, False),
        ({"a": 1, "b": 1, "a,b": ["a", "b"], "predicted_labels": ["b", "a"]}, {"label": "a,b"}, {}, False),
        ({"a": 1, "b": 0, "a,b": ["a"], "predicted_labels": ["b"]}, {"label": "a,b"}, {}, True),
    ],
)
def test_prediction_is_compared_with_label_column(
    row: tuned.Files, columns: Any, settings: Any, wrong: bool, tmp_path: Path
) -> None:
    files = tuned.classification()
    files["details.json"] |= {"columns": columns}
    files["config.yaml"] = tuned.CONFIG | settings
    files["predictions.jsonl"] = [row]
    (table,) = shown(tmp_path, files)
    assert (table.title == "Errors with the highest scores") == wrong


@pytest.mark.parametrize("column", ["label", "class"])
def test_data_column_named_predicted_label_is_not_the_prediction(column: str, tmp_path: Path) -> None:
    files = tuned.classification()
    files["details.json"] |= {"columns": {"label": column}}
    files["predictions.jsonl"] = [{"text": "t", column: "a", "predicted_label": "b", "predicted_predicted_label": "a"}]
    (table,) = shown(tmp_path, files)
    assert table.rows == [["a", "a", "t"]]


def test_wrong_tags_are_shown_with_correct_tags(tmp_path: Path) -> None:
    wrong, right = shown(tmp_path, tuned.tagging())
    tokens = [token for (cell,) in wrong.rows for token in cell.tokens]
    tags = {(token.text, token.note, token.correction) for token in tokens}
    assert {("Lovelace", "O", "I-PER"), ("London", "B-PER", "B-LOC")} <= tags
    assert not any(token.correction for (cell,) in right.rows for token in cell.tokens)


@pytest.mark.parametrize("given", [[[0, 3, "PER"]], None])
def test_tokens_and_tags_fall_back_to_parsed_columns(given: Any, tmp_path: Path) -> None:
    files = tuned.tagging()
    columns = {"tokens": "1", "tags": "2"} if given is None else {"tokens": "text", "tags": "label"}
    files["details.json"] |= {"columns": columns}
    given_columns = {} if given is None else {"text": "Ada saw", "label": given}
    row = given_columns | {"tokens": ["Ada", "saw"], "tags": ["B-PER", "O"], "predicted_tags": ["O", "O"]}
    files["predictions.jsonl"] = [row]
    (table,) = shown(tmp_path, files)
    ((cell,),) = table.rows
    assert cell.tokens == [Token("Ada", False, note="O", correction="B-PER"), Token("saw")]


LIST = {"choices": ["yes", "no"]}
KEYS = {"choices": {"text": ["yes", "no"], "label": ["1", "2"]}}
COLUMNS = {"choices": "a,b", "label": "label"}


@pytest.mark.parametrize(
    ("row", "label", "columns", "true"),
    [
        *((LIST, label, {}, "no") for label in (1, "1", "B", "no")),
        (KEYS, "1", {}, "yes"),
        ({"a": "yes", "b": "no"}, 1, COLUMNS, "no"),
    ],
)
@pytest.mark.parametrize("predicted", [{"predicted_label": 0, "predicted_choice": "yes"}, {"predicted_label": 0}])
def test_choices_are_shown_by_text(
    row: Any, label: Any, columns: dict[str, str], true: str, predicted: Any, tmp_path: Path
) -> None:
    files = tuned.classification()
    files["task.json"] |= {"task": "multiple-choice"}
    files["details.json"] |= {"columns": columns}
    files["predictions.jsonl"] = [{"text": "Is it?", "label": label, "predicted_score": 0.7} | row | predicted]
    (table,) = shown(tmp_path, files)
    assert table.rows == [["yes (70 %)", true, "Is it?"]]
    assert (table.title == "Correct predictions") == (true == "yes")


def test_shortened_cuts_between_words_and_around_keeps_answer() -> None:
    text = "word " * 100 + "the answer stands here " + "word " * 100
    assert len(shortened(text, 50)) <= 52 and shortened(text, 50).endswith("word …")
    assert "the answer" in around(text, "answer", 60) and around(text, "answer", 60)[0] == "…"
    assert shortened("漢" * 500, 10) == "漢" * 10 + " …"


@pytest.mark.parametrize(
    ("answers", "answer", "wrong", "true"),
    [
        ([], "", False, "no answer"),
        ([], "1843", True, "no answer"),
        ([{"text": "1907", "answer_start": 3}], "", True, "1907"),
        ([{"text": "1907", "answer_start": 3}], "1907", False, "1907"),
        (None, "1907", False, "–"),
    ],
)
def test_predicted_answer_is_compared_with_true_answers(
    answers: Any, answer: str, wrong: bool, true: str, tmp_path: Path
) -> None:
    files = tuned.answers()
    row = {"question": "When?", "context": "in 1907", "predicted_answer": answer}
    if answers is not None:
        files["details.json"] |= {"columns": {"answers": "answers"}}
        row |= {"answers": answers}
    files["predictions.jsonl"] = [row]
    (table,) = shown(tmp_path, files)
    assert (table.title == "Wrong answers") == wrong
    assert table.rows[0][1:3] == [answer or "no answer", true]


def test_numbers_are_shown_with_distinguishing_digits(tmp_path: Path) -> None:
    files = tuned.regression()
    files["details.json"] |= {"columns": {"label": "label"}}
    files["predictions.jsonl"] = [
        {"text": "t", "label": 2009.87, "predicted_score": 2010.1},
        {"text": "t", "label": 0.00123, "predicted_score": 0.00125},
    ]
    (table,) = shown(tmp_path, files)
    assert [row[:2] for row in table.rows] == [["2010.1", "2009.87"], ["0.00125", "0.00123"]]


def test_malformed_rows_are_shown_without_prediction(tmp_path: Path) -> None:
    for name, make in tuned.KINDS.items():
        files = make()
        files["predictions.jsonl"] = [{}, {"text": None}, {"label": {"a": [1]}, "predicted_score": "x"}]
        files["predictions.jsonl"] += [{"tokens": "a", "predicted_tags": 3}, {"answers": 3, "context": []}]
        rows = [cells for table in shown(tmp_path / name, files) for cells in table.rows]
        if name == "tagging":
            assert [cell.tokens for (cell,) in rows] == [[]] * 4  # at most 4 sentences without a wrong tag
        else:
            place, nothing = {"answers": (1, "no answer"), "translation": (1, "nothing")}.get(name, (0, "–"))
            assert [cells[place] for cells in rows] == [nothing] * 5


def test_middle_of_long_text_is_left_out() -> None:
    assert middle_left_out("short", 10) == "short"
    words = " ".join(f"w{place}" for place in range(400))
    cut = middle_left_out(words, 100)
    assert cut.startswith("w0 w1 ") and cut.endswith(" w398 w399") and " … w" in cut
    assert len(cut) <= 102
    assert middle_left_out("字" * 50, 30) == "字" * 20 + " … " + "字" * 10


@pytest.mark.parametrize(
    ("truncation", "end", "remark"),
    [
        ("head", "w29", " [read: the first 30 of 400 tokens]"),
        ("head-tail", "w399", " [read: the first and last, 30 of 400 tokens]"),
        ("windows", "w399", ""),
    ],
)
def test_truncated_text_shows_part_read_by_model(truncation: str, end: str, remark: str, tmp_path: Path) -> None:
    text = " ".join(f"w{place}" for place in range(400))
    words = {word: place for place, word in enumerate(["[UNK]", "[CLS]", "[SEP]", *text.split()])}
    tokenizer = Tokenizer(WordLevel(words, "[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    ends = [(name, words[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.enable_truncation(8)
    files = tuned.classification()
    files["task.json"] |= {"max_length": 32, "truncation": truncation}
    files["predictions.jsonl"] = [{"text": each, "label": "pos", "predicted_label": "pos"} for each in ("w1 w2", text)]
    folder = tuned.write(tmp_path / "a", files)
    tokenizer.save(str(folder / "tokenizer.json"))
    (_, table) = prediction_tables(read_task_result(folder))
    assert isinstance(table, Table)
    short, long = sorted((str(cells[2]) for cells in table.rows), key=len)
    assert short == "w1 w2"
    assert long.startswith("w0 w1 ") and long.endswith(end + remark)


def test_long_sentence_is_cut_around_first_wrong_tag(tmp_path: Path) -> None:
    files = tuned.KINDS["tagging"]()
    tokens, tags = [f"t{place}" for place in range(200)], ["O"] * 200
    wrong = [*tags[:150], "B-PER", *tags[151:]]
    files["predictions.jsonl"] = [{"tokens": tokens, "tags": tags, "predicted_tags": wrong}]
    files["details.json"]["columns"] = {}
    (table,) = shown(tmp_path, files)
    parts = [token.text for token in table.rows[0][0].tokens]
    assert len(parts) == MAX_TOKENS + 1
    assert parts[0] == "…" and "t150" in parts and parts[-1] == "…"


def test_damaged_tokenizer_raises_naming_it(tmp_path: Path) -> None:
    files = tuned.classification() | {"tokenizer.json": '{"a": '}
    files["task.json"] |= {"truncation": "head"}
    with pytest.raises(ElektronError, match=r"tokenizer\.json is damaged .*: restore the file"):
        shown(tmp_path, files)
