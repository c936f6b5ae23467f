"""Read sources into records, for training, evaluation and prediction; detects the format of each source.

A source is a file, `hf:NAME[@REVISION][:config][:split]`, `-` for standard input, or rows from Python.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from elektron.errors import ElektronError, comma_list
from elektron.finetuning.config import TextFilesConfig
from elektron.finetuning.in_memory import Rows
from elektron.finetuning.readers import text_lines
from elektron.finetuning.readers.answers import located_answers
from elektron.finetuning.readers.delimited import delimited_table
from elektron.finetuning.readers.guess_columns import find_columns
from elektron.finetuning.readers.lines import STDIN, Lines, existing_file, open_lines
from elektron.finetuning.readers.named_rows import (
    begins_with_object,
    hub_table,
    json_table,
    parquet_table,
    python_table,
)
from elektron.finetuning.readers.records import Record, Row, Table, UnusableRow
from elektron.finetuning.readers.roles import Layout, Request, Role
from elektron.finetuning.readers.tagged import grouped, has_token_rows, spans_of, tokens_with_tags
from elektron.finetuning.readers.token_lines import TokenLines
from elektron.finetuning.readers.values import ABSENT, class_name, is_empty, is_missing, parser_of, value_of
from elektron.io.datasets import HUB
from elektron.io.text import JSON_SUFFIXES, PARQUET_SUFFIXES, file_suffix

log = logging.getLogger(__name__)

LOGGED_TOKENS = 8


def read_records(
    sources: Sequence[str],
    layout: Layout,
    config: TextFilesConfig,
    labelled: bool,
    stdin: IO[bytes] | None = None,
    split: Literal["", "eval", "test"] = "",
) -> Iterator[Record]:
    """Yield the rows of all sources in order, with their values by role. Nothing is read before the first is requested.

    Args:
        sources: files, `hf:NAME[@REVISION][:config][:split]`, or `-` for standard input.
        layout: the roles and the format of the task's files.
        config: how files are read, and which columns are given for roles.
        labelled: whether labels are required, as for training and evaluation; for prediction they are not read.
        stdin: a stream that is read instead of standard input.
        split: `eval` or `test` if `--eval-columns` or `--test-columns` apply to these sources.

    Raises:
        ElektronError: a source cannot be read, lacks a column, or a row of it lacks a value.
    """
    if not sources:
        raise ElektronError("no file is given")
    request = Request.of(layout, config, labelled, split)
    for table in _open_tables(sources, request, config, stdin):
        yield from _records(table, request)


def _open_tables(
    sources: Sequence[str], request: Request, config: TextFilesConfig, stdin: IO[bytes] | None
) -> Iterator[Table]:
    """The tables of all sources in order, each opened when the one before has been read."""
    if request.format == "parallel" and text_lines.are_aligned(sources, request):
        yield text_lines.aligned_table(sources, config.encoding)
        return
    for source in sources:
        if isinstance(source, Rows):
            yield python_table(source)
        elif source.startswith(HUB):
            yield hub_table(source)
        elif source != STDIN and file_suffix(Path(source)) in PARQUET_SUFFIXES:
            yield parquet_table(existing_file(source))
        else:
            yield _table_of_lines(open_lines(source, stdin, config.encoding), request, config)


def _table_of_lines(lines: Lines, request: Request, config: TextFilesConfig) -> Table:
    if lines.suffix in JSON_SUFFIXES or (lines.is_stdin and begins_with_object(lines)):
        return json_table(lines)
    if request.format == "tagged":
        return _tagged_table(lines, request, config)
    if text_lines.is_fasttext(lines, request):
        return text_lines.fasttext_table(lines)
    role = request.only_role
    if role is not None and text_lines.is_plain_text(lines, request, config):
        return text_lines.plain_text_table(lines, role.name)
    return delimited_table(lines, request, config)


def _tagged_table(lines: Lines, request: Request, config: TextFilesConfig) -> Table:
    """A file with one token per line, one sentence per line, or a table; for prediction also plain text."""
    token_lines = TokenLines(lines, request, config)
    are_sentences = lines.suffix != ".csv" and text_lines.are_tagged_sentences(lines.content, request.labelled)
    if token_lines.is_delimited_table(are_sentences):
        return delimited_table(lines, request, config)
    if are_sentences:
        return text_lines.tagged_sentences_table(lines, request.labelled)
    if not token_lines.is_empty and (request.labelled or token_lines.is_certain):
        return token_lines.table()
    if request.labelled:
        raise ElektronError(f"{lines.name}: empty, it has no tokens")
    return text_lines.plain_text_table(lines, "tokens")


def _records(table: Table, request: Request) -> Iterator[Record]:
    """The records of a table; rows that cannot be used are counted and left out."""
    reader = _RowReader(table, request)
    kept = 0
    for number, (where, row) in enumerate(reader.rows, start=1):
        try:
            record = reader.record(where, row, number)
        except UnusableRow as reason:
            table.counts.add(f"rows are left out: {reason}", where)
            continue
        if not kept and isinstance(tokens := record.values.get("tokens"), list):
            tags = record.values.get("tags") or [""] * len(tokens)
            first = [f"{token}/{tag}".rstrip("/") for token, tag in zip(tokens, tags, strict=True)]
            more = " …" if len(first) > LOGGED_TOKENS else ""
            log.info("%s: the first sentence is %s%s", table.name, " ".join(first[:LOGGED_TOKENS]), more)
        kept += 1
        yield record
    if not kept:
        counts = str(table.counts)
        raise ElektronError(f"{table.name}: {f'no row is left; {counts}' if counts else 'empty, it has no rows'}")
    table.counts.log()


class _RowReader:
    """Converts the rows of one table to records."""

    def __init__(self, table: Table, request: Request) -> None:
        self.table = table
        self.request = request
        self.columns = find_columns(table, request)
        self.names = {role.name: ",".join(columns) for role, columns in self.columns.items()}
        self.parsers = {
            role: parser_of(role, columns, table, request)
            # Labels come first: a row without one is left out, whatever else is wrong with it.
            for role, columns in sorted(self.columns.items(), key=lambda item: item[0].needed != "labelled")
            if request.labelled or role.needed != "labelled" or role.name == "tags"
        }
        of_column = (table.classes.get(self.names.get(role, ""), []) for role in ("label", "tags"))
        self.classes = list(map(class_name, next(filter(None, of_column), [])))
        self.rows: Iterator[Row] = table.rows
        self.renamed: dict[str, str] = {}
        if request.format == "tagged" and has_token_rows(table, self.names):
            self.rows = grouped(table, self.names, request.labelled)
            # Lists from columns that are named by numbers get the names of their roles.
            self.renamed = {name: role for role, name in self.names.items() if name.isdecimal()}

    def record(self, where: str, row: dict[str, Any], number: int) -> Record:
        """Convert one row to a record.

        Raises:
            UnusableRow: it has no label, or a question, passage or answer that cannot be used.
            ElektronError: a value is missing or not what its role needs.
        """
        labelled = self.request.labelled
        column = self.names.get("is_impossible")
        is_impossible = labelled and column is not None and class_name(str(value_of(row, column))) in ("True", "1")
        values = {}
        for role in self.parsers:
            # A question without an answer may still come with a list of plausible answers.
            value = [] if role.name == "answers" and is_impossible else self._value(role, row, where)
            if value is not ABSENT:
                values[role.name] = value
        shown = {self.renamed.get(name, name): value for name, value in row.items() if name not in self.table.hidden}
        names: Mapping[str, str] = self.names
        if self.request.format == "squad":
            values["id"] = str(number) if is_empty(values.get("id")) else str(values["id"])
            if "answers" in values:
                values["answers"] = located_answers(values, where, self.table.counts)
            for name in ("answer_start", "is_impossible"):
                values.pop(name, None)
        if self.request.format == "tagged":
            if isinstance(values["tokens"], str) and spans_of(values.get("tags")) is not None:
                names = {}  # the column keeps the text, and tokens are a new column
            values = tokens_with_tags(values, where, labelled, self.table.counts)
        for role_name in ("label", "tokens", "tags") if labelled else ():
            if role_name in values:
                name = names.get(role_name, role_name)
                shown[self.renamed.get(name, name)] = values[role_name]
        return Record(values, shown, where, self.names, self.classes)

    def _value(self, role: Role, row: dict[str, Any], where: str) -> Any:
        """The value of a role, ABSENT if there is none and none is needed."""
        columns, needed = self.columns[role], self.request.needs(role)
        optional_answers = role.name == "answers"  # an empty list is valid: the question has no answer
        fields = [value_of(row, column) for column in columns]
        is_score = self.request.labelled and role.name == "label" and role.needed == "never"
        if is_score and all(field is ABSENT or self._is_empty(role, field) for field in fields):
            # Pairs need no scores, but in a file with scores a row without one is not a positive pair.
            raise UnusableRow("the label is empty")
        for column, field in zip(columns, fields, strict=True):
            if field is ABSENT:
                if optional_answers and needed:
                    raise UnusableRow("neither answers nor is_impossible: true")
                if needed or role.needed == "together":
                    raise ElektronError(
                        f"{where}: no {role.name}: there is no column {column!r} in this row, "
                        f"only {comma_list(row) or 'nothing'}"
                    )
                return ABSENT
        if optional_answers or not all(self._is_empty(role, field) for field in fields):
            return self.parsers[role](fields[0] if len(fields) == 1 else fields, where)
        if needed and self.request.labelled and (role.needed == "labelled" or self.request.format == "squad"):
            raise UnusableRow(f"the {role.name} is empty")
        if needed and role.name not in ("pair", "context"):  # these may be empty
            if self.request.labelled:
                raise ElektronError(f"{where}: the {role.name} is empty: correct or drop the row")
            self.table.counts.add(f"rows have an empty {role.name}", where)
        return ABSENT if role.needed == "labelled" else ""

    def _is_empty(self, role: Role, field: Any) -> bool:
        """Whether a field has no value; with a label separator, an empty label means no labels."""
        if role.name == "label" and self.request.label_separator and field == "":
            return False
        if role.name == "target" and isinstance(field, list) and all(map(is_empty, field)):
            return True
        return is_empty(field) or (role.name in ("label", "tags") and is_missing(field))
