"""`builtin:docs`: the English prose that every installation of Elektron already has.

These are the docstrings of the standard library and of the six libraries in LIBRARIES, read from
their source files without importing them. They make a corpus of some 25 MB that needs no download,
and, since each is known to come from one library, a labelled set for a first fine-tuning.

Docstrings of one file are alike, so files, not docstrings, are what the parts are made of: the
test part is never in the corpus. Which docstrings there are depends on the installed versions.
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

from elektron.progress import Progress

LIBRARIES = ("numpy", "pandas", "scipy", "sklearn", "torch", "transformers")
DISTRIBUTIONS = {"sklearn": "scikit-learn"}
"""What a library is installed as, where that is not its own name."""
STANDARD_LIBRARY = "python"

Part = Literal["train", "validation", "test"]
VALIDATION_SHARE = 0.02
TEST_SHARE = 0.08

SHORTEST = 40
"""Characters; a shorter docstring hardly holds a sentence."""
NOT_THE_LIBRARY = {"test", "tests", "idle_test", "site-packages", "dist-packages"}
FILES_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Docstring:
    """One docstring as a single paragraph."""

    text: str
    library: str
    group: str
    """Its source file, such as `numpy/linalg/_linalg.py`."""


@functools.cache
def read_docstrings() -> tuple[Docstring, ...]:
    """All distinct docstrings by library, source file and place in it.

    Parsing the sources takes some 25 seconds of one core; it is done once, by all cores.
    """
    files = [
        (library, root, path)
        for library, root in _roots().items()
        for path in sorted(root.rglob("*.py"))
        if NOT_THE_LIBRARY.isdisjoint(path.relative_to(root).parts)
    ]
    found: dict[str, Docstring] = {}
    with (
        # Fresh processes: forking one that may hold threads of torch or tokenizers is not safe.
        # Syntax trees have no cycles, so collecting those would be a fifth of the time for nothing.
        ProcessPoolExecutor(
            mp_context=multiprocessing.get_context("spawn"), initializer=gc.disable
        ) as pool,
        Progress("reading docstrings", len(files), "files") as progress,
    ):
        texts_of_files = pool.map(
            _docstrings_of_file, [path for _, _, path in files], chunksize=FILES_AT_ONCE
        )
        for done, ((library, root, path), texts) in enumerate(
            zip(files, texts_of_files, strict=True), start=1
        ):
            group = f"{library}/{path.relative_to(root).as_posix()}"
            for text in texts:
                found.setdefault(text, Docstring(text, library, group))
            progress.update(done)
    return tuple(found.values())


def training_docstrings() -> Iterator[Docstring]:
    """What `builtin:docs` holds as a corpus: everything but the test part."""
    return (docstring for docstring in read_docstrings() if part(docstring.group) != "test")


def labelled(wanted: Part) -> list[tuple[str, str]]:
    """Docstrings of a part, each with the name of its library."""
    return [(d.text, d.library) for d in read_docstrings() if part(d.group) == wanted]


def versions() -> dict[str, str]:
    """What the docstrings depend on, always in the same order."""
    found = {STANDARD_LIBRARY: platform.python_version()}
    for library in LIBRARIES:
        found[library] = importlib.metadata.version(DISTRIBUTIONS.get(library, library))
    return found


def part(group: str) -> Part:
    """The part that a source file belongs to, by a hash of its path."""
    digest = hashlib.sha256(group.encode()).digest()
    draw = int.from_bytes(digest[:8], "big") / 2**64
    if draw < TEST_SHARE:
        return "test"
    return "validation" if draw < TEST_SHARE + VALIDATION_SHARE else "train"


def _roots() -> dict[str, Path]:
    """The folder of each library, in alphabetical order."""
    roots = {STANDARD_LIBRARY: Path(sysconfig.get_path("stdlib"))}
    for library in LIBRARIES:
        spec = importlib.util.find_spec(library)
        if spec is not None and spec.submodule_search_locations:
            roots[library] = Path(spec.submodule_search_locations[0])
    return dict(sorted(roots.items()))


def _docstrings_of_file(path: Path) -> list[str]:
    """Docstrings in the order of the file; none if it is no Python of this version."""
    try:
        with tokenize.open(path) as file:
            source = file.read()
        with warnings.catch_warnings():
            # Sources of other people may warn, of invalid escapes for instance.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, UnicodeDecodeError, RecursionError):
        return []
    texts = (" ".join(text.split()) for text in _docstrings(tree))
    return [text for text in texts if len(text) >= SHORTEST]


def _docstrings(node: ast.AST) -> Iterator[str]:
    """Docstrings at and below a node; statements are followed, expressions cannot hold any."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node, clean=False)
        if text:
            yield text
    for block in ("body", "handlers", "orelse", "finalbody"):
        statements = getattr(node, block, [])
        # A lambda's or a conditional expression's body is no list.
        for statement in statements if isinstance(statements, list) else []:
            yield from _docstrings(statement)
