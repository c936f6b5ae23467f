"""A corpus reads documents from every kind of source, and raises clear errors for unusable ones."""

import codecs
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, IterableDataset, load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from elektron.corpus import documents
from elektron.corpus.documents import Corpus
from elektron.errors import ElektronError
from elektron.io import text as io_text

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def texts(*sources: Path | str, column: str | None = None) -> list[str]:
    return [document.text for document in Corpus([str(s) for s in sources], column)]


def compressed(path: Path, content: bytes) -> Path:
    kind = {".gz": "gzip", ".zst": "zstd"}[path.suffix]
    with pa.CompressedOutputStream(str(path), kind) as stream:
        stream.write(content)
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("one\ntwo\n\nthree\n", ["one\ntwo", "three"]),
        ("one\ntwo\nthree", ["one", "two", "three"]),
        ("one\r\ntwo\r\n\r\nthree\r\n", ["one\ntwo", "three"]),
        ("\n\none\ntwo\n\n", ["one", "two"]),
        ("one\n \t\n\n\ntwo", ["one", "two"]),
        ("\ufeffone\ntwo", ["one", "two"]),
        ("a\x0bb\x85c\u2028d\ne", ["a\x0bb\x85c\u2028d", "e"]),
    ],
)
def test_plain_text(tmp_path: Path, content: str, expected: list[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content.encode())
    assert texts(path) == expected


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_text(tmp_path: Path, suffix: str) -> None:
    path = compressed(tmp_path / f"a.txt{suffix}", "eins\nzwei\n\nüber".encode())
    assert texts(path) == ["eins\nzwei", "über"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("größer\n中文".encode(encoding))
    assert texts(path) == ["größer", "中文"]


def test_invalid_utf_16_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(codecs.BOM_UTF16_LE + b"\x00\xdcab")
    with pytest.raises(ElektronError, match=r"a\.txt: not valid utf-16"):
        texts(path)


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": "one\ntwo", "n": 1}, {"text": None}, {"text": "drei"}]
    path.write_text("\n\n".join(map(json.dumps, rows)))
    assert texts(path) == ["one\ntwo", "drei"]
    assert texts(compressed(tmp_path / "b.json.gz", path.read_bytes())) == ["one\ntwo", "drei"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{'text': 1}", "line 2: not valid JSON"),
        ('{"text": "cut', "line 2: not valid JSON"),
        ('"text"', "line 2: not a JSON object"),
        ('{"other": "x"}', "line 2: no field 'text'"),
        ('{"text": 5}', "line 2: field 'text' is not text"),
        ("[" * 100_000, "line 2: not valid JSON"),
    ],
)
def test_invalid_json_lines_raise(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n' + line)
    with pytest.raises(ElektronError, match=rf"a\.jsonl, {complaint}"):
        texts(path)


def test_unpaired_surrogates_in_json_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a\\ud800b"}')
    assert texts(path) == ["a\ufffdb"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'id,text\n1,"one\ntwo"\n2,"say ""hi"""\n'),
        ("a.csv", 'id;text\n1;"one\ntwo"\n2;"say ""hi"""\n'),
        ("a.tsv", 'id\ttext\n1\t"one\ntwo"\n2\t"say ""hi"""\n'),
    ],
)
def test_tables(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert texts(tmp_path / name) == ["one\ntwo", 'say "hi"']
    assert texts(tmp_path / name, column="id") == ["1", "2"]


@pytest.mark.parametrize(
    ("row", "complaint"), [('6,"never closed', "line 4: .*never closed"), ('6,"not" doubled', "line 4: .*not doubled")]
)
def test_malformed_quotes_in_csv_raise(tmp_path: Path, row: str, complaint: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text\n4,a\n5,b\n" + row + "\n" + "7,c\n" * 40)
    with pytest.raises(ElektronError, match=rf"a\.csv, {complaint}"):
        texts(path)


def test_tsv_quotes_that_enclose_no_field_are_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('id\ttext\n1\t"never closed\n2\tthe "second" one\n')
    assert texts(path) == ['"never closed', 'the "second" one']
    path.write_text('id \t text\n1\t"never closed\n\n2\tthe "second" one\n\n')
    assert texts(path) == ['"never closed', 'the "second" one']
    many = "".join(f'{n}\t"line {n}\nand another"\n' for n in range(50_000))
    path.write_text("id\ttext\n" + many)  # the first megabyte ends inside a field
    assert texts(path) == [f"line {n}\nand another" for n in range(50_000)]


def test_unquoted_separator_in_csv_text_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text\n1,Hello, world\n")
    with pytest.raises(ElektronError, match="line 2: 3 columns, the header has 2: is there a separator"):
        texts(path)
    path.write_text("id,text\n1,Hello,,\n")
    assert texts(path) == ["Hello"]


def test_null_in_first_row_counts_as_text_column(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"url": "https://a", "content": null}\n{"url": "https://b", "content": "long"}\n')
    with pytest.raises(ElektronError, match="which column holds the text"):
        texts(path)


def test_excel_sep_line_sets_delimiter(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sep=;\nid;text\n1;one, two\n2\n")
    with pytest.raises(ElektronError, match="line 4: 1 columns, the header has 2"):
        texts(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("sep=;\nid;text\n1;one, two\n")
    assert texts(tmp_path / "a.csv") == ["one, two"]


def test_unknown_column_of_very_wide_table_raises_short_error(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",".join(f"column{n}" for n in range(200_000)) + "\n")
    for column, rest in (("colunm5", ": did you mean column5"), ("zzz", "; there are: column0, .* more$")):
        with pytest.raises(ElektronError, match=f"no column '{column}'{rest}") as caught:
            texts(path, column=column)
        assert len(str(caught.value)) < len(str(path)) + 600


@pytest.mark.parametrize(
    "content",
    [
        '[{"text": "one [1]"}, {"text": "zwei, \\"drei\\""}]',
        '[\n {"text": "one [1]"},\n {"text": "zwei, \\"drei\\""}\n]\n',
        '["one [1]", "zwei, \\"drei\\""]',
        '{\n "text": "one [1]"\n}\n{\n "text":\n "zwei, \\"drei\\""}',
    ],
)
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_json_arrays_and_multiline_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, chunk: int
) -> None:
    monkeypatch.setattr(io_text, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(io_text, "FIRST_BYTES", 40)
    (tmp_path / "a.json").write_text(content)
    assert texts(tmp_path / "a.json") == ["one [1]", 'zwei, "drei"']


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('[{"text": "one"}', "not closed"),
        ('[{"text": "one"}, {"text": "tw', "not valid JSON"),
        ('[{"text": "one"}]\n[{"text": "two"}]', "after the end"),
        ("[1, 2]", "row 1: neither"),
        ('[{"text": "one"}, {"other": "two"}]', "row 2: no field 'text'"),
        ('{"text": {"0": "one", "1": "two"}}', "'text' is not text, but an object"),
        ('{"text": ["one", "two"]}', "'text' is not text, but a list"),
    ],
)
def test_invalid_json_raises(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ElektronError, match=rf"a\.json.*{complaint}"):
        texts(tmp_path / "a.json")


def test_dataset_saved_to_disk(tmp_path: Path) -> None:
    rows = {"n": [1, 2], "text": ["one", "two"]}
    data_set = Dataset.from_dict(rows)
    data_set.save_to_disk(tmp_path / "one")
    assert texts(tmp_path / "one") == texts(f"hf:{tmp_path / 'one'}") == ["one", "two"]
    with pytest.raises(ElektronError, match="without splits, so there is no 'test'"):
        texts(f"hf:{tmp_path / 'one'}::test")
    assert texts(tmp_path / "one", column="text") == ["one", "two"]
    with pytest.raises(ElektronError, match="column 'n' is not text, but int64"):
        texts(tmp_path / "one", column="n")
    splits = {"train": data_set, "test": Dataset.from_dict({"n": [3], "text": ["three"]})}
    DatasetDict(splits).save_to_disk(tmp_path / "both")
    assert texts(tmp_path / "both") == ["three", "one", "two"]
    assert texts(f"hf:{tmp_path / 'both'}::test") == ["three"]
    with pytest.raises(ElektronError, match="no split 'dev', only train, test"):
        texts(f"hf:{tmp_path / 'both'}::dev")
    (arrow,) = (tmp_path / "one").glob("*.arrow")
    arrow.write_bytes(b"no arrow")
    with pytest.raises(ElektronError, match=r"\.arrow: not readable Arrow"):
        texts(tmp_path / "one")


def test_wikiextractor_output(tmp_path: Path) -> None:
    begin = '<doc id="{}" url="https://a.org/?curid=1" title="{}">'
    one = begin.format(12, 'A "quoted" title') + "\nTitle\n\nFirst.\nSecond.\n\n</doc>\n"
    two = begin.format(13, "B") + "\nB\n\n<doc> is mark-up.\n\n</doc>\n"
    (tmp_path / "AA").mkdir()
    (tmp_path / "AA" / "wiki_00").write_text(one + two)
    (tmp_path / "AA" / "wiki_01").write_text('{"id": "14", "title": "C", "text": "C is a letter."}\n')
    expected = ["Title\n\nFirst.\nSecond.", "B\n\n<doc> is mark-up.", "C is a letter."]
    assert texts(tmp_path) == expected
    assert texts(tmp_path / "AA" / "wiki_00") == expected[:2]
    assert texts(tmp_path / "AA" / "wiki_01", column="title") == ["C"]


def test_undecodable_bytes_are_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.txt").write_bytes(b"one \xff two three four five six seven eight nine ten\n")
    corpus = Corpus([str(tmp_path / "a.txt")])
    for _ in range(3):
        list(corpus)
    assert caplog.text.count("not valid UTF-8") == 1


def test_large_csv_fields_are_read_and_short_rows_raise(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text\n1," + "x" * 300_000 + "\n")
    assert texts(path) == ["x" * 300_000]
    path.write_text("id,text\n1,a\n2\n")
    with pytest.raises(ElektronError, match=r"a\.csv, line 3: 1 columns, the header has 2"):
        texts(path)


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": [1, 2, 3], "body": ["one", None, "drei"]}), path)
    assert texts(path) == ["one", "drei"]
    path.write_bytes(b"PAR1 is not enough")
    with pytest.raises(ElektronError, match=r"a\.parquet: not readable parquet"):
        texts(path)
    pq.write_table(pa.Table.from_arrays([pa.array(["one"])] * 2, ["text", "text"]), path)
    with pytest.raises(ElektronError, match=r"a\.parquet: several columns are called 'text'"):
        texts(path)
    pq.write_table(pa.table({"Xody": ["one"]}), path)
    path.write_bytes(path.read_bytes().replace(b"Xody", b"\xffody"))
    with pytest.raises(ElektronError, match=r"a\.parquet: not readable parquet"):
        texts(path)


def test_undecodable_bytes_in_parquet_are_replaced_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": pa.array([b"one"], pa.binary())}), path)
    assert texts(path) == ["one"]
    pq.write_table(pa.table({"text": ["Xbung", "fine"]}), path)
    path.write_bytes(path.read_bytes().replace(b"Xbung", b"\xdcbung"))
    corpus = Corpus([str(path)])
    assert [document.text for document in corpus] == ["\ufffdbung", "fine"]
    assert corpus.undecodable == {str(path): 1}


def test_text_column_is_inferred_only_if_unambiguous(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("title,body\na,b\n")
    with pytest.raises(ElektronError, match=r"--text; there are: title, body"):
        texts(path)
    with pytest.raises(ElektronError, match=r"no column 'titel': did you mean title\?"):
        texts(path, column="titel")
    with pytest.raises(ElektronError, match="no column 'zzz'; there are: title, body"):
        texts(path, column="zzz")
    assert texts(path, column="body") == ["b"]
    (tmp_path / "b.jsonl").write_text('{"id": 1, "content": "the only text"}')
    assert texts(tmp_path / "b.jsonl") == ["the only text"]


def test_files_of_folders_and_globs_are_sorted(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/c.jsonl", "a/skip.pdf", ".hidden/x.txt", ".y.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"text": name}) if "jsonl" in name else name)
    assert texts(tmp_path) == ["a/c.jsonl", "a/z.txt", "b.txt"]
    assert texts(tmp_path / "**" / "*.txt") == ["a/z.txt", "b.txt"]
    assert texts(tmp_path / "b.txt", tmp_path / "a") == ["b.txt", "a/c.jsonl", "a/z.txt"]


def test_linked_files_are_read_once_and_broken_links_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.txt").write_text("two")
    for name in ("up", "upwards"):  # cycles of links, with about 2^40 paths through them
        (tmp_path / "b" / name).symlink_to(tmp_path)
    (tmp_path / "again.txt").symlink_to(tmp_path / "a.txt")
    (tmp_path / "dangling.txt").symlink_to(tmp_path / "nowhere.txt")
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    for source in (tmp_path, tmp_path / "**" / "*.txt"):
        caplog.clear()
        assert texts(source) == ["one", "two"]
        (said,) = [r.getMessage() for r in caplog.records if ": skipped, " in r.getMessage()]
        assert all(name in said for name in ("dangling.txt", "loop.txt", "pipe.txt"))


def test_symlinked_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("one")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "part").symlink_to(tmp_path / "real")
    assert texts(tmp_path / "corpus") == texts(tmp_path / "**" / "a.*") == ["one"]
    assert texts(tmp_path / "*" / "**") == texts(tmp_path / "r*" / "a.txt") == ["one"]


def test_folder_without_read_permission_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def forbidding(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidding)
    with pytest.raises(ElektronError, match=r"closed: cannot be read .*Permission denied"):
        Corpus([str(tmp_path)])


def test_too_long_file_name_raises() -> None:
    with pytest.raises(ElektronError, match="cannot be read"):
        Corpus(["x" * 5000])


def test_named_file_with_unknown_suffix_is_read(tmp_path: Path) -> None:
    (tmp_path / "train.de").write_text("eins\nzwei")
    assert texts(tmp_path / "train.de") == ["eins", "zwei"]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("corpsu.txt", "no such file or folder: did you mean .*corpus.txt?"),
        ("empty", "a folder without text"),
        ("*.csv", "no file matches"),
        ("builtin:doc", "did you mean builtin:docs"),
        ("nowhere/at/all", "no such file or folder"),
    ],
)
def test_missing_or_empty_source_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, complaint: str
) -> None:
    (tmp_path / "corpus.txt").write_text("text")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "picture.png").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ElektronError, match=complaint):
        Corpus([source])


@pytest.mark.parametrize("content", ["", "\n\n \n"])
def test_empty_corpus_raises(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(ElektronError, match=r"a\.txt: the corpus is empty"):
        texts(tmp_path / "a.txt")


def test_table_without_rows_raises(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n")
    with pytest.raises(ElektronError, match="empty"):
        texts(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.txt.gz"])
@pytest.mark.parametrize(
    ("content", "complaint"), [(b"text\0text", "binary file"), ("äöü".encode("latin-1") * 9, "not valid UTF-8")]
)
def test_binary_and_non_utf8_files_raise(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    path = tmp_path / name
    if path.suffix == ".gz":
        compressed(path, content)
    else:
        path.write_bytes(content)
    with pytest.raises(ElektronError, match=f"{name}.*{complaint}"):
        texts(path)


def test_a_few_undecodable_bytes_are_replaced_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"plain text " * 20 + "Übung ärgert".encode("latin-1"))
    corpus = Corpus([str(path)])
    with caplog.at_level(logging.WARNING, "elektron"):
        (document,) = corpus
    assert document.text.endswith("\ufffdbung \ufffdrgert")
    assert corpus.undecodable == {str(path): 2}
    (record,) = caplog.records
    assert record.getMessage() == (f"{path}: 2 bytes are not valid UTF-8 and were replaced; the file may be in cp1250")


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-6], lambda b: b[: len(b) // 2], lambda b: b"plain text", lambda b: b""],
    ids=["tail", "half", "plain", "empty"],
)
def test_damaged_archive_raises(tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes]) -> None:
    path = compressed(tmp_path / f"a.txt{suffix}", os.urandom(50_000).hex().encode())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ElektronError, match=f"a.txt{suffix}: (damaged|empty)"):
        texts(path)


def test_long_documents_are_split_into_bounded_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io_text, "FIRST_BYTES", 700)
    monkeypatch.setattr(io_text, "CHUNK_BYTES", 700)
    monkeypatch.setattr(documents, "LONGEST_DOCUMENT", 1000)
    words = " ".join(f"word{n}" for n in range(2000))
    (tmp_path / "a.txt").write_text(words)
    lines = words.replace(" ", "\n") + "\n\nend"
    (tmp_path / "b.txt").write_text(lines)
    for name, expected in (("a.txt", words.split()), ("b.txt", [*words.split(), "end"])):
        parts = texts(tmp_path / name)
        assert max(map(len, parts)) <= 1000
        assert " ".join(parts).split() == expected
    (tmp_path / "d.jsonl").write_text(json.dumps({"text": words}) + '\n{"text": "end"}\n')
    first, *others, end = Corpus([str(tmp_path / "d.jsonl")])
    assert others and {part.group for part in (first, *others)} == {first.text}  # all in the same split
    assert end.group == ""
    (tmp_path / "c.txt").write_text("x" * 5000)
    assert "".join(texts(tmp_path / "c.txt")) == "x" * 5000


not_blank = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n\ufeff")).filter(str.strip)


@settings(max_examples=40, deadline=None)
@given(lines=st.lists(not_blank, min_size=1), chunk=st.integers(1, 30), later=st.integers(1, 30))
def test_documents_do_not_depend_on_chunk_size(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], chunk: int, later: int
) -> None:
    path = tmp_path_factory.mktemp("t") / "a.txt"
    path.write_bytes("\r\n".join(lines).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io_text, "FIRST_BYTES", chunk)
        patch.setattr(io_text, "CHUNK_BYTES", later)
        assert texts(path) == [line.strip() for line in lines]


def test_bytes_read_reaches_total_bytes(tmp_path: Path) -> None:
    compressed(tmp_path / "a.txt.gz", b"one\ntwo\n" * 1000)
    (tmp_path / "b.txt").write_text("three")
    corpus = Corpus([str(tmp_path)])
    assert corpus.bytes_read == 0
    for _ in range(2):
        for _ in corpus:
            assert 0 < corpus.bytes_read <= (corpus.total_bytes or 0)
        assert corpus.bytes_read == corpus.total_bytes


def test_fingerprint_depends_on_files_but_not_on_folder(tmp_path: Path) -> None:
    for folder, text in (("a", "text"), ("b", "text"), ("c", "longer text")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.txt").write_text(text)
    a, b, c = (Corpus([str(tmp_path / folder)]).fingerprint for folder in "abc")
    assert a == b != c


def test_hf_source_is_streamed_and_missing_split_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "one", "n": 1}\n{"text": "two", "n": 2}\n')
    loaded: list[object] = []

    def load(*arguments: Any, **options: Any) -> Any:
        loaded.append(load_dataset(*arguments, **options))
        return loaded[-1]

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert texts(f"hf:{tmp_path}") == ["one", "two"]
    assert [type(rows) for rows in loaded] == [IterableDataset]
    with pytest.raises(ElektronError, match=r"hf:.*cannot be loaded"):
        texts(f"hf:{tmp_path}::nosuchsplit")


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")
@pytest.mark.parametrize(
    ("name", "column", "count"),
    [
        ("enwiki/train.txt.gz", None, 2122),
        ("zhwiki/train.txt.gz", None, 6101),
        ("imdb/test.csv.gz", None, 5000),
        ("dialogsum/dialogsum.train.jsonl.gz", "dialogue", 12_460),
        ("multi30k/train.de", None, 29_000),
    ],
)
def test_document_counts_of_real_corpora(name: str, column: str | None, count: int) -> None:
    assert sum(1 for _ in Corpus([str(DATA / name)], column)) == count
