"""Rows from Python in place of a file: a list of mappings, a pandas DataFrame, or a `datasets.Dataset`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any, Self

_numbers = count(1)


class Rows(str):
    """Rows under a name that stands for them in settings and messages."""

    rows: list[dict[str, Any]]

    @classmethod
    def named(cls, rows: list[dict[str, Any]]) -> Self:
        """Rows under a name that no others have."""
        named = cls(f"rows in memory ({next(_numbers)})")
        named.rows = rows
        return named

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Settings are copied, rows are not."""
        return self


def as_source(value: Any) -> Any:
    """Rows where a value is some, else the value, such as names of files."""
    if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        return Rows.named([dict(row) for row in value])
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return Rows.named(value.to_dict("records"))
    if hasattr(value, "column_names"):
        return Rows.named(list(value))
    return value
