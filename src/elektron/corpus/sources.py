"""The files of a corpus: those of folders and globs, each once."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from elektron.errors import ElektronError, first_line, suggest_path
from elektron.io.datasets import HUB, SAVED_DATASET, SAVED_DATASETS
from elektron.io.text import KNOWN_SUFFIXES, file_suffix

log = logging.getLogger(__name__)

BUILTIN = "builtin:docs"
ARROW_SUFFIXES = {".arrow"}
"""What `datasets` writes with `save_to_disk`."""
WIKIEXTRACTOR = re.compile(r"wiki_\d{2,}")
"""Names of the files that WikiExtractor writes, which have no ending."""
MOST_NAMED = 3


def parts_of(source: str) -> Sequence[Path | str]:
    """The files of a source, or the source itself where it is none.

    Raises:
        ElektronError: there are none, or they cannot be looked for.
    """
    if source == BUILTIN or source.startswith(HUB):
        return [source]
    try:
        return _files(source)
    except OSError as error:
        raise ElektronError(
            f"{error.filename or source}: cannot be read ({first_line(error)})"
        ) from error


def _files(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        files = _once(source, filter(_is_known, _walk(path)))
        if not files:
            raise ElektronError(
                f"{source}: a folder without text; files must end in "
                f"{', '.join(sorted(KNOWN_SUFFIXES))}, plain or with .gz or .zst behind"
            )
        return files
    if path.is_file():
        return [path]
    if path.exists():
        raise ElektronError(f"{source}: neither a file nor a folder")
    if glob.has_magic(source):
        if files := _once(source, _matches(path)):
            return files
        raise ElektronError(f"{source}: no file matches")
    if source.startswith("builtin:"):
        raise ElektronError(f"{source}: no such corpus: did you mean {BUILTIN}?")
    raise ElektronError(f"{source}: no such file or folder{suggest_path(path)}")


def _matches(pattern: Path) -> Iterator[Path]:
    """What is no folder and fits a glob; below `**` links are followed, but not in circles."""
    parts = pattern.parts
    place = parts.index("**") if "**" in parts else len(parts)
    for found in glob.iglob(str(Path(*parts[:place]))):  # noqa: PTH207 (absolute ones too)
        folder = Path(found)
        if place < len(parts):
            paths = _walk(folder)
            yield from (p for p in paths if _fits(p.relative_to(folder).parts, parts[place:]))
        elif not folder.is_dir():
            yield folder


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return len(pattern) == 1 or any(
            _fits(parts[skipped:], pattern[1:]) for skipped in range(len(parts))
        )
    return bool(parts) and fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _walk(folder: Path) -> Iterator[Path]:
    """What is no folder, at any depth; hidden ones are left out, links are followed but not in circles."""

    def refuse(error: OSError) -> None:
        raise error

    seen = set()
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        where = Path(parent).resolve()
        if where in seen:
            folders.clear()
            continue
        seen.add(where)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        is_dataset = set(names) >= SAVED_DATASET or SAVED_DATASETS in names
        aside = {*SAVED_DATASET, SAVED_DATASETS} if is_dataset else set()
        for name in names:
            if not name.startswith(".") and name not in aside:
                yield Path(parent, name)


def _is_known(path: Path) -> bool:
    known = KNOWN_SUFFIXES | ARROW_SUFFIXES
    return file_suffix(path) in known or WIKIEXTRACTOR.fullmatch(path.stem) is not None


def _once(source: str, paths: Iterable[Path]) -> list[Path]:
    """The regular files among these, sorted, each once however many links lead to it."""
    by_target: dict[Path, Path] = {}
    no_files = []
    for path in sorted(paths, key=lambda path: (path.is_symlink(), len(path.parts), path)):
        if path.is_file():
            by_target.setdefault(path.resolve(), path)
        else:
            no_files.append(str(path))
    if no_files:
        more = f" and {len(no_files) - MOST_NAMED:,} more" if len(no_files) > MOST_NAMED else ""
        log.warning(
            "%s: not read, since they are no files or links that lead nowhere: %s%s",
            source,
            ", ".join(no_files[:MOST_NAMED]),
            more,
        )
    return sorted(by_target.values())
