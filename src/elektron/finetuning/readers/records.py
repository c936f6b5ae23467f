"""Rows of a file before and after their columns have roles: `Table`, `Record`, and counts of what was left out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from elektron.errors import ElektronError, comma_list
from elektron.finetuning.readers.lines import STDIN, Peekable
from elektron.finetuning.readers.roles import Layout

log = logging.getLogger(__name__)

SAMPLE_ROWS = 100
"""So many rows are looked at to tell what a column holds."""

Row = tuple[str, dict[str, Any]]
"""Where it is, `FILE, line 7`, and its values by column."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row with its values by role."""

    values: dict[str, Any]
    """By role; roles that the file does not have are missing."""
    columns: dict[str, Any]
    """The row by the file's own names, as it is written beside a prediction."""
    where: str
    """`FILE, line 7`, for messages."""
    names: Mapping[str, str] = field(default_factory=dict)
    """By role, the name of the column; several names with commas between them."""


class LeftOut(Exception):  # noqa: N818
    """A row that cannot be used, with the reason; it is counted and left out."""


class Counts:
    """Counts what is unusual in the rows of a file, to be logged in one line at its end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, what: str, where: str) -> None:
        """Count one row of `what`, such as `spans overlap`."""
        self._counts[what] += 1
        self._first.setdefault(what, where)

    def __str__(self) -> str:
        found = self._counts.items()
        return "; ".join(f"{count:,} {what} (first: {self._first[what]})" for what, count in found)

    def log(self) -> None:
        """Log a warning where there is anything."""
        if self._counts:
            log.warning("%s: %s", self.name, self)


class Table:
    """Rows with named columns, from whatever format."""

    def __init__(
        self,
        name: str,
        rows: Iterable[Row],
        kind: str,
        columns: Sequence[str] = (),
        by_values: Mapping[str, str] | None = None,
        counts: Counts | None = None,
    ) -> None:
        """Take the columns from the first rows where none are given.

        Raises:
            ElektronError: two columns have one name, or there is no row to take the columns from.
        """
        self.name = name
        """Of the file, for messages."""
        self.rows = Peekable(rows)
        self.kind = kind
        """The format it was taken for, in words."""
        self.by_values = by_values or {}
        """By role, a column whose values look like the role's."""
        self.counts = counts or Counts(name)
        self.hidden: frozenset[str] = frozenset()
        """Columns that are not written beside predictions, because many rows share their values."""
        self.columns = list(columns) or list(dict.fromkeys(c for row in self.sample() for c in row))
        if not self.columns:
            raise ElektronError(f"{name}: empty, there is no row in it")
        if twice := [column for column, count in Counter(self.columns).items() if count > 1]:
            raise ElektronError(
                f"{name}: several columns are called {twice[0]!r} (there are: {comma_list(self.columns)}): rename them"
            )

    def sample(self) -> list[dict[str, Any]]:
        """The first rows; of standard input only the first."""
        return [row for _, row in self.rows.peek(1 if self.name == STDIN else SAMPLE_ROWS)]


def input_texts(layout: Layout, records: Sequence[Record]) -> list[str]:
    """The texts of records that an encoder reads, without labels; tokens and choices are joined by spaces."""
    read = ("pair", "negative")
    roles = [role.name for role in layout.roles if role.needed in ("always", "together") or role.name in read]
    values = [record.values[role] for record in records for role in roles if role in record.values]
    values = [value["text"] if isinstance(value, dict) else value for value in values]  # choices with keys
    return [" ".join(map(str, value)) if isinstance(value, list) else str(value) for value in values]
