"""Read formats in which every value has a column name: JSON, parquet, data sets of the hub, rows from Python.

JSON is one object per line, a list of objects (also under `data`), SQuAD's nested form, or what pandas'
`DataFrame.to_json` writes. Class numbers of a data set become the names of the classes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elektron.errors import ElektronError, comma_list, first_line
from elektron.finetuning.in_memory import Rows
from elektron.finetuning.readers.lines import Lines, Peekable
from elektron.finetuning.readers.records import Row, Table
from elektron.io.datasets import dataset_rows
from elektron.io.text import read_json_rows, replace_surrogates, warn_undecodable

PARAGRAPHS, QUESTIONS = "paragraphs", "qas"
IN_CMRC = {"id": "query_id", "question": "query_text", "context": "context_text"}
"""Names in CMRC 2018 that differ from those in SQuAD."""


def python_table(source: Rows) -> Table:
    """A table of rows from Python code."""
    return _table(source, source.rows, "rows from Python", source.features)


def hub_table(source: str) -> Table:
    """A data set of the hub or of a local folder, streamed."""
    features, rows = dataset_rows(source)
    return _table(source, rows, "a data set", features, list(features or ()))


def parquet_table(path: Path) -> Table:
    """The rows of a parquet file."""
    import pyarrow.parquet as pq

    def rows() -> Iterator[dict[str, Any]]:
        with _readable(path), pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                yield from batch.to_pylist()

    with _readable(path):
        schema = pq.read_schema(path)
    return _table(str(path), rows(), "parquet", _features(schema), schema.names)


def _table(name: str, rows: Iterable[dict[str, Any]], kind: str, features: Any, columns: Sequence[str] = ()) -> Table:
    """A table of rows, with the classes of its `ClassLabel` columns and lists if a data set's features are known."""
    table = Table(name, _numbered(name, rows, features), kind, columns)
    for column, feature in (features or {}).items():
        item = feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)
        if names := getattr(item, "names", None):
            table.classes[column] = list(names)
    return table


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise ElektronError if pyarrow cannot read the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise ElektronError(f"{path}: not readable parquet ({first_line(error)})") from error


def begins_with_object(lines: Lines) -> bool:
    """Whether the first line is a JSON object."""
    try:
        return bool(lines.sample) and isinstance(json.loads(lines.sample[-1]), dict)
    except (ValueError, RecursionError):
        return False


def json_table(lines: Lines) -> Table:
    """The objects of a JSON file."""
    name = lines.name
    values = Peekable(read_json_rows(name, _chunks(lines)))
    rows: Iterable[tuple[str, Any]] = values
    first = [value for _, value in values.peek(1)]
    inner = _inner_rows(first[0]) if first and isinstance(first[0], dict) else None
    if inner is not None and len(values.peek(2)) == 1:
        rows = ((f"{name}, row {number}", row) for number, row in enumerate(inner, start=1))
    if first and isinstance(row := (inner or first)[0], dict) and row.keys() & {PARAGRAPHS, QUESTIONS}:
        table = Table(name, _jsonable_rows(name, _squad_rows(name, rows)), "SQuAD's JSON")
        table.hidden = frozenset({"context", "answers"})
        return table
    return Table(name, _jsonable_rows(name, rows), "JSON")


def _chunks(lines: Lines) -> Iterator[str]:
    """The sample as one string, then line by line, so that standard input is answered at once."""
    sample = lines.sample
    for _ in sample:
        next(lines)
    yield "\n".join(sample) + "\n"
    for _, line in lines:
        yield line + "\n"


def _inner_rows(document: dict[str, Any]) -> list[Any] | None:
    """The rows in an object: those under `data`, or those of a data frame in one of pandas' layouts; else None."""
    data, columns = document.get("data"), document.get("columns")
    parts = list(document.values())
    if isinstance(data, list):
        if isinstance(columns, list):
            data = [dict(zip(map(str, columns), row, strict=False)) if isinstance(row, list) else row for row in data]
        return data if all(isinstance(row, dict) for row in data) else None
    if not parts or not all(isinstance(part, dict) and part for part in parts):
        return None
    if all(map(_is_numbered, parts)):  # by columns
        numbers = dict.fromkeys(number for part in parts for number in part)
        return [{name: part.get(number) for name, part in document.items()} for number in numbers]
    return parts if _is_numbered(document) else None


def _is_numbered(part: dict[str, Any]) -> bool:
    """Whether the names are row numbers, as in the default index of a data frame."""
    return all(name.isdecimal() for name in part)


def _squad_rows(name: str, values: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """A row for each question of SQuAD's articles, or of a list of passages with questions."""
    for where, article in values:
        passages = [article] if QUESTIONS in article else _objects(article, PARAGRAPHS, where)
        for passage in passages:
            for entry in _objects(passage, QUESTIONS, where):
                row = {
                    role: parent.get(role, parent.get(IN_CMRC[role]))
                    for role, parent in (("id", entry), ("question", entry), ("context", passage))
                }
                if entry.get("is_impossible") is True:
                    row["answers"] = []
                elif entry.get("answers") is not None:
                    row["answers"] = entry["answers"]
                if (title := article.get("title")) is not None:
                    row["title"] = title
                yield f"{name}, question {comma_list([str(row['id'])])}", row


def _objects(parent: Any, name: str, where: str) -> list[dict[str, Any]]:
    inner = parent.get(name) if isinstance(parent, dict) else None
    if isinstance(inner, list) and all(isinstance(item, dict) for item in inner):
        return inner
    raise ElektronError(f"{where}: {name!r} must be a list of objects, as in SQuAD")


def _numbered(name: str, rows: Iterable[dict[str, Any]], features: Any = None) -> Iterator[Row]:
    numbered = ((f"{name}, row {number}", row) for number, row in enumerate(rows, start=1))
    return _jsonable_rows(name, numbered, features)


def _jsonable_rows(name: str, rows: Iterable[tuple[str, Any]], features: Any = None) -> Iterator[Row]:
    undecodable: Counter[str] = Counter()
    for where, row in rows:
        if not isinstance(row, dict):
            raise ElektronError(f"{where}: not a JSON object with names for its values")
        yield where, _jsonable(row, features, name, undecodable)
    warn_undecodable(name, undecodable)


def _features(schema: Any) -> Any:
    """The features that `datasets` stored in a parquet file that it wrote, else None."""
    if b"huggingface" not in (schema.metadata or {}):
        return None
    from datasets import Features

    try:
        return Features.from_arrow_schema(schema)
    except (ValueError, KeyError, TypeError):
        return None


def _jsonable(value: Any, feature: Any, name: str, undecodable: Counter[str]) -> Any:
    """Convert a value to one that JSON can write. Class numbers become names; -1 and unknown numbers become None."""
    classes = getattr(feature, "names", None)
    if classes and isinstance(value, int):
        return classes[value] if 0 <= value < len(classes) else None
    if isinstance(value, str):
        return replace_surrogates(value, name, undecodable)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        inner = feature if isinstance(feature, dict) else {}
        return {
            replace_surrogates(str(key), name, undecodable): _jsonable(part, inner.get(key), name, undecodable)
            for key, part in value.items()
        }
    if isinstance(value, list | tuple):
        item = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
        return [_jsonable(part, item, name, undecodable) for part in value]
    if hasattr(value, "tolist"):  # numpy
        return _jsonable(value.tolist(), feature, name, undecodable)
    return f"({len(value)} bytes)" if isinstance(value, bytes) else str(value)
