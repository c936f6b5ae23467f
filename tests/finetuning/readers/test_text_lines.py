"""Source and target texts in line-aligned files or in one table."""

import gzip
from pathlib import Path

import pytest

from elektron.errors import ElektronError
from tests.finetuning.readers.layouts import PARALLEL, read, values


def write(path: Path, content: str) -> Path:
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


@pytest.mark.parametrize("suffix", [".en", ".en.gz", ".txt"])
def test_two_files_are_aligned_by_line(tmp_path: Path, suffix: str) -> None:
    source = write(tmp_path / "a.de", "eins\rund\u2028zwei\r\ndrei, vier\n")
    target = write(tmp_path / f"a{suffix}", "one\ntwo\n\n")
    records = read(source, target, layout=PARALLEL)
    assert [record.values for record in records] == [
        {"source": "eins\rund\u2028zwei", "target": "one"},
        {"source": "drei, vier", "target": "two"},
    ]
    assert records[1].columns == records[1].values
    assert records[1].where == f"{source}, line 2"


@pytest.mark.parametrize(
    ("contents", "complaint"),
    [
        (["a\nb\nc\n", "x\n"], "a1.txt ends before line 2 of .*a0.txt"),
        (["a\n", "x\ny\n\nz\n"], "a0.txt ends before line 2 of .*a1.txt"),
        (["a\n", ""], "a1.txt ends before line 1 of .*a0.txt"),
        (["a\n \n", "x\ny\n"], "a0.txt, line 2: empty"),
        (["a\nb\n", "x\n\n"], "a1.txt, line 2: empty"),
        (["", ""], "a0.txt and .*a1.txt: empty"),
        (["a\nb\n", "x\ny\n", "z\n"], "a2.txt ends before line 2 of .*a0.txt"),
    ],
)
def test_misaligned_or_empty_files_raise(tmp_path: Path, contents: list[str], complaint: str) -> None:
    files = [write(tmp_path / f"a{n}.txt", content) for n, content in enumerate(contents)]
    with pytest.raises(ElektronError, match=complaint) as caught:
        read(*files, layout=PARALLEL)
    assert "\n" not in str(caught.value)


def test_several_target_files_become_list_of_targets(tmp_path: Path) -> None:
    files = [
        write(tmp_path / name, content) for name, content in (("a.en", "x\n"), ("a.de", "eins\n"), ("b.de", "zwei\n"))
    ]
    assert values(*files, layout=PARALLEL) == [{"source": "x", "target": ["eins", "zwei"]}]
    with pytest.raises(ElektronError, match=r"several of them with the ending .en"):
        read(*files, write(tmp_path / "b.en", "y\n"), layout=PARALLEL)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"source": "x", "target": ["eins", "", "zwei"]}'),
        ("a.csv", "source,target\nx,\"['eins', 'zwei']\"\n"),
        ("a.csv", 'source,target\nx,"[""eins"", ""zwei""]"\n'),
    ],
)
def test_several_targets_in_a_field(tmp_path: Path, name: str, content: str) -> None:
    expected = [{"source": "x", "target": ["eins", "zwei"]}]
    assert values(write(tmp_path / name, content), layout=PARALLEL) == expected


def test_several_targets_in_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "s,r1,r2\nx,eins,zwei\ny,drei,\n")
    for target in ("r1,r2", "2,3"):
        found = values(path, layout=PARALLEL, source="s", target=target, header=True)
        assert [row["target"] for row in found] == [["eins", "zwei"], ["drei"]]


def test_source_and_target_in_one_table(tmp_path: Path) -> None:
    expected = [{"source": "eins", "target": "one"}]
    lines = write(tmp_path / "a.jsonl", '{"dialogue": "eins", "summary": "one"}')
    assert values(lines, layout=PARALLEL) == expected
    tabs = write(tmp_path / "a.txt", "eins\tone\n")
    assert values(tabs, layout=PARALLEL, source="1", target="2") == expected
    assert values(tabs, tabs, layout=PARALLEL, source="1", target="2") == expected * 2
    assert values(tabs, lines, tabs, layout=PARALLEL, source="1", target="2")[1:2] == expected
    with pytest.raises(ElektronError, match="Give --source and --target"):
        read(tabs, layout=PARALLEL)
    header = write(tmp_path / "a.csv", "source,target\neins,\n")
    with pytest.raises(ElektronError, match=r"the target is empty.*line 2"):
        read(header, layout=PARALLEL)


def test_each_line_is_source_for_prediction(tmp_path: Path) -> None:
    path = write(tmp_path / "a.de", "eins, zwei\n\ndrei\n")
    assert (
        values(path, path, layout=PARALLEL, labelled=False)
        == [{"source": "eins, zwei"}, {"source": ""}, {"source": "drei"}] * 2
    )
