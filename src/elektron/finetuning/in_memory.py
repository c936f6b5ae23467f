"""Sources that are not files on disk: rows from Python, or the content of an uploaded file.

Rows are a list of mappings, a pandas or polars DataFrame, or a `datasets.Dataset`. To be predicted, they may also be a
list, array or Series of texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any, Self

from elektron.errors import ElektronError

_numbers = count(1)


class Rows(str):
    """Rows in memory. The string is their name in settings and messages."""

    rows: list[dict[str, Any]]
    features: Any
    """The `features` of a `datasets.Dataset`, which have the names of its classes; None for other rows."""

    def __new__(cls, rows: list[dict[str, Any]], features: Any = None) -> Self:
        """Give the rows a unique name."""
        self = super().__new__(cls, f"rows in memory ({next(_numbers)})")
        self.rows = rows
        self.features = features
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the same object, so that a copy of settings does not copy the rows."""
        return self


class Content(str):
    """The content of a file. The string is its name, which messages show and whose suffix tells the format."""

    content: bytes

    def __new__(cls, name: str, content: bytes) -> Self:
        """Give the content a name."""
        self = super().__new__(cls, name)
        self.content = content
        return self


def as_source(value: Any) -> Any:
    """Convert rows from Python to `Rows`; other values, such as names of files, are returned unchanged.

    Raises:
        ElektronError: the value is a `datasets.DatasetDict`.
    """
    if isinstance(value, list) and len(value) == 1 and any(hasattr(value[0], n) for n in ("column_names", "columns")):
        return as_source(value[0])
    if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        return Rows([dict(row) for row in value])
    if isinstance(value, dict) and hasattr(value, "column_names"):
        raise ElektronError(f"a data set with splits: give one of them, such as data[{next(iter(value))!r}]")
    if hasattr(value, "to_dicts"):  # polars
        return Rows(value.to_dicts())
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        named = [name for name in value.index.names if name is not None and name not in value.columns]
        value = value.reset_index(named) if named else value
        return Rows(value.astype(object).where(value.notna(), None).to_dict("records"))
    if hasattr(value, "to_pylist"):  # pyarrow
        return Rows(value.to_pylist())
    if hasattr(value, "column_names"):
        return Rows(list(value.with_format(None)), value.features)
    return value


def as_texts(value: Any) -> Any:
    """Convert a list, tuple, array or Series of texts to `Rows`, and other values as `as_source` does."""
    values = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(values, list | tuple) and all(isinstance(text, str) for text in values):
        return Rows([{"text": text} for text in values])
    return as_source(value)
