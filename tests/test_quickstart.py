"""A short run of the README's first command: `elektron quickstart --steps 20`."""

import json
import os

import pytest

from elektron import quickstart
from elektron.cli import main
from elektron.corpus import documentation
from elektron.corpus.documentation import Docstring, read_docstrings
from elektron.reporting.task_result import read_task_result

FILES = 50
"""So many source files of each library are read."""


@pytest.fixture
def few_docstrings(monkeypatch):
    """Reduces the corpus and the labelled sets to few real docstrings."""

    def read_few():
        for library, root in documentation._roots().items():
            paths = sorted(root.rglob("*.py"))
            for path in paths[:: len(paths) // FILES]:
                for text in documentation._docstrings_of_file(path):
                    yield Docstring(text, library, f"{library}/{path.relative_to(root)}")

    docstrings = tuple(read_few())
    monkeypatch.setattr(documentation, "read_docstrings", lambda: docstrings)
    monkeypatch.setattr(quickstart, "LABELLED_DOCUMENTS", 60)
    monkeypatch.setattr(quickstart, "EVAL_DOCUMENTS", 20)
    monkeypatch.setattr(quickstart, "FEWER_TEST_DOCUMENTS", 20)
    read_docstrings.cache_clear()


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_quickstart_writes_outputs_and_can_be_repeated(tmp_path, monkeypatch, few_docstrings, capsys, umask):
    monkeypatch.chdir(tmp_path)
    command = ["quickstart", "--steps", "20", "--out", "quick"]
    assert main(command) == 0
    out = tmp_path / "quick"
    stages = {"tokenizer", "blocks", "run", "labelled", "report.html"}
    assert stages == {path.name for path in out.iterdir()}
    assert json.loads((out / "run/summary.json").read_text())["steps"] == 20
    result = read_task_result(out / "run/downstream")
    assert len(result.labels) == 7
    assert result.details.train_rows == 60
    for side in ("pretrained", "scratch"):
        assert len(result.chosen_runs(side)) == 3
    assert (out / "run/downstream/report.html").is_file()
    assert "Was pre-training worth it?" in (out / "report.html").read_text()
    printed = capsys.readouterr().out
    assert "quick/report.html" in printed and "quick/run/downstream/report.html" in printed
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {"weights.safetensors", "model.safetensors"} <= {path.name for path in files}
    others = {path: oct(path.stat().st_mode) for path in files if path.stat().st_mode != 0o100640}
    assert others == {}  # also files that other libraries wrote follow the umask
    folders = [out, *(path for path in out.rglob("*") if path.is_dir())]
    assert {path.stat().st_mode for path in folders} == {0o40750}

    before = (out / "run/summary.json").read_bytes()
    assert main(command) == 0
    assert (out / "run/summary.json").read_bytes() == before
