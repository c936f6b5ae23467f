"""Delimited text files: delimiters, quoting, headers, and line numbers in errors."""

import csv
import io
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elektron.errors import ElektronError
from elektron.finetuning.readers.values import MISSING, class_name
from tests.finetuning.readers.layouts import CHOICES, TEXTS, lazily, read, values

GOOD, BAD = {"text": "good", "label": "1"}, {"text": "bad", "label": "0"}


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt"])
def test_the_delimiter_is_sniffed(tmp_path: Path, suffix: str, delimiter: str) -> None:
    rows = ["text,label", "good,1", "bad,0"]
    path = write(tmp_path, f"a{suffix}", "\n".join(rows).replace(",", delimiter))
    assert values(path) == [GOOD, BAD]


def test_commas_in_tab_separated_text_are_not_delimiters(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text\tlabel\na, b\t1\nc, d\t0\n")
    assert values(path) == [{"text": "a, b", "label": "1"}, {"text": "c, d", "label": "0"}]


@pytest.mark.parametrize(("option", "between"), [(r"\t", "\t"), ("~", "~"), ("\t", "\t")])
def test_delimiter_option(tmp_path: Path, option: str, between: str) -> None:
    path = write(tmp_path, "a.txt", f"text{between}label\ngood{between}1\n")
    assert values(path, delimiter=option) == [GOOD]


def test_multi_character_delimiter_requires_quoting_false(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "text ||| label\ngood ||| 1\n")
    assert values(path, delimiter=" ||| ", quoting=False) == [GOOD]
    with pytest.raises(ElektronError, match="--quoting false"):
        read(path, delimiter=" ||| ")
    with pytest.raises(ElektronError, match="--delimiter must not be empty"):
        read(path, delimiter="")


def test_quotes_enclose_fields_in_csv_and_are_text_in_tsv(tmp_path: Path) -> None:
    table = write(tmp_path, "a.csv", 'text,label\n"a ""b"",\nc",1\nd,0\n')
    first, second = read(table)
    assert first.values["text"] == 'a "b",\nc'
    assert (first.where, second.where) == (f"{table}, line 2", f"{table}, line 4")
    tabs = write(tmp_path, "a.tsv", 'text\tlabel\n"unclosed\t1\n"b"\t0\n')
    assert [value["text"] for value in values(tabs)] == ['"unclosed', '"b"']
    assert values(write(tmp_path, "b.tsv", 'text\tlabel\n"b"\t1\n'), quoting=True)[0] == {"text": "b", "label": "1"}
    assert values(write(tmp_path, "b.csv", 'text,label\n"b,1\n'), quoting=False)[0] == {"text": '"b', "label": "1"}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('text,label\na,1\n"b,0\nc,1\n', "line 3: a quotation mark is opened here and never"),
        ('text,label\na,1\n"b" c,0\n', "line 3: a quotation mark inside a field is not doubled"),
        ("text,label\na\rb,0\n", "line 2: a carriage return"),
        ("text,label,text\na,1,b\n", "several columns are called 'text'"),
        ("text,label\na,1\nb\n", "line 3: no label: there is no column 'label'.* only text"),
        ("text,label\na,1\n ,0\n", "line 3: the text is empty"),
        ("text,label\n", "a.csv: empty"),
        ("", "a.csv: empty"),
        ("\n \n", "a.csv: empty"),
        ("text,stars\na,1\n", r"which column is the label\? .*--label.*there are: text, stars"),
        ('"one\ntwo",label\na,1\n', "there are: one two, label"),
        ("review,stars\na,1\nb,2\n", r"--text and --label.*1 \('review'\), 2 \('stars'\)"),
    ],
)
def test_invalid_csv_raises_one_line_error(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(ElektronError, match=complaint) as caught:
        read(write(tmp_path, "a.csv", content))
    assert "\n" not in str(caught.value)


def test_missing_column_error_suggests_and_lists_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "sentence,label\na,1\n")
    with pytest.raises(ElektronError, match="'sentense' for --text: did you mean sentence") as e:
        read(path, text="sentense")
    assert "(there are: sentence, label)" in str(e.value)
    with pytest.raises(ElektronError, match="no column '3' for --label"):
        read(path, text="sentence", label="3")


def test_column_numbers_imply_no_header_by_default(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, "a.tsv", "x\tgood\t1\textra\nx\tbad\t0\n")
    first, second = read(path, text="2", label="3")
    assert first.values == GOOD
    assert first.columns == {"1": "x", "2": "good", "3": "1", "4": "extra"}
    assert second.columns == {"1": "x", "2": "bad", "3": "0"}
    headed = write(tmp_path, "b.tsv", "text\tlabel\ngood\t1\n")
    assert values(headed, text="1", label="2", header=True) == [GOOD]
    assert len(values(headed, text="1", label="2")) == 2
    assert "--header true" in caplog.text
    with pytest.raises(ElektronError, match="line 2: no label"):
        read(write(tmp_path, "c.tsv", "a\t1\nb\n"), text="1", label="2")


def test_column_name_and_number_imply_header(tmp_path: Path) -> None:
    assert values(write(tmp_path, "a.csv", "t,l\ngood,1\n"), text="t", label="2") == [GOOD]


def test_text_and_label_without_header_are_guessed_from_values(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, "a.tsv", "a film\tgood\nsome book\tbad\nthe play\tgood\nodd\tbad\n")
    with caplog.at_level(logging.INFO, "elektron"):
        assert values(path)[0] == {"text": "a film", "label": "good"}
    assert "without a header; text is column 1 (guessed), label is column 2 (guessed)" in caplog.text
    swapped = write(tmp_path, "b.csv", "1,a film\n0,some book\n0,the play\n1,oddity\n")
    assert values(swapped)[1] == {"text": "some book", "label": "0"}
    assert values(swapped, labelled=False)[1] == {"text": "some book"}
    assert values(swapped, header=False)[1] == {"text": "some book", "label": "0"}


@pytest.mark.parametrize(
    "content",
    [
        "a\tb\n",  # one row is not enough
        "review\tstars\na film\t1\nsome book\t0\nthe play\t1\n",  # the first line may be a header
        "1\tone thing\n2\tanother\n3\ta third\n",  # row numbers are not labels
        "yes\tno\nno\tno\nyes\tyes\nno\tno\n",  # both columns may be labels
        "one\tword\there\none\tmore\there\n",
    ],
)
def test_ambiguous_columns_without_header_raise(tmp_path: Path, content: str) -> None:
    with pytest.raises(ElektronError, match=r"which column is which\? Give --text and --label"):
        read(write(tmp_path, "a.tsv", content))


def test_usual_column_names_match_any_case_and_are_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = "\ufeffSentence, Label ,sentence2\na,x,b\nc,y,d\n"
    path = write(tmp_path, "a.csv", content)
    with caplog.at_level(logging.INFO, "elektron"):
        records = read(path)
    assert records[0].values == {"text": "a", "pair": "b", "label": "x"}
    assert records[0].columns == {"Sentence": "a", "Label": "x", "sentence2": "b"}
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: comma-separated, with a header; text is column Sentence (guessed), "
        "label is column Label (guessed), pair is column sentence2 (guessed)"
    ]


def test_labels_are_not_read_for_prediction(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\na,1\n  ,\n")
    assert values(path, labelled=False) == [{"text": "a"}, {"text": ""}]
    bare = write(tmp_path, "b.csv", "text,other\na,1\n")
    assert values(bare, labelled=False, label="missing") == [{"text": "a"}]
    with pytest.raises(ElektronError, match="line 3: no text"):
        read(write(tmp_path, "c.tsv", "label\ttext\n1\ta\n1\n"), labelled=False)


def test_blank_lines_are_skipped_but_counted_in_line_numbers(tmp_path: Path) -> None:
    for name, between in (("a.csv", ","), ("a.tsv", "\t")):
        content = f"\ntext{between}label\n\n  \ngood{between}1\n\n"
        (record,) = read(write(tmp_path, name, content))
        assert record.where == f"{tmp_path / name}, line 5"


def test_single_text_column_may_contain_commas(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text\nwell, yes\n"quoted, too"\n""\n')
    texts = [value["text"] for value in values(path, labelled=False)]
    assert texts == ["well, yes", "quoted, too", ""]


def test_fields_beyond_header_are_kept_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, _ = read(write(tmp_path, "a.tsv", "text\tlabel\na\t1\tx\nb\t0\n"))
    assert first.columns == {"text": "a", "label": "1", "3": "x"}
    assert re.search(r"1 rows have more fields than the header \(first: .*line 2", caplog.text)


def test_several_labels_in_a_field(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\na,x; y;\nb,\n")
    labels = [value["label"] for value in values(path, label_separator=";")]
    assert labels == [["x", "y"], []]


def test_choices_in_one_or_several_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "q,a,b,label\nwhy?,so,,0\n")
    assert values(path, layout=CHOICES, text="q", choices="a, b", label="label") == [
        {"text": "why?", "choices": ["so", ""], "label": "0"}
    ]
    assert values(path, layout=CHOICES, text="1", choices="2,3", label="4")[1]["choices"] == ["so", ""]
    usual = write(tmp_path, "b.csv", "question,ending0,ending1,label\nwhy?,so,no,0\n")
    assert values(usual, layout=CHOICES)[0]["choices"] == ["so", "no"]
    listed = write(tmp_path, "c.csv", 'question,choices,label\nwhy?,"[""so"", 2]",0\n')
    assert values(listed, layout=CHOICES)[0]["choices"] == ["so", "2"]
    with pytest.raises(ElektronError, match="no column 'a,c' for --choices"):
        read(path, layout=CHOICES, text="q", choices="a,c")


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r", "\r\r\n"])
def test_line_endings(tmp_path: Path, ends: str) -> None:
    for name, between in (("a.csv", ","), ("a.tsv", "\t")):
        rows = [f"text{between}label", f"good{between}1", f"bad{between}0", ""]
        found = values(write(tmp_path, name, ends.join(rows)))
        assert found == [GOOD, BAD]


def test_other_unicode_line_separators_are_text(tmp_path: Path) -> None:
    texts = [f"a{separator}b" for separator in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"]
    path = write(tmp_path, "a.tsv", "text\tlabel\n" + "".join(f"{t}\t1\n" for t in texts))
    assert [value["text"] for value in values(path)] == texts


def test_a_huge_field(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f'text,label\n"{"x," * 2_000_000}",1\n')
    assert len(values(path)[0]["text"]) == 4_000_000


def test_rows_are_yielded_before_file_is_read_to_end(tmp_path: Path) -> None:
    rows = "".join(f"{'text ' * 300}{n},1\n" for n in range(3000))
    records = lazily(write(tmp_path, "a.csv", f"text,label\n{rows},1\n"))
    assert next(records).values["label"] == "1"
    with pytest.raises(ElektronError, match="line 3002"):
        list(records)


wild = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff\r"), min_size=1).filter(
    lambda text: not text.isspace()
)


wild_labels = wild.filter(lambda text: text.strip()[0] not in "[({" and text.strip().lower() not in MISSING)
"""Not written as lists or objects, and not as a missing value."""


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(wild, wild, wild_labels), min_size=1, max_size=8))
def test_csv_writer_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]) -> None:
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "sentence2", "label"), *rows])
    path = tmp_path_factory.mktemp("t") / "a.csv"
    path.write_bytes(written.getvalue().encode())
    records = read(path)
    rows = [(text, pair, class_name(label)) for text, pair, label in rows]
    assert [record.values for record in records] == [
        {"text": text, "label": label, "pair": pair} for text, pair, label in rows
    ]
    assert [tuple(record.columns.values()) for record in records] == rows


@settings(max_examples=150, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=80),
        st.text('text,label\t"\n\r;|\ufeff1é ', max_size=60).map(str.encode),
        st.text('text,label\t"\n1', max_size=60).map(lambda text: f"text,label\n{text}".encode()),
    ),
    suffix=st.sampled_from([".csv", ".tsv", ".txt", ".jsonl", ".parquet", ".csv.gz"]),
    options=st.sampled_from(
        [{}, {"labelled": False}, {"text": "1", "label": "2"}, {"quoting": True}, {"header": False}]
    ),
)
def test_arbitrary_bytes_give_rows_or_one_line_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str, options: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("t") / f"a{suffix}"
    path.write_bytes(content)
    try:
        records = read(path, layout=TEXTS, **options)
    except ElektronError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)
    else:
        assert records
        assert all(json.dumps(record.columns).encode() for record in records)
