"""Rows with their predictions, written as they come: JSON lines, csv, tsv or parquet.

A file appears when it is whole, under a hidden name before. Standard output gets JSON lines and
nothing else.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from elektron.errors import ElektronError

Row = dict[str, Any]
SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")


class Writer(Protocol):
    """Writes rows one after another."""

    def write(self, rows: Sequence[Row]) -> None:
        """All of them have the names that the first ever had."""

    def close(self) -> None:
        """Finish the file; standard output stays open."""


@contextmanager
def writing(output: Path | None) -> Iterator[Writer]:
    """A writer for a file by its ending, or for standard output.

    Raises:
        ElektronError: the ending is none of SUFFIXES, or nothing can be written there.
    """
    if output is None:
        yield JsonLines(sys.stdout)
        return
    if output.suffix not in SUFFIXES:
        raise ElektronError(f"--output {output}: must end in {', '.join(SUFFIXES)}")
    partial = output.with_name(f".{output.name}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        writer = open_file(partial, output.suffix)
    except OSError as error:
        raise ElektronError(f"{output} cannot be written ({error.strerror})") from error
    try:
        yield writer
        writer.close()
        partial.replace(output)
    except OSError as error:
        raise ElektronError(f"{output} cannot be written ({error.strerror})") from error
    finally:
        writer.close()
        partial.unlink(missing_ok=True)


def open_file(path: Path, suffix: str) -> Writer:
    """A writer of the kind that an ending names."""
    if suffix == ".parquet":
        return Parquet(path)
    file = path.open("w", encoding="utf-8", newline="")
    return JsonLines(file) if suffix == ".jsonl" else Table(file, suffix)


class JsonLines:
    """One JSON object a line."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file

    def write(self, rows: Sequence[Row]) -> None:
        """Append, and let a reader at the other end of a pipe have it at once."""
        self.file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self.file.flush()

    def close(self) -> None:
        """Close a file; standard output stays open."""
        if self.file is not sys.stdout:
            self.file.close()


class Table:
    """csv with quotation marks where they are needed, or tab-separated; lists are written as JSON."""

    def __init__(self, file: IO[str], suffix: str) -> None:
        self.file = file
        self.writer = csv.writer(
            file, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n"
        )
        self.names: list[str] | None = None

    def write(self, rows: Sequence[Row]) -> None:
        """Append; the names of the first row are the header."""
        for row in rows:
            if self.names is None:
                self.names = list(row)
                self.writer.writerow(self.names)
            self.writer.writerow([as_text(row.get(name)) for name in self.names])

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class Parquet:
    """A row group for each call of `write`; the types are those of the first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer: Any = None

    def write(self, rows: Sequence[Row]) -> None:
        """Append."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not rows:
            return
        schema = self.writer.schema if self.writer else None
        try:
            table = pa.Table.from_pylist(list(rows), schema=schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ElektronError(
                f"rows have values of different types ({error}): write jsonl instead of parquet"
            ) from error
        if self.writer is None:
            self.writer = pq.ParquetWriter(self.path, table.schema)
        self.writer.write_table(table)

    def close(self) -> None:
        """Finish the file."""
        if self.writer is not None:
            self.writer.close()


def as_text(value: Any) -> Any:
    """A value as a table holds it."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
