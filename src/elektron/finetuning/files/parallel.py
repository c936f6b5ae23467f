"""Texts and what should come out of them: two files that are aligned line by line, or one table."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from elektron.errors import ElektronError
from elektron.finetuning.files.columns import Request
from elektron.finetuning.files.lines import STDIN, is_blank, open_lines
from elektron.finetuning.files.memory import Rows
from elektron.finetuning.files.records import Record, by_their_roles
from elektron.reading import HUB, JSON_SUFFIXES, PARQUET_SUFFIXES, TABLE_SUFFIXES, file_suffix

log = logging.getLogger(__name__)

SOURCE = "source"
TARGET = "target"


def are_aligned(sources: Sequence[str], request: Request) -> bool:
    """Whether the sources are one text and its counterpart.

    Raises:
        ElektronError: they are more than two texts, which no order can sort.
    """
    if not request.labelled or request.asked or not all(map(_is_plain_text, sources)):
        return False
    if len(sources) > 2:
        raise ElektronError(
            f"{len(sources)} text files: give two that are aligned line by line, first the source, "
            "then the target; or tables, with --source and --target for their columns"
        )
    return len(sources) == 2


def read_aligned(sources: Sequence[str], encoding: str | None = None) -> Iterator[Record]:
    """Each line of the first file with the same line of the second.

    Raises:
        ElektronError: one is longer, or a line is empty.
    """
    source, target = sources
    log.info("%s, %s: source and target, aligned line by line", source, target)
    pairs = zip_longest(
        open_lines(source, encoding=encoding), open_lines(target, encoding=encoding)
    )
    for a, b in pairs:
        if a is None or b is None:
            _refuse_rest(sources, a, b, pairs)
            return
        number, texts = a[0], (a[1], b[1])
        for name, text in zip(sources, texts, strict=True):
            if is_blank(text):
                raise ElektronError(f"{name}, line {number}: empty: drop the line in both files")
        values = {SOURCE: texts[0], TARGET: texts[1]}
        yield by_their_roles(values, f"{source}, line {number}")


def _refuse_rest(
    sources: Sequence[str],
    a: tuple[int, str] | None,
    b: tuple[int, str] | None,
    pairs: Iterator[tuple[tuple[int, str] | None, tuple[int, str] | None]],
) -> None:
    """Raise ElektronError with the length of both files, unless only blank lines are left over."""
    shorter = (a or b or (1, ""))[0] - 1
    counts = [shorter, shorter]
    blank = True
    for pair in [(a, b), *pairs]:
        for side, line in enumerate(pair):
            if line is not None:
                counts[side] = line[0]
                blank = blank and is_blank(line[1])
    if not blank:
        raise ElektronError(
            f"{sources[0]} has {counts[0]:,} lines, {sources[1]} has {counts[1]:,}: "
            "line-aligned files must have as many"
        )


def _is_plain_text(source: str) -> bool:
    if source == STDIN or source.startswith(HUB) or isinstance(source, Rows):
        return False
    return file_suffix(Path(source)) not in JSON_SUFFIXES | TABLE_SUFFIXES | PARQUET_SUFFIXES
