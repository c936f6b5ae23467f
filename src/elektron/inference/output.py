"""Rows with their predictions, written as they come: JSON lines, csv, tsv or parquet.

A file appears when it is whole, under a hidden name before. Standard output gets JSON lines and
nothing else. A line of JSON has the columns of its row; a table has those of all rows that are first
written together, and a row with another one later is refused, because there is no place for it.
"""

from __future__ import annotations

import csv
import json
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from elektron.errors import ElektronError, first_line
from elektron.finetuning.prediction_columns import Row
from elektron.io.files import atomic_file, make_parents, to_json
from elektron.terminal import escape_control, stdout

log = logging.getLogger(__name__)

SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")
BREAKS = re.compile(r"\r\n|[\t\r\n]")
"""What would end a field or a line of a tsv."""


class Writer(Protocol):
    """Writes rows one after another."""

    def write(self, rows: Sequence[Row]) -> None:
        """Append; the first call tells a table which columns there are."""

    def close(self) -> None:
        """Finish the file; standard output stays open."""


@contextmanager
def writing(output: Path | None) -> Iterator[Writer]:
    """A writer for a file by its ending, or for standard output.

    Raises:
        ElektronError: the ending is none of SUFFIXES, or nothing can be written there.
    """
    if output is None:
        yield JsonLinesOnStdout()
        return
    if output.suffix not in SUFFIXES:
        raise ElektronError(f"--output {output}: must end in {', '.join(SUFFIXES)}")
    try:
        make_parents(output)
        with atomic_file(output) as path:
            writer = open_file(path, output.suffix)
            try:
                yield writer
            finally:
                writer.close()
    except OSError as error:
        raise ElektronError(f"{output} cannot be written ({error.strerror})") from error


def open_file(path: Path, suffix: str) -> Writer:
    """A writer of the kind that an ending names."""
    if suffix == ".parquet":
        return Parquet(path)
    file = path.open("w", encoding="utf-8", newline="")
    if suffix == ".jsonl":
        return JsonLines(file)
    return Csv(file) if suffix == ".csv" else Tsv(file)


class JsonLines:
    """One JSON object a line."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file

    def write(self, rows: Sequence[Row]) -> None:
        """Append."""
        self.file.writelines(to_json(row) + "\n" for row in rows)

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class JsonLinesOnStdout:
    """The same on standard output, where a reader at the other end of a pipe has them at once.

    What a terminal would act on is escaped, and in encodings other than UTF-8 all that is not ASCII: it is
    the same JSON.
    """

    def write(self, rows: Sequence[Row]) -> None:
        """Append."""
        with stdout() as out:
            unicode = (out.encoding or "utf-8").lower() in ("utf-8", "utf8")
            for row in rows:
                line = to_json(row)
                if not unicode or (out.isatty() and escape_control(line) != line):
                    line = json.dumps(json.loads(line))
                out.write(line + "\n")

    def close(self) -> None:
        """Standard output stays open."""


class Header:
    """The columns of a table: those of all rows that are first written together."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self.names: list[str] = []
        self._rows = 0

    def fit(self, rows: Sequence[Row]) -> None:
        """Learn the names from the first rows; later ones must have no others.

        Raises:
            ElektronError: one has.
        """
        if not self._rows:
            self.names = names_in_order(rows)
        known = set(self.names)
        for number, row in enumerate(rows, start=self._rows + 1):
            if more := [name for name in row if name not in known]:
                raise ElektronError(
                    f"row {number:,} has a column {more[0]!r} that none of the first rows has, and "
                    f"a {self.suffix} has the same columns from its beginning on: write .jsonl instead"
                )
        self._rows += len(rows)


class Table(ABC):
    """Lines of text with a header; lists are written as JSON."""

    def __init__(self, file: IO[str], suffix: str) -> None:
        self.file = file
        self.header = Header(suffix)

    def write(self, rows: Sequence[Row]) -> None:
        """Append."""
        is_first = not self.header.names
        self.header.fit(rows)
        if is_first:
            self.write_line(self.header.names)
        for row in rows:
            self.write_line([as_cell(row.get(name)) for name in self.header.names])

    @abstractmethod
    def write_line(self, cells: Sequence[Any]) -> None:
        """Append the cells of one row."""

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class Csv(Table):
    """Comma-separated, with quotation marks where they are needed."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__(file, ".csv")
        self.writer = csv.writer(file, lineterminator="\n")

    def write_line(self, cells: Sequence[Any]) -> None:
        """Append the cells of one row."""
        self.writer.writerow(cells)


class Tsv(Table):
    """Tab-separated without quotation marks, as it is read here.

    There is no way to have a tab or the end of a line in a text: they become spaces.
    """

    def __init__(self, file: IO[str]) -> None:
        super().__init__(file, ".tsv")
        self.replaced = 0

    def write_line(self, cells: Sequence[Any]) -> None:
        """Append the cells of one row."""
        fields = []
        for cell in cells:
            field, count = BREAKS.subn(" ", "" if cell is None else str(cell))
            fields.append(field)
            self.replaced += count
        self.file.write("\t".join(fields) + "\n")

    def close(self) -> None:
        """Close the file, and say what it could not hold."""
        if self.replaced and not self.file.closed:
            log.warning(
                "%s tabs and line ends in texts are written as spaces: a .tsv cannot hold them",
                f"{self.replaced:,}",
            )
        super().close()


class Parquet:
    """A row group for each call of `write`.

    Columns have the types of the first rows. Where later ones need wider ones, above all where there
    were only nulls, what is written already is written again in these.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = Header(".parquet")
        self.writer: Any = None

    def write(self, rows: Sequence[Row]) -> None:
        """Append."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not rows:
            return
        self.header.fit(rows)
        columns = {name: [row.get(name) for row in rows] for name in self.header.names}
        try:
            table = pa.table(columns)
            if self.writer is None:
                self.writer = pq.ParquetWriter(self.path, table.schema)
            schema = pa.unify_schemas(
                [self.writer.schema, table.schema], promote_options="permissive"
            )
            if schema != self.writer.schema:
                self._rewrite(schema)
            self.writer.write_table(table.cast(schema))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise ElektronError(
                f"rows have values of different types ({first_line(error)}): "
                "write jsonl instead of parquet"
            ) from error

    def _rewrite(self, schema: Any) -> None:
        """Write what there is once more, a row group at a time, and go on behind it."""
        import pyarrow.parquet as pq

        self.writer.close()
        narrow = self.path.with_name(f"{self.path.name}.narrow")
        self.path.replace(narrow)
        try:
            self.writer = pq.ParquetWriter(self.path, schema)
            with pq.ParquetFile(narrow) as file:
                for number in range(file.num_row_groups):
                    self.writer.write_table(file.read_row_group(number).cast(schema))
        finally:
            narrow.unlink()

    def close(self) -> None:
        """Finish the file."""
        if self.writer is not None:
            self.writer.close()


def names_in_order(rows: Sequence[Row]) -> list[str]:
    """The names of all rows, each before those that it stands before in its row."""
    names: list[str] = []
    known: set[str] = set()
    for row in rows:
        if row.keys() <= known:
            continue
        place = len(names)
        for name in reversed(row):
            if name in known:
                place = names.index(name)
            else:
                names.insert(place, name)
                known.add(name)
    return names


def as_cell(value: Any) -> Any:
    """A value as a table of text holds it."""
    return to_json(value) if isinstance(value, list | dict) else value
