"""Tables of text: csv, tab-separated files, and what else has a character between its columns.

The delimiter is the one that the first rows agree on. Quotation marks enclose fields unless tabs
separate them: in tab-separated files they are part of the text far more often than not. A quotation
mark that is never closed, or that stands where none can, is an error and not a guess, because it
would join rows.

The first line names the columns, unless columns are asked for by number. Where nothing is asked
for, it must hold a name that is known, or the file must be two columns of which one is plainly a
label: few short values that come again and again, the first line's among them.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from statistics import fmean

from elektron.errors import MAX_LISTED, ElektronError
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.readers.columns import LABEL, Request, Row, Table
from elektron.finetuning.readers.lines import Ahead, Lines, is_blank
from elektron.finetuning.readers.tables import refuse_duplicates
from elektron.io.text import EXCEL_SEPARATOR, MAX_FIELD_CHARACTERS, TABLE_SUFFIXES, read_csv_rows

log = logging.getLogger(__name__)

SNIFFED_LINES = 100
LONGEST_LABEL = 40
DELIMITERS = {".csv": ",;\t|", ".tsv": "\t,;|"}
NONE = "\x1f"
"""Separates nothing: the delimiter of a table with one column, whose texts may have commas."""
NAMES = {
    "\t": "tab-separated",
    ",": "comma-separated",
    ";": "semicolon-separated",
    NONE: "one column",
}
QUOTING_OFF = "; where quotation marks do not enclose fields, give --quoting false"

Fields = tuple[int, list[str]]
"""The line on which a row begins, and its fields."""


def delimited_table(lines: Lines, request: Request, config: FilesConfig) -> Table:
    """The table that these lines are."""
    told = _told_delimiter(lines)
    sample = [line for line in lines.sample() if not is_blank(line)]
    delimiter = _given_delimiter(config) or told or _sniffed_delimiter(lines.suffix, sample, config)
    quoting = _quoting(config, delimiter) and (delimiter != NONE or lines.suffix != ".tsv")
    if quoting and len(delimiter) > 1:
        raise ElektronError(
            f"--delimiter {delimiter!r} is more than one character: give --quoting false with it"
        )
    rows = Ahead(_quoted_rows(lines, delimiter) if quoting else _split_rows(lines, delimiter))
    first_rows = [fields for _, fields in rows.ahead(max(1, len(sample)))]
    if not first_rows:
        raise ElektronError(f"{lines.name}: empty, there is no row in it")
    header = _has_header(lines.name, first_rows, request, config)
    columns = _columns(lines.name, first_rows, header)
    if header:
        next(rows)
    return Table(
        lines.name,
        columns,
        Ahead(_named(lines.name, rows, columns, header)),
        f"{NAMES.get(delimiter, f'separated by {delimiter!r}')}, "
        f"{'with' if header else 'without'} a header",
        seen={
            role: columns[number]
            for role, number in _seen(first_rows[header:], request).items()
            if number < len(columns)
        },
    )


def _told_delimiter(lines: Lines) -> str | None:
    """What Excel writes before a table to say what is between its columns; the line is taken."""
    found = EXCEL_SEPARATOR.fullmatch(next(iter(lines.sample()), ""))
    if found is None:
        return None
    next(lines)
    return found[1]


def is_plain_text(lines: Lines, request: Request, config: FilesConfig) -> bool:
    """Whether each line is one text to predict for, rather than a row of a table.

    In plain text only tabs separate columns, and only where every line has one.
    """
    if request.labelled or request.the_one_role is None or lines.suffix in TABLE_SUFFIXES:
        return False
    if request.asked or config.delimiter is not None or config.header is not None:
        return False
    sample = [line for line in lines.sample() if not is_blank(line)]
    if lines.is_stdin:
        return not any(request.recognises(line.split("\t")) for line in sample if "\t" in line)
    return not sample or not all("\t" in line for line in sample)


def _given_delimiter(config: FilesConfig) -> str | None:
    if config.delimiter is None:
        return None
    delimiter = "\t" if config.delimiter == r"\t" else config.delimiter
    if not delimiter or set(delimiter) & set('"\r\n'):
        raise ElektronError(f"--delimiter {config.delimiter!r} cannot separate columns")
    return delimiter


def _quoting(config: FilesConfig, delimiter: str) -> bool:
    return config.quoting if config.quoting is not None else delimiter != "\t"


def _sniffed_delimiter(suffix: str, sample: list[str], config: FilesConfig) -> str:
    """The one by which most rows have as many fields as the first, which has at least two.

    Where there is no such one, there is one column.
    """
    candidates = DELIMITERS.get(suffix, DELIMITERS[".tsv"])
    sample = sample[:SNIFFED_LINES]

    def agreement(delimiter: str) -> float:
        rows = _tried(sample, delimiter, _quoting(config, delimiter))
        widths = [len(row) for row in rows if row]
        if not widths or widths[0] < 2:
            return 0.0
        return sum(width == widths[0] for width in widths) / len(widths)

    best = max(candidates, key=agreement)  # the first of equals
    return best if agreement(best) else NONE


def _tried(sample: list[str], delimiter: str, quoting: bool) -> list[list[str]]:
    if not quoting:
        return [line.split(delimiter) for line in sample]
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    try:
        return list(csv.reader([line + "\n" for line in sample], delimiter=delimiter))
    except csv.Error:
        return []


def _split_rows(lines: Lines, delimiter: str) -> Iterator[Fields]:
    for number, line in lines:
        if delimiter in line or not is_blank(line):
            yield number, line.split(delimiter)


def _quoted_rows(lines: Lines, delimiter: str) -> Iterator[Fields]:
    return read_csv_rows(lines.name, (line for _, line in lines), delimiter, QUOTING_OFF)


def _has_header(
    name: str, first_rows: list[list[str]], request: Request, config: FilesConfig
) -> bool:
    first = [field.strip() for field in first_rows[0]]
    if config.header is not None:
        return config.header
    if request.only_numbers:
        if request.recognises(first):
            log.warning(
                "%s: the first line looks like names of columns, but is read as a row because "
                "columns are numbers; if it is a header, give --header true",
                name,
            )
        return False
    if request.asked or request.recognises(first):
        return True
    if request.numbers and max(request.numbers) <= len(first):
        return False
    seen = _seen(first_rows, request)
    if LABEL in seen and _comes_again(first[seen[LABEL]], first_rows[1:], seen[LABEL]):
        return False
    there = ", ".join(
        f"{number} ({_cut(field)})" for number, field in enumerate(first[:MAX_LISTED], start=1)
    ) + (f" and {len(first) - MAX_LISTED:,} more" if len(first) > MAX_LISTED else "")
    raise ElektronError(
        f"{name}: which column is which? Give {request.options()}, by name if the first line "
        f"names the columns, else by number from 1 (there are: {there})"
    )


def _seen(rows: list[list[str]], request: Request) -> dict[str, int]:
    """Text and label of a table with two columns, by index, where only one can be the label."""
    text = request.the_one_role
    if text is None or all(role.name != LABEL for role in request.roles):
        return {}
    if any(len(row) != 2 for row in rows):
        return {}
    columns = [[field.strip() for field in column] for column in zip(*rows, strict=True)]
    labels = [index for index, column in enumerate(columns) if _looks_like_labels(column)]
    if len(labels) != 1:
        return {}
    label = labels[0]
    if fmean(map(len, columns[1 - label])) <= fmean(map(len, columns[label])):
        return {}
    return {text.name: 1 - label, LABEL: label}


def _looks_like_labels(column: list[str]) -> bool:
    distinct = set(column)
    return (
        all(0 < len(value) <= LONGEST_LABEL for value in distinct)
        and len(distinct) <= len(column) / 2
    )


def _comes_again(label: str, rows: list[list[str]], index: int) -> bool:
    return any(row[index].strip() == label for row in rows)


def _columns(name: str, first_rows: list[list[str]], header: bool) -> list[str]:
    if not header:
        return [str(number + 1) for number in range(max(map(len, first_rows)))]
    names = [field.strip() or str(number) for number, field in enumerate(first_rows[0], start=1)]
    refuse_duplicates(name, names)
    return names


def _named(name: str, rows: Iterator[Fields], columns: list[str], header: bool) -> Iterator[Row]:
    """Rows under the names of their columns; fields beyond the last have their numbers.

    Where files were joined, the header comes again: it is no row.
    """
    longer, first_longer = 0, 0
    again, first_again = 0, 0
    for number, fields in rows:
        if header and len(fields) > 1 and [field.strip() for field in fields] == columns:
            again += 1
            first_again = first_again or number
            continue
        row = dict(zip(columns, fields, strict=False))
        if len(fields) > len(columns):
            longer += 1
            first_longer = first_longer or number
            for index in range(len(columns), len(fields)):
                row.setdefault(str(index + 1), fields[index])
        yield f"{name}, line {number}", row
    if again:
        log.warning(
            "%s: %s lines repeat the header, the first is line %d, and are left out",
            name,
            f"{again:,}",
            first_again,
        )
    if longer and header:
        log.warning(
            "%s: %s rows have more fields than the header, the first on line %d",
            name,
            f"{longer:,}",
            first_longer,
        )


def _cut(field: str) -> str:
    return repr(field if len(field) <= 30 else field[:29] + "…")
