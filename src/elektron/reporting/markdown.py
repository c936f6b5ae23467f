"""Text of unknown origin inside Markdown: it stays text, whatever is in it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from elektron.terminal import escape_control

# What begins or ends emphasis, code, a link, a table's cell, a formula or a mention wherever it
# stands; a bare address; and what makes a line something else where the line begins with it.
ANYWHERE = re.compile(r"[\\`*\[\]|~$@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=\bwww)\.")
AT_THE_START = re.compile(r"^(\s*(?:\d{1,9}(?=[.)](?:\s|$))|(?=[#+=-])))")
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def plain(text: str) -> str:
    """The text as running text."""
    escaped = ANYWHERE.sub(r"\\\g<0>", escape_control(text))
    return AT_THE_START.sub(r"\1\\", escaped).translate(ENTITIES)


def code(text: str) -> str:
    """The text as a code span, between more backticks than it has in a row."""
    text = escape_control(text) or " "
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def block(text: str, language: str) -> str:
    """Lines of code, between more backticks than they have in a row."""
    lines = [escape_control(line) for line in text.split("\n")]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}{language}", *lines, fence])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; all columns but the first to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in lines)


def _cell(text: str) -> str:
    """A table splits at every bar that has no backslash, even inside of code."""
    return re.sub(r"(?<!\\)\|", r"\\|", text)
