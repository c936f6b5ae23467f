"""Opening sources: format detection, standard input, encodings, and errors for unreadable files."""

import dataclasses
import json
import os
import threading
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pytest

from elektron.errors import ElektronError
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import Record
from tests.finetuning.readers.layouts import CHOICES, PARALLEL, SQUAD, TAGGED, TEXTS, read, values

LAYOUTS = [TEXTS, CHOICES, TAGGED, SQUAD, PARALLEL]


def predicted(stdin: bytes, **options: Any) -> list[dict[str, Any]]:
    return values("-", labelled=False, stdin=stdin, **options)


def test_stdin_format_is_detected_from_first_line() -> None:
    assert predicted("Schön, gut\n\nja\n".encode()) == [{"text": "Schön, gut"}, {"text": ""}, {"text": "ja"}]
    assert predicted(b'{"text": "a", "n": 1}\n{"text": "b"}\n') == [{"text": "a"}, {"text": "b"}]
    assert predicted(b"1\ta\n2\tb\n", text="2") == [{"text": "a"}, {"text": "b"}]
    assert predicted(b"x;y\n1;a\n", text="y") == [{"text": "a"}]
    assert predicted(b"id\ttext\n1\ta\n") == [{"text": "a"}]
    assert predicted(b"a\tb\nc\td\n") == [{"text": "a\tb"}, {"text": "c\td"}]
    assert predicted(b'{"open\n') == [{"text": '{"open'}]
    assert values("-", stdin=b"text\tlabel\na\t1\n") == [{"text": "a", "label": "1"}]
    assert read("-", labelled=False, stdin=b"a\n")[0].where == "-, line 1"


def test_stdin_line_is_read_before_next_arrives() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb", buffering=0) as pipe:
        records = read_records(["-"], TEXTS, FilesConfig(), labelled=False, stdin=stdin)
        for line in (b"one\n", b"two\n"):
            pipe.write(line)
            got: list[Record] = []
            thread = threading.Thread(target=lambda: got.append(next(records)), daemon=True)  # noqa: B023
            thread.start()
            thread.join(timeout=20)
            assert [record.values["text"] for record in got] == [line.decode().strip()]


def test_read_records_reads_nothing_before_first_row() -> None:
    records = read_records(["-"], TEXTS, FilesConfig(), True, stdin=cast("IO[bytes]", object()))
    with pytest.raises(AttributeError, match="read"):  # the object has no method of a file
        next(records)


def test_txt_is_text_per_line_or_table_if_all_lines_have_tabs(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\ufeffwell, yes\nno; no\n\nlast")
    records = read(path, labelled=False)
    assert [r.values["text"] for r in records] == ["well, yes", "no; no", "", "last"]
    assert records[3].columns == {"text": "last"}
    assert records[3].where == f"{path}, line 4"
    path.write_text("id\ttext\n1\tyes\n")
    assert values(path, labelled=False) == [{"text": "yes"}]
    path.write_text("yes|1\n")
    assert values(path, labelled=False, delimiter="|", header=False, text="1") == [{"text": "yes"}]


def test_sources_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,1\n")
    (tmp_path / "b.jsonl").write_text('{"label": 2, "sentence": "b"}\n')
    assert values(tmp_path / "b.jsonl", tmp_path / "a.csv") == [{"text": "b", "label": 2}, {"text": "a", "label": "1"}]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.format)
@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.jsonl", "a.tsv.gz", "a.txt.zst", "-"])
@pytest.mark.parametrize("labelled", [True, False])
def test_empty_files_raise(tmp_path: Path, layout: Any, name: str, labelled: bool) -> None:
    path = name if name == "-" else str(tmp_path / name)
    if name.endswith((".gz", ".zst")):
        kind = "gzip" if name.endswith(".gz") else "zstd"
        with pa.CompressedOutputStream(path, kind) as stream:
            stream.write(b"")
    elif name != "-":
        Path(path).touch()
    with pytest.raises(ElektronError, match=r"^\S*: empty"):
        read(path, layout=layout, labelled=labelled)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.format)
@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("folder", "a folder: give its files, or hf:"),
        ("tran.csv", "no such file: did you mean .*train.csv"),
        ("trian.csv", r"no such file: did you mean \S*train.csv\?"),
        ("tran.parquet", "no such file: did you mean .*train.parquet"),
        ("nul.csv", "binary file"),
        ("latin.csv", "not valid UTF-8"),
        ("broken.csv.gz", "damaged"),
        ("x" * 400 + ".csv", "cannot be read"),
        ("no/such/file.csv", "no such file"),
    ],
)
def test_unreadable_files_raise_one_line_error(tmp_path: Path, layout: Any, name: str, complaint: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "train.csv").write_text("text,label\na,1\n")
    (tmp_path / "train.parquet").touch()
    (tmp_path / "other.csv").touch()
    (tmp_path / "nul.csv").write_bytes(b"text,label\na\0,1\n")
    (tmp_path / "latin.csv").write_bytes("äöü,öäü\n".encode("latin-1"))
    (tmp_path / "broken.csv.gz").write_bytes(b"text,label\na,1\n")
    with pytest.raises(ElektronError, match=complaint) as caught:
        read(tmp_path / name, layout=layout)
    assert "\n" not in str(caught.value)


def test_a_few_undecodable_bytes_are_replaced_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\n" + b"a plain text,1\n" * 20 + "für,0\n".encode("latin-1"))
    assert read(path)[-1].values["text"] == "f\ufffdr"
    assert f"{path}: 1 bytes are not valid UTF-8 and were replaced" in caplog.text


def test_no_source_raises() -> None:
    with pytest.raises(ElektronError, match="no file"):
        read()


def test_record_names_map_roles_to_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text,label\n0,a,0\n1, b ,0\n")
    assert [dict(record.names) for record in read(path)] == [{"text": "text", "label": "label"}] * 2
    path = tmp_path / "b.csv"
    path.write_text("text,ending0,ending1,label\nwhat,a,b,0\n")
    assert read(path, layout=CHOICES)[0].names["choices"] == "ending0,ending1"


def test_option_for_role_of_other_task_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("source,target\na,b\n")
    with pytest.raises(
        ElektronError, match=r"--text does not apply to this task, whose columns are --source, --target"
    ):
        read(path, layout=PARALLEL, text="source")


def test_row_without_pair_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("sentence\tlabel\tsentence2\na\t1\tb\nshort\t1\n")
    with pytest.raises(ElektronError, match="line 3"):
        read(path)
    rows = b'{"text": "a", "sentence2": "b"}\n{"text": "a"}\n'
    with pytest.raises(ElektronError, match=r"line 2: no pair: .*'sentence2'"):
        read("-", labelled=False, stdin=rows)


def test_empty_targets_are_left_out_and_null_words_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows: list[Any] = [["", " "], [], None, "Null", ["nan"]]
    path.write_text("".join(json.dumps({"source": "x", "target": target}) + "\n" for target in rows))
    assert [record.values["target"] for record in read(path, layout=PARALLEL)] == ["Null", ["nan"]]


def test_rows_without_text_are_predicted_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text\n1,a\n2,\n3,\n")
    assert [record.values["text"] for record in read(path, labelled=False)] == ["a", "", ""]
    assert f"2 rows have an empty text and are predicted anyway (first: {path}, line 3)" in caplog.text


def test_line_numbers_include_excel_separator_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("sep=;\ntext;label\na;1\nb;2\n")
    assert [record.where for record in read(path)] == [f"{path}, line 3", f"{path}, line 4"]


def test_label_separator_comes_from_option_or_layout(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,x|y\n")
    layout = dataclasses.replace(TEXTS, label_separator="|")
    assert values(path, layout=layout)[0]["label"] == ["x", "y"]
    assert values(path, layout=layout, label_separator="y")[0]["label"] == ["x|"]
