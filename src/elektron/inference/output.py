"""Write rows with predictions, a chunk at a time, as JSON lines, csv, tsv or parquet.

A file has a temporary name until it is complete. Standard output gets JSON lines only. A line of JSON has the columns
of its row; a table has the columns of the first chunk, and a later row with another column is an error.
"""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from elektron.errors import ElektronError, first_line
from elektron.finetuning.prediction_columns import Row
from elektron.finetuning.readers.lines import STDIN
from elektron.io.files import atomic_file, make_parents, to_json
from elektron.reporting.reading import PREFIX
from elektron.terminal import escape_control, stdout

log = logging.getLogger(__name__)

Write = Callable[[Sequence[Row]], None]
"""Appends rows; the first call decides the columns of a table."""
BREAKS = re.compile(r"\r\n|[\t\r\n]")
"""Characters that would end a field or a line of a tsv."""


@contextmanager
def open_writer(output: Path | None, source: str = STDIN) -> Iterator[Write]:
    """Yield a function that writes rows to a file, in the format of its suffix, or to standard output.

    Args:
        output: the file; None for standard output.
        source: the input, which must not be overwritten.

    Raises:
        ElektronError: the suffix is not known, the file cannot be written, or it is the input.
    """
    if output is None:
        yield _write_to_stdout
        return
    if output.suffix not in FORMATS:
        raise ElektronError(f"--output {output}: must end in {', '.join(FORMATS)}")
    check_output(output, source)
    try:
        make_parents(output)
        with atomic_file(output) as path, contextmanager(FORMATS[output.suffix])(path) as write:
            yield write
    except OSError as error:
        raise ElektronError(f"{output} cannot be written ({error.strerror})") from error


def check_output(output: Path, source: str) -> None:
    """Raise ElektronError if the output is a folder or the input itself; called before anything is computed."""
    if output.is_dir():
        raise ElektronError(f"--output {output} is a folder: give the name of a file")
    if output.exists() and Path(source).exists() and output.samefile(source):
        raise ElektronError(f"--output {output} is the input itself: choose another name")


def _write_to_stdout(rows: Sequence[Row]) -> None:
    """Write JSON lines, in ASCII if the encoding is not UTF-8 or a terminal would interpret control characters."""
    with stdout() as out:
        unicode = (out.encoding or "utf-8").lower() in ("utf-8", "utf8")
        for row in rows:
            line = to_json(row)
            if not unicode or (out.isatty() and escape_control(line) != line):
                line = json.dumps(json.loads(line))
            out.write(line + "\n")


def _json_lines(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        yield lambda rows: file.writelines(to_json(row) + "\n" for row in rows)


def _csv(path: Path) -> Iterator[Write]:
    """Fields are quoted where needed, also for a lone carriage return; lists are written as JSON."""
    with path.open("w", encoding="utf-8", newline="") as file:
        # With the line end `\r\n`, csv.writer also quotes fields with a lone carriage return.
        lines = SimpleNamespace(write=lambda line: file.write(line.removesuffix("\r\n") + "\n"))
        yield _table(".csv", csv.writer(lines, lineterminator="\r\n").writerow)


def _tsv(path: Path) -> Iterator[Write]:
    """Fields are never quoted, as our own reader expects; tabs and line ends in a text become spaces."""
    replaced = 0
    with path.open("w", encoding="utf-8", newline="") as file:

        def write_line(cells: Sequence[Any]) -> None:
            nonlocal replaced
            fields = [BREAKS.subn(" ", "" if cell is None else str(cell)) for cell in cells]
            replaced += sum(count for _, count in fields)
            file.write("\t".join(field for field, _ in fields) + "\n")

        yield _table(".tsv", write_line)
    if replaced:
        log.warning("%s tabs and line ends in texts are written as spaces: a .tsv cannot hold them", f"{replaced:,}")


def _table(suffix: str, write_line: Callable[[Sequence[Any]], object]) -> Write:
    header = _Header(suffix)

    def write(rows: Sequence[Row]) -> None:
        if header.extend(rows):
            write_line(header.names)
        for row in rows:
            write_line(header.cells(row))

    return write


def _parquet(path: Path) -> Iterator[Write]:
    """Write a row group for each call, with the column types of the first rows.

    If later rows need wider types, as when a column had only nulls so far, the earlier rows are rewritten.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    header = _Header(".parquet")
    writer: Any = None

    def rewrite(schema: Any) -> None:
        nonlocal writer
        writer.close()
        narrow = path.with_name(f"{path.name}.narrow")
        path.replace(narrow)
        try:
            writer = pq.ParquetWriter(path, schema)
            with pq.ParquetFile(narrow) as file:
                for number in range(file.num_row_groups):
                    writer.write_table(file.read_row_group(number).cast(schema))
        finally:
            narrow.unlink()

    def write(rows: Sequence[Row]) -> None:
        nonlocal writer
        header.extend(rows)
        try:
            table = pa.table({name: [row.get(name) for row in rows] for name in header.names})
            writer = writer or pq.ParquetWriter(path, table.schema)
            schema = pa.unify_schemas([writer.schema, table.schema], promote_options="permissive")
            if schema != writer.schema:
                rewrite(schema)
            writer.write_table(table.cast(schema))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
            raise ElektronError(
                f"rows have values that a column cannot hold ({first_line(error)}): write jsonl instead of parquet"
            ) from error

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


FORMATS: dict[str, Callable[[Path], Iterator[Write]]] = {
    ".jsonl": _json_lines,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
}
"""The writer for each suffix of a file name."""


class _Header:
    """The columns of a table: those of the rows in the first call, with predictions last."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self.names: list[str] = []
        self._rows = 0

    def extend(self, rows: Sequence[Row]) -> bool:
        """Take the column names from the first call; return whether this is the first call.

        Raises:
            ElektronError: a row has a column that the first rows do not have.
        """
        is_first = not self._rows
        if is_first:
            names = dict.fromkeys(name for row in rows for name in row)
            self.names = sorted(names, key=lambda name: name.startswith(PREFIX))
        columns = set(self.names)
        for number, row in enumerate(rows, start=self._rows + 1):
            if new := [name for name in row if name not in columns]:
                raise ElektronError(
                    f"row {number:,} has a column {new[0]!r} that none of the first rows has, and "
                    f"a {self.suffix} has the same columns from its beginning on: write .jsonl instead"
                )
        self._rows += len(rows)
        return is_first

    def cells(self, row: Row) -> list[Any]:
        """The cells of a row, lists as JSON."""
        values = [row.get(name) for name in self.names]
        return [to_json(value) if isinstance(value, list | dict) else value for value in values]
