"""Find the files of a corpus in folders and globs, and parse the weights of a mixture."""

from __future__ import annotations

import glob
import logging
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from elektron.errors import ElektronError, first_line, suggest_path
from elektron.io.datasets import HUB, SAVED_DATASET, SAVED_DATASETS
from elektron.io.files import read_yaml_file
from elektron.io.text import KNOWN_SUFFIXES, file_suffix

log = logging.getLogger(__name__)

BUILTIN = "builtin:docs"
ARROW_SUFFIXES = {".arrow"}
"""Files that `save_to_disk` of `datasets` writes."""
WIKIEXTRACTOR = re.compile(r"wiki_\d{2,}")
"""Names of the files that WikiExtractor writes, without a suffix."""
MAX_LISTED = 3


def read_weights(sources: Sequence[str]) -> dict[str, float]:
    """The sources of a mixture and their weights, which sum to 1; empty if there are no weights.

    Args:
        sources: each `SOURCE=WEIGHT`, or one YAML file with a mapping or a list of these.

    Raises:
        ElektronError: only some sources have weights, a weight is negative or not finite, or all are 0.
    """
    name = ", ".join(sources)
    from_yaml = any(Path(source).suffix in (".yaml", ".yml") for source in sources)
    if from_yaml and len(sources) > 1:
        raise ElektronError(
            f"{name}: a YAML file of a mixture cannot be combined with other sources: list them in that file"
        )
    if from_yaml:
        sources = _sources_in_yaml(Path(sources[0]))
    weights: dict[str, float] = {}
    for source in sources:
        member, equals, weight = source.rpartition("=")
        if not equals or Path(source).exists():
            continue
        try:
            weights[member] = float(weight)
        except ValueError:
            continue  # an = in the name of a file, which is then missing
        if not 0 <= weights[member] < math.inf:
            raise ElektronError(f"{source}: a weight must be a positive number, or 0 for evaluation only")
    if weights and len(weights) < len(sources):
        raise ElektronError(f"{name}: give each source of a mixture once, with its weight, as SOURCE=WEIGHT")
    if from_yaml and not weights:
        raise ElektronError(f"{name}: no weights in it: write SOURCE: WEIGHT, such as en.txt: 0.8")
    if weights and not any(weights.values()):
        raise ElektronError(f"{name}: all weights are 0, so there is nothing to train on")
    return {member: weight / sum(weights.values()) for member, weight in weights.items()}


def _sources_in_yaml(path: Path) -> list[str]:
    """`SOURCE=WEIGHT` for each item of a mapping, or of a list of such texts or of mappings."""
    content = read_yaml_file(path)
    sources: list[str] = []
    for item in content if isinstance(content, list) else [content]:
        if not isinstance(item, str | dict):
            raise ElektronError(f"{path}: expected a mapping or a list of SOURCE: WEIGHT")
        sources += [f"{k}={v}" for k, v in item.items()] if isinstance(item, dict) else [item]
    return sources


def find_files(source: str) -> Sequence[Path | str]:
    """The files of a source; `hf:…` and `builtin:docs` are returned as they are.

    Raises:
        ElektronError: there are no such files, or a folder cannot be read.
    """
    path = Path(source)
    try:
        if source == BUILTIN or source.startswith(HUB):
            return [source]
        if path.is_dir():
            files = _unique_files(source, filter(_has_known_format, _walk(path)))
            if not files:
                raise ElektronError(
                    f"{source}: a folder without text; files must end in "
                    f"{', '.join(sorted(KNOWN_SUFFIXES))}, optionally followed by .gz or .zst; other files of text "
                    f"are read if a pattern names them, such as '{source}/*.py'"
                )
            return files
        if path.is_file():
            return [path]
        if path.exists():
            raise ElektronError(f"{source}: neither a file nor a folder")
        if glob.has_magic(source):
            if files := _unique_files(source, _matches(path)):
                return files
            raise ElektronError(f"{source}: no file matches")
    except OSError as error:
        raise ElektronError(
            f"{error.filename or source}: cannot be read ({error.strerror or first_line(error)})"
        ) from error
    if source.startswith("builtin:"):
        raise ElektronError(f"{source}: no such corpus: did you mean {BUILTIN}?")
    raise ElektronError(f"{source}: no such file or folder{suggest_path(path)}")


def _matches(pattern: Path) -> Iterator[Path]:
    """Paths that match a glob. Unlike in `glob`, `**` follows symbolic links and visits each folder only once."""
    parts = pattern.parts
    first = parts.index("**") if "**" in parts else len(parts)
    for path in map(Path, glob.iglob(str(Path(*parts[:first])))):  # noqa: PTH207 (absolute patterns too)
        if first < len(parts):
            yield from (file for file in _walk(path) if _fits(file.relative_to(path).parts, parts[first:]))
        elif not path.is_dir():
            yield path


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return len(pattern) == 1 or any(_fits(parts[skipped:], pattern[1:]) for skipped in range(len(parts)))
    return bool(parts) and fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _walk(folder: Path) -> Iterator[Path]:
    """All files at any depth except hidden ones and metadata of data sets; follows links, visits each folder once."""

    def fail(error: OSError) -> None:
        raise error

    seen = set()
    for parent, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        target = Path(parent).resolve()
        if target in seen:
            folders.clear()
            continue
        seen.add(target)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        is_dataset = set(names) >= SAVED_DATASET or SAVED_DATASETS in names
        metadata = {*SAVED_DATASET, SAVED_DATASETS} if is_dataset else set()
        for name in names:
            if not name.startswith(".") and name not in metadata:
                yield Path(parent, name)


def _has_known_format(path: Path) -> bool:
    return file_suffix(path) in KNOWN_SUFFIXES | ARROW_SUFFIXES or WIKIEXTRACTOR.fullmatch(path.stem) is not None


def _unique_files(source: str, paths: Iterable[Path]) -> list[Path]:
    """The regular files among these paths, sorted, each once even if several symbolic links lead to it."""
    by_target: dict[Path, Path] = {}
    skipped = []
    for path in sorted(paths, key=lambda path: (path.is_symlink(), len(path.parts), path)):
        if path.is_file():
            by_target.setdefault(path.resolve(), path)
        else:
            skipped.append(str(path))
    if skipped:
        more = f" and {len(skipped) - MAX_LISTED:,} more" if len(skipped) > MAX_LISTED else ""
        listed = ", ".join(skipped[:MAX_LISTED])
        log.warning("%s: skipped, because these are neither files nor links to files: %s%s", source, listed, more)
    return sorted(by_target.values())
