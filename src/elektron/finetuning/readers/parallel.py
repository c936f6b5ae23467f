"""Texts and what should come out of them: files that are aligned line by line, or one table."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from elektron.errors import ElektronError
from elektron.finetuning.in_memory import Rows
from elektron.finetuning.readers.columns import Request
from elektron.finetuning.readers.lines import STDIN, is_blank, open_lines
from elektron.finetuning.readers.records import Record, by_their_roles
from elektron.io.datasets import HUB
from elektron.io.text import JSON_SUFFIXES, PARQUET_SUFFIXES, TABLE_SUFFIXES, file_suffix

log = logging.getLogger(__name__)

Line = tuple[int, str]
SOURCE = "source"
TARGET = "target"


def are_aligned(sources: Sequence[str], request: Request) -> bool:
    """Whether the sources are one text and its counterpart, or several of which any would do.

    Raises:
        ElektronError: they are pairs of files, by their endings.
    """
    if not request.labelled or request.asked or not all(map(_is_plain_text, sources)):
        return False
    source, target, *others = [file_suffix(Path(name)) for name in [*sources, "", ""]]
    if source != target and source in others:
        raise ElektronError(
            f"{len(sources)} text files, several of them with the ending {source}: give files that are "
            "aligned line by line, first the source, then the target, or several targets for the "
            "same source; or tables, with --source and --target for their columns"
        )
    return len(sources) > 1


def read_aligned(sources: Sequence[str], encoding: str | None = None) -> Iterator[Record]:
    """Each line of the first file with the same line of the others.

    Raises:
        ElektronError: one is longer, or a line is empty.
    """
    source, *targets = sources
    said = "target" if len(targets) == 1 else f"{len(targets)} targets, of which any would do"
    log.info("%s: source and %s, aligned line by line", ", ".join(sources), said)
    rows = zip_longest(*(open_lines(name, encoding=encoding) for name in sources))
    for row in rows:
        if None in row:
            _refuse_rest(sources, row, rows)
            return
        number, texts = row[0][0], [text for _, text in row]
        for name, text in zip(sources, texts, strict=True):
            if is_blank(text):
                raise ElektronError(f"{name}, line {number}: empty: drop the line in all files")
        values = {SOURCE: texts[0], TARGET: texts[1] if len(targets) == 1 else texts[1:]}
        yield by_their_roles(values, f"{source}, line {number}")


def _refuse_rest(
    sources: Sequence[str], first: tuple[Line | None, ...], rows: Iterator[tuple[Line | None, ...]]
) -> None:
    """Raise ElektronError with the length of all files, unless only blank lines are left over."""
    shorter = next(line[0] for line in first if line is not None) - 1
    counts = dict.fromkeys(range(len(sources)), shorter)
    blank = True
    for row in [first, *rows]:
        for side, line in enumerate(row):
            if line is not None:
                counts[side] = line[0]
                blank = blank and is_blank(line[1])
    if not blank:
        lengths = ", ".join(
            f"{name} has {counts[side]:,} lines" for side, name in enumerate(sources)
        )
        raise ElektronError(f"{lengths}: line-aligned files must have as many")


def _is_plain_text(source: str) -> bool:
    if source == STDIN or source.startswith(HUB) or isinstance(source, Rows):
        return False
    return file_suffix(Path(source)) not in JSON_SUFFIXES | TABLE_SUFFIXES | PARQUET_SUFFIXES
