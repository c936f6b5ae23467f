"""Delimited text: csv, tab-separated files, and any other character between columns.

The delimiter is the one with which most of the first rows have as many fields as the first row. Quotation marks
enclose fields, except in tab-separated files, where they are usually part of the text. A quotation mark that is
never closed, or is where none is allowed, is an error, because it would join rows. The first line names the
columns, unless columns are given by number. If no column is given, the first line must have a usual name of a
column, or the file must have two columns of which one is clearly a label.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Iterator, Sequence

from elektron.errors import ElektronError, comma_list
from elektron.finetuning.config import TextFilesConfig
from elektron.finetuning.readers.guess_columns import text_and_label
from elektron.finetuning.readers.lines import Lines, Peekable, is_blank
from elektron.finetuning.readers.records import Counts, Row, Table
from elektron.finetuning.readers.roles import Request, is_number
from elektron.io.text import EXCEL_SEPARATOR, MAX_FIELD_CHARACTERS, read_csv_rows

log = logging.getLogger(__name__)

SNIFFED_LINES = 100
DELIMITERS = {".csv": ",;\t|", ".tsv": "\t,;|"}
NO_DELIMITER = "\x1f"
"""Separates nothing: the delimiter of a table with one column, whose texts may have commas."""
NAMES = {"\t": "tab-separated", ",": "comma-separated", ";": "semicolon-separated", NO_DELIMITER: "one column"}

Fields = tuple[int, list[str]]
"""The line on which a row begins, and its fields."""


def delimited_table(lines: Lines, request: Request, config: TextFilesConfig) -> Table:
    """The table in these lines.

    Raises:
        ElektronError: it is empty, or it is not clear which column is which.
    """
    sample = lines.content
    excel = EXCEL_SEPARATOR.fullmatch(lines.sample[0]) if lines.sample else None
    if excel:
        next(lines)
        sample = sample[1:]
    delimiter = given_delimiter(config) or (excel and excel[1]) or _sniff_delimiter(lines, sample, config)
    quoting = _quoting(config, delimiter) and (delimiter != NO_DELIMITER or lines.suffix != ".tsv")
    if quoting and len(delimiter) > 1:
        raise ElektronError(f"--delimiter {delimiter!r} is more than one character: give --quoting false with it")
    rows: Peekable[Fields]
    if quoting:
        advice = "; where quotation marks do not enclose fields, give --quoting false"
        rows = Peekable(read_csv_rows(lines.name, (line for _, line in lines), delimiter, advice, skipped=bool(excel)))
    else:
        rows = Peekable((n, line.split(delimiter)) for n, line in lines if delimiter in line or not is_blank(line))
    first_rows = [fields for _, fields in rows.peek(max(1, len(sample)))]
    if not first_rows:
        raise ElektronError(f"{lines.name}: empty, it has no rows")
    header = _has_header(lines.name, first_rows, request, config)
    if header:
        next(rows)
        columns = [field.strip() or str(number) for number, field in enumerate(first_rows[0], start=1)]
    else:
        columns = [str(number + 1) for number in range(max(map(len, first_rows)))]
    counts = Counts(lines.name)
    by_values = text_and_label(first_rows[header:], request)
    return Table(
        lines.name,
        _rows_by_column(lines.name, rows, columns, header, counts),
        f"{NAMES.get(delimiter, f'separated by {delimiter!r}')}, {'with' if header else 'without'} a header",
        columns,
        {role: columns[index] for role, index in by_values.items() if index < len(columns)},
        counts,
    )


def given_delimiter(config: TextFilesConfig) -> str | None:
    """The delimiter that `--delimiter` gives, where a backslash and t are a tab; None if it is not given."""
    delimiter = "\t" if config.delimiter == r"\t" else config.delimiter
    if delimiter is not None and set(delimiter) & set('"\r\n'):
        raise ElektronError(f"--delimiter {config.delimiter!r} cannot separate columns")
    return delimiter


def _quoting(config: TextFilesConfig, delimiter: str) -> bool:
    return config.quoting if config.quoting is not None else delimiter != "\t"


def _sniff_delimiter(lines: Lines, sample: list[str], config: TextFilesConfig) -> str:
    """The delimiter with which most rows have as many fields as the first, at least two; else NO_DELIMITER."""
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    sample = sample[:SNIFFED_LINES]

    def agreement(delimiter: str) -> float:
        rows: Iterable[list[str]] = (line.split(delimiter) for line in sample)
        if _quoting(config, delimiter):
            rows = csv.reader((line + "\n" for line in sample), delimiter=delimiter)
        try:
            widths = [len(row) for row in rows if row]
        except csv.Error:
            return 0.0
        if not widths or widths[0] < 2:
            return 0.0
        return sum(width == widths[0] for width in widths) / len(widths)

    # If several agree equally well, the first is taken.
    best = max(DELIMITERS.get(lines.suffix, DELIMITERS[".tsv"]), key=agreement)
    return best if agreement(best) else NO_DELIMITER


def _has_header(name: str, first_rows: list[list[str]], request: Request, config: TextFilesConfig) -> bool:
    first = [field.strip() for field in first_rows[0]]
    if config.header is not None:
        return config.header
    if request.gives_only_numbers:
        if request.recognised(first):
            log.warning(
                "%s: the first line looks like names of columns, but is read as a row because "
                "columns are numbers; if it is a header, give --header true",
                name,
            )
        return False
    if request.given or request.recognised(first):
        return True
    numbers_in_training = [name for role in request.roles for name in role.names if is_number(name)]
    if numbers_in_training and max(map(int, ",".join(numbers_in_training).split(","))) <= len(first):
        return False
    label = text_and_label(first_rows, request).get("label")
    if label is not None and first[label] in (row[label].strip() for row in first_rows[1:]):
        return False
    options = [request.option(role.name) for role in request.roles if request.needs(role)]
    raise ElektronError(
        f"{name}: which column is which? Give {' and '.join(options)}, by name if the first line "
        f"names the columns, else by number from 1 (there are: {numbered(first)})"
    )


def numbered(fields: Sequence[str]) -> str:
    """The fields of a line with their numbers: `1 ('Bob'), 2 ('B-PER')`."""
    shortened = [field if len(field) <= 20 else field[:19] + "…" for field in fields]
    return comma_list(f"{number} ({field!r})" for number, field in enumerate(shortened, start=1))


def _rows_by_column(
    name: str, rows: Iterator[Fields], columns: list[str], header: bool, counts: Counts
) -> Iterator[Row]:
    """Rows with values by column name; fields beyond the last column are named by their number.

    In joined files the header is repeated: these lines are left out.
    """
    for number, fields in rows:
        where = f"{name}, line {number}"
        if header and len(fields) > 1 and [field.strip() for field in fields] == columns:
            counts.add("lines repeat the header and are left out", where)
            continue
        row = dict(zip(columns, fields, strict=False))
        for index in range(len(columns), len(fields)):
            row.setdefault(str(index + 1), fields[index])
        if header and len(fields) > len(columns):
            counts.add("rows have more fields than the header", where)
        yield where, row
