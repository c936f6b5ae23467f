"""What every reader gives and every task takes: a row of a file, its values by role.

A *role* is what a column is for: `text`, `label`, `question`. A task names its roles in a
`Layout`; a reader finds the column of each, and hands on one `Record` a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Role:
    """What a column is for; `--NAME COLUMN` says which column it is."""

    name: str
    guesses: tuple[str, ...] = ()
    """Names of columns that are taken for it where none is given, likeliest first."""
    needed: Literal["always", "labelled", "together", "never"] = "always"
    """`labelled`: for training and scoring, not for prediction; `together`: in all rows of a file or in none."""
    several: bool = False
    """Whether a row may have several of them, in a list or in several columns."""


@dataclass(frozen=True)
class Layout:
    """What a task's files hold."""

    roles: tuple[Role, ...]
    shape: Literal["table", "tagged", "squad", "parallel"] = "table"
    """Besides tables: tag files, SQuAD JSON, or two line-aligned files."""
    label_separator: str | None = None
    """What stands between labels where a text has several, if that is known already."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row."""

    values: dict[str, Any]
    """By role; a role that the file does not have is left out."""
    columns: dict[str, Any]
    """The row under the file's own names (`1`, `2`, … without a header), as it is handed on beside a prediction."""
    where: str
    """`FILE, line 7`, for messages."""
    names: Mapping[str, str] = field(default_factory=dict)
    """By role, the name of the column; names with commas between them where several are one role."""


def by_their_roles(values: dict[str, Any], where: str) -> Record:
    """A row of a file whose columns have no names: they go by their roles."""
    return Record(values, dict(values), where, same_names(values))


def same_names(roles: Iterable[str]) -> dict[str, str]:
    """Every role under its own name."""
    return {role: role for role in roles}


def texts_read(layout: Layout, records: Sequence[Record]) -> list[str]:
    """All that an encoder reads of these records, as often as it does; nothing of what is to be said of them."""
    roles = [role.name for role in layout.roles if role.needed in ("always", "together")]
    return [
        text_of(record.values[role])
        for record in records
        for role in roles
        if role in record.values
    ]


def text_of(value: Any) -> str:
    """A text, or tokens or choices with blanks between them."""
    if isinstance(value, dict):  # of choices that have keys
        value = value["text"]
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
