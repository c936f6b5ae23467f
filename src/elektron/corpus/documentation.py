"""`builtin:docs`: English prose that every installation of Elektron already has.

It consists of the docstrings of the standard library and of LIBRARIES, which are read from source files
without importing them: about 25 MB without a download. Labelled with their library, they are also a data
set for a first fine-tuning. Docstrings of one file resemble each other, so all of them are in the same
part (train, validation or test); the corpus leaves out the test part. The content depends on the
installed versions.
"""

from __future__ import annotations

import ast
import functools
import gc
import hashlib
import importlib.metadata
import importlib.util
import multiprocessing
import platform
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from joblib import cpu_count  # within the limits of a container

from elektron.progress import Progress

LIBRARIES = ("numpy", "pandas", "scipy", "sklearn", "torch", "transformers")
DISTRIBUTIONS = {"sklearn": "scikit-learn"}
STANDARD_LIBRARY = "python"

Part = Literal["train", "validation", "test"]
VALIDATION_FRACTION = 0.02
TEST_FRACTION = 0.08

SHORTEST = 40
"""Minimum number of characters of a docstring; a shorter one hardly contains a sentence."""
EXCLUDED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages"}
FILES_PER_TASK = 32


@dataclass(frozen=True, slots=True)
class Docstring:
    """One docstring as a single paragraph."""

    text: str
    library: str
    group: str
    """Its source file, such as `numpy/linalg/_linalg.py`."""


@functools.cache
def read_docstrings() -> tuple[Docstring, ...]:
    """All distinct docstrings, in the order of library, source file and position (25 seconds of one core)."""
    files = [
        (library, f"{library}/{path.relative_to(root).as_posix()}", path)
        for library, root in _roots().items()
        for path in sorted(root.rglob("*.py"))
        if EXCLUDED_FOLDERS.isdisjoint(path.relative_to(root).parts)
    ]
    # Workers are spawned, since forking a process that has threads of torch or tokenizers is not safe.
    # Garbage collection is off to save time: syntax trees have no cycles.
    spawn = multiprocessing.get_context("spawn")
    docstrings: dict[str, Docstring] = {}
    with (
        ProcessPoolExecutor(cpu_count(), mp_context=spawn, initializer=gc.disable) as pool,
        Progress("reading docstrings", len(files), "files") as progress,
    ):
        paths = [path for _, _, path in files]
        texts_of_files = pool.map(_docstrings_of_file, paths, chunksize=FILES_PER_TASK)
        for done, ((library, group, _), texts) in enumerate(zip(files, texts_of_files, strict=True), start=1):
            for text in texts:
                docstrings.setdefault(text, Docstring(text, library, group))
            progress.update(done)
    return tuple(docstrings.values())


def training_docstrings() -> Iterator[Docstring]:
    """The docstrings of `builtin:docs` as a corpus: all but the test part."""
    return (docstring for docstring in read_docstrings() if part(docstring.group) != "test")


def labelled(name: Part) -> list[tuple[str, str]]:
    """Docstrings of a part, each with its library as the label."""
    return [(docstring.text, docstring.library) for docstring in read_docstrings() if part(docstring.group) == name]


def versions() -> dict[str, str]:
    """The versions that the docstrings depend on."""
    distributions = {library: DISTRIBUTIONS.get(library, library) for library in LIBRARIES}
    installed = {library: importlib.metadata.version(name) for library, name in distributions.items()}
    return {STANDARD_LIBRARY: platform.python_version()} | installed


def part(group: str) -> Part:
    """The part that a source file belongs to, by a hash of its path."""
    digest = hashlib.sha256(group.encode()).digest()
    draw = int.from_bytes(digest[:8], "big") / 2**64
    if draw < TEST_FRACTION:
        return "test"
    return "validation" if draw < TEST_FRACTION + VALIDATION_FRACTION else "train"


def _roots() -> dict[str, Path]:
    """The folder of each library, in alphabetical order."""
    roots = {STANDARD_LIBRARY: Path(sysconfig.get_path("stdlib"))}
    for library in LIBRARIES:
        spec = importlib.util.find_spec(library)
        if spec is not None and spec.submodule_search_locations:
            roots[library] = Path(spec.submodule_search_locations[0])
    return dict(sorted(roots.items()))


def _docstrings_of_file(path: Path) -> list[str]:
    """Docstrings in the order of the file; none if this version of Python cannot parse it."""
    try:
        with tokenize.open(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for example about invalid escape sequences
            texts = [" ".join(text.split()) for text in _docstrings(ast.parse(file.read()))]
    except (SyntaxError, UnicodeDecodeError, RecursionError):
        return []
    return [text for text in texts if len(text) >= SHORTEST]


def _docstrings(node: ast.AST) -> Iterator[str]:
    """Docstrings at and below a node, in the order of the source; expressions are not searched."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node, clean=False)
        if text:
            yield text
    for block in ("body", "handlers", "orelse", "finalbody"):
        for statement in getattr(node, block, []):
            yield from _docstrings(statement)
