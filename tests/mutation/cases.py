"""Command lines with one wrong value, and the check of their outcomes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from elektron.corpus.manifest import sealed
from elektron.pretraining.checkpoint import COUNTERS, identity, write_manifest
from tests.mutation.worker import Worker

LEAVES = (None, -1, 2**70, "x", [], {"a": 1})
"""Put in the place of each value of a JSON file in turn."""
FEW, FIELDS = 3, 24
"""Of longer lists and larger objects whose entries are of one type, such as vocabularies, two are mutated."""
FOLDER = "folder"
"""The name under which a command line has the folder whose file is changed."""

Place = tuple[str | int, ...]


class Case(NamedTuple):
    """A command line with a wrong value."""

    name: str
    """The command, where the value is, and the value."""
    argv: list[str]
    folder: Path | None = None
    """What is copied to FOLDER first."""
    file: Path = Path()
    """The file that is changed in it."""
    text: str = ""
    """What it holds then."""


def outcomes(cases: Iterable[Case], work: Path, accepted: Mapping[str, str]) -> list[str]:
    """Cases that fail without a one-line error, and cases that are accepted without a known reason.

    Args:
        cases: run one after another.
        work: an empty folder to run them in.
        accepted: reasons by regular expressions on the cases' names.
    """
    wrong = []
    with Worker(work) as worker:
        for case in cases:
            if case.folder is not None:
                shutil.copytree(case.folder, work / FOLDER)
                changed = work / FOLDER / case.file
                changed.write_text(case.text, encoding="utf-8")
                if changed.name == COUNTERS:  # the manifest of its checkpoint has its checksum
                    write_manifest(changed.parent, identity(work / FOLDER))
            outcome = worker.run(case.argv)
            for entry in work.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            if outcome.fault is not None:
                wrong.append(f"{case.name}: {outcome.fault}")
            elif outcome.accepted and not any(re.fullmatch(known, case.name) for known in accepted):
                wrong.append(f"{case.name}: accepted")
    return wrong


def of_files(folder: Path, patterns: Sequence[str], commands: Sequence[Sequence[str]]) -> Iterator[Case]:
    """Every command with every wrong value in every JSON file; in JSON lines, only the first line is changed."""
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        file = path.relative_to(folder)
        text = path.read_text(encoding="utf-8")
        first, *others = text.splitlines() if path.suffix == ".jsonl" else [text]
        content = json.loads(first)
        for place in places(content):
            for value in LEAVES:
                changed = with_value(content, place, value)
                if written(changed) == written(content):
                    continue
                lines = "\n".join([written(changed), *others])
                where = f"{file.name} {'.'.join(map(str, place))} {json.dumps(value)}"
                for argv in commands:
                    yield Case(f"{argv[0]} {where}", list(argv), folder, file, lines)


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """All places in a JSON value, itself included."""
    yield here
    if not isinstance(value, dict | list):
        return
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    most = FIELDS if isinstance(value, dict) else FEW
    if len(keys) > most and len({type(value[key]) for key in keys}) == 1:
        keys = [keys[0], keys[-1]]
    for key in keys:
        yield from places(value[key], (*here, key))


def with_value(content: Any, place: Place, value: Any) -> Any:
    """The same content with one place replaced."""
    if not place:
        return value
    changed: Any = dict(content) if isinstance(content, dict) else list(content)
    changed[place[0]] = with_value(content[place[0]], place[1:], value)
    return changed


def written(content: Any) -> str:
    """The content as JSON, with a new checksum of itself where it has one."""
    if isinstance(content, dict) and "sha256" in content:
        return sealed({name: value for name, value in content.items() if name != "sha256"})
    return json.dumps(content)
