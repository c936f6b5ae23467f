"""What every reader gives and every task takes: a row of a file, its values by role.

A *role* is what a column is for: `text`, `label`, `question`. A task names its roles in a
`Layout`; a reader finds the column of each, and hands on one `Record` a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Role:
    """What a column is for; `--NAME COLUMN` says which column it is."""

    name: str
    guesses: tuple[str, ...] = ()
    """Names of columns that are taken for it where none is given, likeliest first."""
    needed: Literal["always", "labelled", "never"] = "always"
    """`labelled`: for training and scoring, not for prediction."""


@dataclass(frozen=True)
class Layout:
    """What a task's files hold."""

    roles: tuple[Role, ...]
    shape: Literal["table", "tagged", "squad", "parallel"] = "table"
    """Besides tables: tag files, SQuAD JSON, or two line-aligned files."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row."""

    values: dict[str, Any]
    """By role; a role that the file does not have is left out."""
    columns: dict[str, Any]
    """The row under the file's own names (`1`, `2`, … without a header), as it is handed on beside a prediction."""
    where: str
    """`FILE, line 7`, for messages."""

    def column_of(self, role: str) -> str | None:
        """Name of the column that a role's value came from, where it came from one as it is."""
        if role not in self.values:
            return None
        value = str(self.values[role])
        return next(
            (name for name, cell in self.columns.items() if str(cell).strip() == value), None
        )
