"""The scaling benchmark: corpora without duplicates, and the memory of all processes."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

HOLDS_MEMORY = """
import subprocess, sys, time
held = b"x" * 60_000_000
if len(sys.argv) == 1:
    subprocess.run([sys.executable, __file__, "child"])
    open(__file__ + ".started", "w")
time.sleep(0.5)
"""


def test_larger_corpus_has_no_duplicate_documents(benchmark: ModuleType, tmp_path: Path) -> None:
    documents = [["word"] * count for count in (1, 5, 30, 200)] * 5
    for size in (1, 10):
        path = tmp_path / f"{size}.txt"
        assert benchmark.write_corpus(path, documents, size) == 20 * size
        lines = path.read_text().splitlines()
        assert len(set(lines)) == len(lines) == 20 * size
        assert [len(line.split()) for line in lines] == [1, 5, 30, 200] * 5 * size


def test_memory_of_process_and_its_children(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program.py"
    program.write_text(HOLDS_MEMORY)
    monkeypatch.setattr(benchmark, "command_line", lambda _: [sys.executable, str(program)])
    measured = benchmark.watch(Path(f"{program}.started").exists)
    assert 60e6 < measured["own_bytes"] < 90e6
    assert 60e6 < measured["started_bytes"] < 90e6
    assert 0 < measured["seconds_to_start"] < measured["seconds"]
