"""Escapes text of unknown origin for Markdown, and formats tables."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len

from elektron.terminal import escape_control

# ANYWHERE matches what begins or ends emphasis, code, links, table cells, formulas and mentions, and bare URLs;
# AT_THE_START matches what makes a line a heading, a list item or a rule.
ANYWHERE = re.compile(r"[\\`*\[\]|~$@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=\bwww)\.")
AT_THE_START = re.compile(r"^(\s*(?:\d{1,9}(?=[.)](?:\s|$))|(?=[#+=-])))")
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def plain(text: str) -> str:
    """Escape text so that Markdown shows it as it is."""
    escaped = ANYWHERE.sub(r"\\\g<0>", escape_control(text))
    return AT_THE_START.sub(r"\1\\", escaped).translate(ENTITIES)


def code(text: str) -> str:
    """Format text as a code span, between more backticks than it has in a row."""
    text = escape_control(text) or " "
    fence = _fence(text, 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def block(text: str, language: str) -> str:
    """Format text as a code block, between more backticks than it has in a row."""
    fence = _fence(text, 3)
    return "\n".join([f"{fence}{language}", *map(escape_control, text.split("\n")), fence])


def _fence(text: str, least: int) -> str:
    """More backticks than the text has in a row, at least `least`."""
    return "`" * max([least, *(len(backticks) + 1 for backticks in re.findall("`+", text))])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format Markdown cells as a table that a terminal shows aligned: the first column left, the others right."""
    # Markdown begins a new cell at every bar without a backslash, even inside code.
    cells = [[re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in row] for row in [head, *rows]]
    widths = [max(3, *map(cell_len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for row in [cells[0], rule, *cells[1:]]:
        gaps = [" " * (width - cell_len(cell)) for width, cell in zip(widths, row, strict=True)]
        right = [gap + cell for gap, cell in zip(gaps[1:], row[1:], strict=True)]
        lines.append(f"| {' | '.join([row[0] + gaps[0], *right])} |")
    return "\n".join(lines)
