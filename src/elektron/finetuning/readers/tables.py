"""Rows with named fields: jsonl and JSON, parquet, data sets of the hub.

JSON is one object a line, or one list of objects (also under `data`), which is read whole, or what
pandas' `DataFrame.to_json` writes in any of its layouts that have names of columns. Numbers
that stand for names in a data set (ClassLabel) become those names, in parquet too where
`datasets` wrote it. Rows are handed on as what JSON can write.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from elektron.errors import ElektronError, comma_list, first_line
from elektron.finetuning.in_memory import Rows
from elektron.finetuning.readers.columns import Row, Table
from elektron.finetuning.readers.lines import (
    STDIN,
    Ahead,
    Lines,
    existing_file,
    is_blank,
    open_lines,
)
from elektron.io.datasets import HUB, dataset_rows
from elektron.io.text import (
    JSON_SUFFIXES,
    PARQUET_SUFFIXES,
    file_suffix,
    parse_json_line,
    replace_surrogates,
    warn_undecodable,
)

SAMPLE_ROWS = 100
"""That many rows of JSON or of a data set without a schema tell which columns there are."""


def open_source(source: str, stdin: IO[bytes] | None, encoding: str | None = None) -> Table | Lines:
    """A table whose columns have names, or the lines of a text that has yet to be looked into."""
    if isinstance(source, Rows):
        found = Ahead(_numbered(source, source.rows, None))
        return Table(source, _names(source, found.ahead(SAMPLE_ROWS)), found, "rows from Python")
    if source.startswith(HUB):
        return hub_table(source)
    if source != STDIN and file_suffix(Path(source)) in PARQUET_SUFFIXES:
        return parquet_table(existing_file(source))
    lines = open_lines(source, stdin, encoding)
    if lines.suffix in JSON_SUFFIXES or (lines.is_stdin and _begins_with_object(lines)):
        return json_table(lines)
    return lines


def json_table(lines: Lines) -> Table:
    """The objects of a JSON file."""
    rows = Ahead(_json_rows(lines))
    columns = _names(lines.name, rows.ahead(1 if lines.is_stdin else SAMPLE_ROWS))
    return Table(lines.name, columns, rows, "JSON")


def hub_table(source: str) -> Table:
    """A data set of the hub, or of a local folder, streamed."""
    features, found = dataset_rows(source)
    rows = Ahead(_numbered(source, found, features))
    columns = list(features) if features else _names(source, rows.ahead(SAMPLE_ROWS))
    return Table(source, columns, rows, "a data set")


def parquet_table(path: Path) -> Table:
    """The rows of a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def found() -> Iterator[dict[str, Any]]:
        try:
            with file:
                for batch in file.iter_batches(batch_size=256):
                    yield from batch.to_pylist()
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise _unreadable(path, error) from error

    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    refuse_duplicates(str(path), schema.names)
    rows = _numbered(str(path), found(), _features(schema))
    return Table(str(path), list(schema.names), Ahead(rows), "parquet")


def refuse_duplicates(name: str, columns: list[str]) -> None:
    """Raise ElektronError if two columns have one name."""
    if twice := [column for column, count in Counter(columns).items() if count > 1]:
        raise ElektronError(
            f"{name}: several columns are called {twice[0]!r} (there are: {comma_list(columns)}): "
            "rename them"
        )


def _unreadable(path: Path, error: Exception) -> ElektronError:
    return ElektronError(f"{path}: not readable parquet ({first_line(error)})")


def _begins_with_object(lines: Lines) -> bool:
    for line in lines.sample():
        try:
            return isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            return False
    return False


def _json_rows(lines: Lines) -> Iterator[Row]:
    undecodable: Counter[str] = Counter()
    beginning = [line for line in lines.sample() if not is_blank(line)][:2]
    is_document = beginning and (
        _goes_on(beginning[0])
        or (len(beginning) == 1 and not lines.is_stdin and _holds_rows(beginning[0]))
    )
    found = _rows_of_document(lines) if is_document else _rows_by_line(lines)
    for where, row in found:
        yield where, _plain(row, lines.name, undecodable)
    warn_undecodable(lines.name, undecodable)


def _rows_by_line(lines: Lines) -> Iterator[Row]:
    for number, line in lines:
        if not is_blank(line):
            where = f"{lines.name}, line {number}"
            yield where, parse_json_line(line, where)


def _goes_on(line: str) -> bool:
    """Whether a file begins with a list, or with an object that does not end on its first line."""
    if line.lstrip().startswith("["):
        return True
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return line.lstrip().startswith("{") and error.pos >= len(line.rstrip()) - 1
    except (ValueError, RecursionError):
        pass
    return False


def _rows_of_document(lines: Lines) -> Iterator[Row]:
    """The objects of one list, or of an object's `data`; any other object is a row itself."""
    try:
        document = json.loads("\n".join(line for _, line in lines))
    except (ValueError, RecursionError) as error:
        raise ElektronError(f"{lines.name}: not valid JSON ({first_line(error)})") from error
    items = _of_object(document) if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise ElektronError(f"{lines.name}: no list of JSON objects, nor one object a line")
    for number, row in enumerate(items, start=1):
        where = f"{lines.name}, row {number}"
        if not isinstance(row, dict):
            hint = " with names for its values" if isinstance(row, list) else ""
            raise ElektronError(f"{where}: not a JSON object{hint}")
        yield where, row


def _holds_rows(line: str) -> bool:
    """Whether the one object of a file holds rows, rather than being one."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(document, dict):
        return False
    rows = _of_object(document)
    return rows != [document] and all(
        isinstance(row, dict) and "paragraphs" not in row for row in rows
    )


def _of_object(document: dict[str, Any]) -> list[Any]:
    """The rows of a data frame by columns, by rows, or split; else those under `data`, or the one object."""
    data, columns = document.get("data"), document.get("columns")
    if isinstance(data, list):
        if not isinstance(columns, list):
            return data
        return [
            dict(zip(map(str, columns), row, strict=False)) if isinstance(row, list) else row
            for row in data
        ]
    parts = list(document.values())
    if parts and all(isinstance(part, dict) and part for part in parts):
        if all(map(_is_numbered, parts)):
            numbers = dict.fromkeys(number for part in parts for number in part)
            return [
                {name: part.get(number) for name, part in document.items()} for number in numbers
            ]
        if _is_numbered(document):
            return parts
    return [document]


def _is_numbered(part: dict[str, Any]) -> bool:
    """Whether the names are numbers of rows, as a data frame's usual index is."""
    return all(name.isdecimal() for name in part)


def _numbered(name: str, rows: Iterable[dict[str, Any]], features: Any) -> Iterator[Row]:
    undecodable: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        named = _with_names(row, features) if features else row
        yield f"{name}, row {number}", _plain(named, name, undecodable)
    warn_undecodable(name, undecodable)


def _names(name: str, rows: list[Row]) -> list[str]:
    if not rows:
        raise ElektronError(f"{name}: empty, there is no row in it")
    return list(dict.fromkeys(name for _, row in rows for name in row))


def _features(schema: Any) -> Any:
    """What `datasets` noted about the columns of a file that it wrote, else None."""
    if b"huggingface" not in (schema.metadata or {}):
        return None
    from datasets import Features

    try:
        return Features.from_arrow_schema(schema)
    except (ValueError, KeyError, TypeError):
        return None


def _with_names(value: Any, feature: Any) -> Any:
    """A value with its class numbers replaced by the names of the classes; -1 is no class."""
    if isinstance(value, dict) and isinstance(feature, dict):
        return {name: _with_names(inner, feature.get(name)) for name, inner in value.items()}
    if isinstance(value, list):
        inner_feature = feature[0] if isinstance(feature, list) else _inner(feature)
        return [_with_names(inner, inner_feature) for inner in value]
    names = getattr(feature, "names", None)
    if isinstance(value, int) and names:
        return names[value] if 0 <= value < len(names) else None
    return value


def _inner(feature: Any) -> Any:
    return getattr(feature, "feature", None)


def _plain(value: Any, name: str, undecodable: Counter[str]) -> Any:
    """The same as what JSON can write, without halves of characters."""
    if isinstance(value, str):
        return replace_surrogates(value, name, undecodable)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {
            _plain(str(key), name, undecodable): _plain(inner, name, undecodable)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(inner, name, undecodable) for inner in value]
    if hasattr(value, "tolist"):  # numpy
        return _plain(value.tolist(), name, undecodable)
    return f"({len(value)} bytes)" if isinstance(value, bytes) else str(value)
