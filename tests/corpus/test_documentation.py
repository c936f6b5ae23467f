"""The built-in corpus of docstrings, mostly on a small generated library."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from elektron.corpus import documentation
from elektron.corpus.documentation import labelled, part, read_docstrings, training_docstrings
from elektron.corpus.documents import Corpus

SOURCE = '''"""Module text that is   long enough
to be kept as a document."""

class A:
    """Class text that is long enough to be kept as one, "quoted" too."""

    async def method(self):
        """Method text that is long enough to be kept as a document."""
        "not a docstring, though it is a string that is long enough"

if True:
    try:
        pass
    except ValueError:
        def hidden():
            r"""Nested text that is long enough, with a \\d in it, to be kept."""

def short():
    """Too short."""

def copy():
    """Method text that is long enough to be kept as a document."""
'''


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("lib/b.py", "lib/a/__init__.py", "lib/tests/test_b.py", "lib/broken.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / "lib" / "b.py").write_text(SOURCE)
    (tmp_path / "lib" / "a" / "__init__.py").write_text(SOURCE.replace("Module", "Package"))
    (tmp_path / "lib" / "tests" / "test_b.py").write_text(SOURCE.replace("Module", "Test"))
    (tmp_path / "lib" / "broken.py").write_text('"""' + SOURCE)
    for number in range(200):
        (tmp_path / "lib" / f"m{number}.py").write_text(SOURCE.replace("Module", f"M {number}"))
    monkeypatch.setattr(documentation, "_roots", lambda: {"lib": tmp_path / "lib"})
    monkeypatch.setattr(documentation, "versions", lambda: {"lib": "1"})
    read_docstrings.cache_clear()
    yield tmp_path / "lib"
    read_docstrings.cache_clear()


def test_docstrings_are_ordered_and_deduplicated(library: Path) -> None:
    assert [(d.text, d.group) for d in read_docstrings()[:5]] == [
        ("Package text that is long enough to be kept as a document.", "lib/a/__init__.py"),
        ('Class text that is long enough to be kept as one, "quoted" too.', "lib/a/__init__.py"),
        ("Method text that is long enough to be kept as a document.", "lib/a/__init__.py"),
        ("Nested text that is long enough, with a \\d in it, to be kept.", "lib/a/__init__.py"),
        ("Module text that is long enough to be kept as a document.", "lib/b.py"),
    ]
    assert len(read_docstrings()) == 4 + 1 + 200


def test_part_assigns_expected_fractions_of_files() -> None:
    parts = Counter(part(f"numpy/file{n}.py") for n in range(10_000))
    assert 0.07 < parts["test"] / 10_000 < 0.09
    assert 0.015 < parts["validation"] / 10_000 < 0.025
    assert [part(f"numpy/file{n}.py") for n in (1, 8)] == ["train", "test"], "the same in every process"


def test_corpus_contains_all_parts_except_test(library: Path) -> None:
    corpus = list(Corpus(["builtin:docs"]))
    assert {part(document.group) for document in corpus} == {"train", "validation"}
    assert [d.text for d in corpus] == [d.text for d in training_docstrings()]
    test = labelled("test")
    assert test
    assert {library for _, library in test} == {"lib"}
    assert len(test) + len(corpus) == len(read_docstrings())
    assert not {text for text, _ in test} & {document.text for document in corpus}


def test_corpus_and_fingerprint_are_equal_across_processes(library: Path) -> None:
    script = """
import sys
from pathlib import Path
from elektron.corpus import documentation
from elektron.corpus.documents import Corpus
documentation._roots = lambda: {"lib": Path(sys.argv[1])}
corpus = Corpus(["builtin:docs"])
print(corpus.fingerprint, *corpus, sep="\\n")
"""
    prints = {
        subprocess.run(
            [sys.executable, "-c", script, str(library)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(prints) == 1
    assert len(prints.pop().splitlines()) == 1 + len(list(training_docstrings()))


def test_fingerprint_depends_on_library_versions(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Corpus(["builtin:docs"]).fingerprint
    assert Corpus(["builtin:docs"]).fingerprint == before
    monkeypatch.setattr(documentation, "versions", lambda: {"lib": "2"})
    assert Corpus(["builtin:docs"]).fingerprint != before
