"""From a source to a table: which format a file has.

A source is a file, `hf:NAME[@REVISION][:config][:split]`, `-` for standard input, or rows from Python.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from elektron.errors import ElektronError
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.in_memory import Rows
from elektron.finetuning.readers.delimited import delimited_table
from elektron.finetuning.readers.lines import STDIN, Lines, existing_file, open_lines
from elektron.finetuning.readers.named_rows import (
    hub_table,
    json_table,
    parquet_table,
    python_table,
)
from elektron.finetuning.readers.records import Table
from elektron.finetuning.readers.request import Request
from elektron.finetuning.readers.text_lines import (
    aligned_table,
    are_aligned,
    are_tagged_sentences,
    fasttext_table,
    is_fasttext,
    is_plain_text,
    plain_text_table,
    tagged_sentences_table,
)
from elektron.finetuning.readers.token_lines import SPACES, TokenLines
from elektron.io.datasets import HUB
from elektron.io.text import JSON_SUFFIXES, PARQUET_SUFFIXES, file_suffix


def open_tables(
    sources: Sequence[str], request: Request, config: FilesConfig, stdin: IO[bytes] | None
) -> Iterator[Table]:
    """The tables of all sources in order, each opened when the one before has been read."""
    if request.shape == "parallel" and are_aligned(sources, request):
        yield aligned_table(sources, config.encoding)
        return
    for source in sources:
        found = open_source(source, stdin, config.encoding)
        yield _table_of_lines(found, request, config) if isinstance(found, Lines) else found


def open_source(source: str, stdin: IO[bytes] | None = None, encoding: str | None = None) -> Table | Lines:
    """A table whose columns have names in its format, or the lines of a text whose format is to be found."""
    if isinstance(source, Rows):
        return python_table(source)
    if source.startswith(HUB):
        return hub_table(source)
    if source != STDIN and file_suffix(Path(source)) in PARQUET_SUFFIXES:
        return parquet_table(existing_file(source))
    lines = open_lines(source, stdin, encoding)
    if lines.suffix in JSON_SUFFIXES or (lines.is_stdin and _begins_with_object(lines)):
        return json_table(lines)
    return lines


def _begins_with_object(lines: Lines) -> bool:
    try:
        return bool(lines.sample) and isinstance(json.loads(lines.sample[-1]), dict)
    except (ValueError, RecursionError):
        return False


def _table_of_lines(lines: Lines, request: Request, config: FilesConfig) -> Table:
    if request.shape == "tagged":
        return _tagged_table(lines, request, config)
    if is_fasttext(lines, request):
        return fasttext_table(lines)
    role = request.only_role
    if role is not None and is_plain_text(lines, request, config):
        return plain_text_table(lines, role.name)
    return delimited_table(lines, request, config)


def _tagged_table(lines: Lines, request: Request, config: FilesConfig) -> Table:
    """A token a line, a sentence a line, or a table; to predict for, plain text too."""
    form = TokenLines(lines, request, config)
    one_line = lines.suffix != ".csv" and are_tagged_sentences(lines.content, request.labelled)
    if _is_delimited(lines, request, form, one_line):
        return delimited_table(lines, request, config)
    if one_line:
        return tagged_sentences_table(lines, request.labelled)
    if not form.is_empty and (request.labelled or form.sure):
        return form.table(request)
    if request.labelled:
        raise ElektronError(f"{lines.name}: empty, there is no token in it")
    return plain_text_table(lines, "tokens")


def _is_delimited(lines: Lines, request: Request, form: TokenLines, one_line: bool) -> bool:
    """Whether each line is a row under a header, or in columns that were given."""
    if lines.suffix == ".csv":
        return form.is_empty or not (form.blocks and form.even)
    if form.is_empty or form.is_format or (form.blocks and not one_line):
        return False
    if form.delimiter == SPACES:
        return bool(request.given) and not request.labelled and not (form.even and form.width > 1)
    if not request.given and not request.recognised(lines.sample[0].split(form.delimiter)):
        return False
    # Rows of sentences have spaces; those of a token each have none.
    spaced = sum(" " in line for line in lines.sample)
    return one_line or not request.labelled or spaced > len(lines.sample) / 2
