"""`Table`: rows with values by column; `Record`: a row with values by role; `Counts`: counts of unusual rows."""

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
"""Number of rows that are read to find out what a column contains."""

Row = tuple[str, dict[str, Any]]
"""The location of a row, such as `FILE, line 7`, and its values by column."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row with its values by role."""

    values: dict[str, Any]
    """Values by role; roles that the file does not have are missing."""
    columns: dict[str, Any]
    """Values by the column names of the file, as they are written beside a prediction."""
    where: str
    """The location of the row for messages, such as `FILE, line 7`."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Column names by role; several names are separated by commas."""
    classes: Sequence[str] = ()
    """All classes of the label or the tags in the order of their ids, if the data set has them (`ClassLabel`)."""


class UnusableRow(Exception):  # noqa: N818
    """Raised for a row that cannot be used, with the reason; the row is counted and left out."""


class Counts:
    """Counts unusual rows of a file, which are logged in one line at its end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, what: str, where: str) -> None:
        """Count one case of `what`, such as `spans overlap`."""
        self._counts[what] += 1
        self._first.setdefault(what, where)

    def __str__(self) -> str:
        return "; ".join(f"{count:,} {what} (first: {self._first[what]})" for what, count in self._counts.items())

    def log(self) -> None:
        """Log a warning if anything was counted."""
        if self._counts:
            log.warning("%s: %s", self.name, self)


class Table:
    """Rows with named columns, from a file of any format."""

    def __init__(
        self,
        name: str,
        rows: Iterable[Row],
        kind: str,
        columns: Sequence[str] = (),
        by_values: Mapping[str, str] | None = None,
        counts: Counts | None = None,
    ) -> None:
        """Take the columns from the first rows if none are given.

        Raises:
            ElektronError: two columns have one name, or there is no row to take the columns from.
        """
        self.name = name
        """Name of the file, for messages."""
        self.rows = Peekable(rows)
        self.kind = kind
        """The detected format in words, for messages."""
        self.by_values = by_values or {}
        """Columns whose values look like those of a role, by role."""
        self.counts = counts or Counts(name)
        self.classes: dict[str, list[str]] = {}
        """The names of classes by column, in the order of their ids, where a data set has them."""
        self.hidden: frozenset[str] = frozenset()
        """Columns that are not written beside predictions, because many rows share their values."""
        self.columns = list(columns) or list(dict.fromkeys(c for row in self.sample() for c in row))
        if not self.columns:
            raise ElektronError(f"{name}: empty, it has no rows")
        if twice := [column for column, count in Counter(self.columns).items() if count > 1]:
            raise ElektronError(
                f"{name}: several columns are called {twice[0]!r} (there are: {comma_list(self.columns)}): rename them"
            )

    def sample(self) -> list[dict[str, Any]]:
        """The first rows; from standard input only the first row."""
        return [row for _, row in self.rows.peek(1 if self.name == STDIN else SAMPLE_ROWS)]


def input_texts(layout: Layout, records: Sequence[Record]) -> list[str]:
    """The texts of records that an encoder reads, without labels. Tokens and choices are joined by spaces."""
    read = ("pair", "negative")
    roles = [role.name for role in layout.roles if role.needed in ("always", "together") or role.name in read]
    values = [record.values[role] for record in records for role in roles if role in record.values]
    values = [value["text"] if isinstance(value, dict) else value for value in values]  # choices with keys
    return [" ".join(map(str, value)) if isinstance(value, list) else str(value) for value in values]
