"""In place of a file: rows from Python, or the content of a file that was sent.

Rows are a list of mappings, a pandas DataFrame, or a `datasets.Dataset`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any, Self

from elektron.errors import ElektronError

_numbers = count(1)


class Rows(str):
    """Rows with a name for settings and messages."""

    rows: list[dict[str, Any]]
    features: Any
    """Of a data set: among them the names of its classes."""

    def __new__(cls, rows: list[dict[str, Any]], features: Any = None) -> Self:
        """The rows under a name that no others have."""
        self = super().__new__(cls, f"rows in memory ({next(_numbers)})")
        self.rows = rows
        self.features = features
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Settings are copied, rows are not."""
        return self


class Content(str):
    """The name of a file for messages, its ending for the format, and what it contains."""

    content: bytes

    def __new__(cls, name: str, content: bytes) -> Self:
        """The content under a name."""
        self = super().__new__(cls, name)
        self.content = content
        return self


def as_source(value: Any) -> Any:
    """The `Rows` of a value that is rows, else the value, such as names of files."""
    if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        return Rows([dict(row) for row in value])
    if isinstance(value, dict) and hasattr(value, "column_names"):
        raise ElektronError(f"a data set with splits: give one of them, such as data[{next(iter(value))!r}]")
    if hasattr(value, "to_dicts"):  # polars
        return Rows(value.to_dicts())
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return Rows(value.astype(object).where(value.notna(), None).to_dict("records"))
    return Rows(list(value), getattr(value, "features", None)) if hasattr(value, "column_names") else value
