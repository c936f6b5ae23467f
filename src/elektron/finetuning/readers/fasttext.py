"""fastText's files: a text a line, with its labels as words that begin with `__label__`."""

from __future__ import annotations

from collections.abc import Iterator

from elektron.finetuning.readers.columns import LABEL, Request, Row, Table
from elektron.finetuning.readers.lines import Ahead, Lines, is_blank
from elektron.io.text import TABLE_SUFFIXES

PREFIX = "__label__"
TEXT = "text"


def is_fasttext(lines: Lines, request: Request) -> bool:
    """Whether all first lines begin with a label, and what is looked for is a text and its labels."""
    the_one = request.the_one_role
    if request.asked or the_one is None or the_one.name != TEXT or lines.suffix in TABLE_SUFFIXES:
        return False
    sample = [line for line in lines.sample() if not is_blank(line)]
    return bool(sample) and all(line.startswith(PREFIX) for line in sample)


def fasttext_table(lines: Lines) -> Table:
    """The texts without their labels, and the labels as a list where any row may have several."""
    sample = [line for line in lines.sample() if not is_blank(line)]
    several = any(line.count(PREFIX) > 1 for line in sample)
    return Table(lines.name, [TEXT, LABEL], Ahead(_rows(lines, several)), "fastText")


def _rows(lines: Lines, several: bool) -> Iterator[Row]:
    for number, line in lines:
        if is_blank(line):
            continue
        words = line.split()
        labels = [word.removeprefix(PREFIX) for word in words if word.startswith(PREFIX)]
        text = " ".join(word for word in words if not word.startswith(PREFIX))
        label = labels if several or len(labels) > 1 else next(iter(labels), "")
        yield f"{lines.name}, line {number}", {TEXT: text, LABEL: label}
