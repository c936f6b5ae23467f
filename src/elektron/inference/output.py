"""Write rows with predictions, a chunk at a time, as JSON lines, csv, tsv or parquet; embeddings also as npy.

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

import numpy as np
from numpy.typing import NDArray

from elektron.errors import ElektronError, first_line
from elektron.finetuning.prediction_columns import Row
from elektron.io.files import atomic_file, make_parents, to_json
from elektron.reporting.reading import PREFIX
from elektron.terminal import escape_control, stdout

log = logging.getLogger(__name__)

Write = Callable[[Sequence[Row]], None]
"""Appends rows; the first call decides the columns of a table."""
BREAKS = re.compile(r"\r\n|[\t\r\n]")
"""Characters that would end a field or a line of a tsv."""


@contextmanager
def open_writer(output: Path | None, *sources: str) -> Iterator[Write]:
    """Yield a function that writes rows to a file, in the format of its suffix, or to standard output.

    Args:
        output: the file; None for standard output.
        sources: the inputs, which must not be overwritten.

    Raises:
        ElektronError: the suffix is not known, the file cannot be written, or it is an input.
    """
    if output is None:
        yield _write_to_stdout
        return
    if output.suffix not in FORMATS:
        raise ElektronError(f"--output {output}: must end in {', '.join(FORMATS)}")
    check_output(output, *sources)
    try:
        make_parents(output)
        with atomic_file(output) as path, contextmanager(FORMATS[output.suffix])(path) as write:
            yield write
    except OSError as error:
        raise ElektronError(f"{output} cannot be written ({error.strerror})") from error


def check_output(output: Path, *sources: str) -> None:
    """Raise ElektronError if the output is a folder or one of the inputs; called before anything is computed."""
    if output.is_dir():
        raise ElektronError(f"--output {output} is a folder: give the name of a file")
    for source in sources:
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
        yield _line_writer(".csv", csv.writer(lines, lineterminator="\r\n").writerow)


def _tsv(path: Path) -> Iterator[Write]:
    """Fields are never quoted, as our own reader expects; tabs and line ends in a text become spaces."""
    replaced = 0
    with path.open("w", encoding="utf-8", newline="") as file:

        def write_line(cells: Sequence[Any]) -> None:
            nonlocal replaced
            fields = [BREAKS.subn(" ", "" if cell is None else str(cell)) for cell in cells]
            replaced += sum(count for _, count in fields)
            file.write("\t".join(field for field, _ in fields) + "\n")

        yield _line_writer(".tsv", write_line)
    if replaced:
        log.warning("%s tabs and line ends in texts are written as spaces: a .tsv cannot hold them", f"{replaced:,}")


def _line_writer(suffix: str, write_line: Callable[[Sequence[Any]], object]) -> Write:
    """Write the names of the columns as the first line, and lists as JSON."""

    def write(columns: Sequence[str], rows: Sequence[Row], is_first: bool) -> None:
        if is_first:
            write_line(columns)
        for row in rows:
            values = map(row.get, columns)
            write_line([to_json(value) if isinstance(value, list | dict) else value for value in values])

    return _with_columns(suffix, write)


def _parquet(path: Path) -> Iterator[Write]:
    """Write a row group for each call, with the column types of the first rows.

    If later rows need wider types, as when a column had only nulls so far, the earlier rows are rewritten.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

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

    def write(columns: Sequence[str], rows: Sequence[Row], is_first: bool) -> None:
        nonlocal writer
        try:
            table = pa.table({name: [row.get(name) for row in rows] for name in columns})
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
        yield _with_columns(".parquet", write)
    finally:
        if writer is not None:
            writer.close()


def _npy(path: Path) -> Iterator[Write]:
    """Embeddings alone, as an array `(rows, hidden_size)` in fp32."""
    parts: list[NDArray[np.float32]] = []

    def write(rows: Sequence[Row]) -> None:
        name = f"{PREFIX}embedding"
        if name not in rows[0]:
            raise ElektronError(
                "an .npy file has only embeddings, which this model does not compute: choose another format"
            )
        parts.append(np.array([row[name] for row in rows], dtype=np.float32))

    yield write
    with path.open("wb") as file:
        np.save(file, np.concatenate(parts))


FORMATS: dict[str, Callable[[Path], Iterator[Write]]] = {
    ".jsonl": _json_lines,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
    ".npy": _npy,
}
"""The writer for each suffix of a file name."""


def _with_columns(suffix: str, write: Callable[[Sequence[str], Sequence[Row], bool], None]) -> Write:
    """A function that passes rows to `write` with the columns of the table and whether this is the first call.

    The columns are those of the rows in the first call, with predictions last. A later row with another column raises
    ElektronError.
    """
    columns: list[str] = []
    count = 0

    def write_rows(rows: Sequence[Row]) -> None:
        nonlocal columns, count
        is_first = not count
        if is_first:
            names = dict.fromkeys(name for row in rows for name in row)
            columns = sorted(names, key=lambda name: name.startswith(PREFIX))
        allowed = set(columns)
        for number, row in enumerate(rows, start=count + 1):
            if new := [name for name in row if name not in allowed]:
                raise ElektronError(
                    f"row {number:,} has a column {new[0]!r} that none of the first rows has, and "
                    f"a {suffix} has the same columns from its beginning on: write .jsonl instead"
                )
        count += len(rows)
        write(columns, rows, is_first)

    return write_rows
