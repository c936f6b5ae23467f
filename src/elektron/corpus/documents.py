"""Documents out of whatever holds text, one at a time, whatever the size of the corpus.

A source is a file, a folder, a glob, `hf:NAME[@REVISION][:config][:split]` for a data set of
the hub, or `builtin:docs`. The end of a file's name says how it is read: `.txt` and unknown endings as text,
`.jsonl` and `.json` as JSON objects, one a line or in an array, `.csv` and `.tsv` as a table with a header,
`.parquet` and `.arrow` by record batches; all but the last two also with `.gz` or `.zst` behind. In
text, WikiExtractor's marks separate documents, else blank lines if the first megabyte has one;
otherwise each line is a document.

Files are decoded in `elektron.io.text`. Documents longer than LONGEST_DOCUMENT are
handed on in parts, so that one endless document needs no endless memory.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import IO, Any

from elektron.corpus.sources import ARROW_SUFFIXES, BUILTIN, WIKIEXTRACTOR, parts_of
from elektron.errors import ElektronError, comma_list, did_you_mean, first_line
from elektron.io.datasets import HUB, dataset_commit, dataset_rows
from elektron.io.text import (
    EXCEL_SEPARATOR,
    JSON_SUFFIXES,
    PARQUET_SUFFIXES,
    TABLE_SUFFIXES,
    decode,
    decompress,
    file_suffix,
    limit_line_length,
    normalize_newlines,
    read_csv_rows,
    read_json_rows,
    replace_surrogates,
    split_lines,
    split_text,
    warn_undecodable,
)

log = logging.getLogger(__name__)

LONGEST_DOCUMENT = 1_000_000
"""Characters."""

WIKI_DOCUMENT = re.compile(r'<doc id="[^"]*" (?:revid="[^"]*" )?url="[^"]*" title=".*">')
"""The line before a document in what WikiExtractor writes."""
MOST_LINES_OF_FIELD = 200
"""A field that goes on for more lines has a quotation mark that does not enclose it."""
WIKI_END = "</doc>"
BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True, slots=True)
class Document:
    """One text."""

    text: str
    group: str = ""
    """Documents of one group stay on one side of a split; empty: the document stands alone."""
    source: str = field(default="", compare=False)
    """The file or data set that it is from."""


def read_documents(corpora: Sequence[str], text_column: str | None = None) -> Iterator[Document]:
    """The documents of the sources in order; `Corpus` also tells how far the reading has come."""
    return iter(Corpus(corpora, text_column))


class Corpus:
    """Sources that have been found, and how much of them has been read.

    Iterate over it for the documents; errors in a source come up when it is reached.
    """

    def __init__(self, sources: Sequence[str], text_column: str | None = None) -> None:
        """Find the files.

        Raises:
            ElektronError: a source does not exist or holds nothing that could be read.
        """
        self.sources = list(sources)
        self.text_column = text_column
        self.parts = [part for source in sources for part in parts_of(source)]
        files = [part for part in self.parts if isinstance(part, Path)]
        if text_column is not None and files and not any(map(has_columns, self.parts)):
            raise ElektronError(
                f"--text {text_column}: {', '.join(sources)} is plain text, which has no columns"
            )
        self.total_bytes = (
            sum(file.stat().st_size for file in files) if len(files) == len(self.parts) else None
        )
        """Size of all files as they lie, None where a source is not a file."""
        self.undecodable: Counter[str] = Counter()
        """Undecodable bytes by file, so far."""
        self.layouts: Counter[str] = Counter()
        """How documents are separated in text files, so far."""
        self._said_layouts = False
        self._bytes_of_finished_files = 0
        self._open_file: IO[bytes] | None = None

    @property
    def fingerprint(self) -> str:
        """A hash of what is cheaply known of the sources: names and sizes of files, or versions."""
        known: list[Any] = []
        for part in self.parts:
            if isinstance(part, Path):
                known.append([part.name, part.stat().st_size])
            elif part == BUILTIN:
                from elektron.corpus.documentation import versions

                known.append([part, versions()])
            else:
                known.append(part)
        return hashlib.sha256(json.dumps([known, self.text_column]).encode()).hexdigest()

    @cached_property
    def commits(self) -> dict[str, str]:
        """The commit of each data set of the hub, where the hub tells it; those are read from then on."""
        hub = [part for part in self.parts if isinstance(part, str) and part.startswith(HUB)]
        return {part: commit for part in hub if (commit := dataset_commit(part)) is not None}

    @property
    def bytes_read(self) -> int:
        """Of `total_bytes`, how many have been read."""
        here = self._open_file.tell() if self._open_file else 0
        return self._bytes_of_finished_files + here

    def __iter__(self) -> Iterator[Document]:
        """The documents of all sources in order.

        Raises:
            ElektronError: a file is not text, is damaged or lacks the column, or there is no
                document at all.
        """
        self._bytes_of_finished_files = 0
        self.undecodable.clear()
        self.layouts.clear()
        empty = True
        for part in self.parts:
            for document in self._documents(part):
                empty = False
                yield document
        if empty:
            raise ElektronError(f"{', '.join(self.sources)}: no document, the corpus is empty")
        if self.layouts and not self._said_layouts:
            self._said_layouts = True
            counts = [f"{layout} in {n} file{'s' * (n > 1)}" for layout, n in self.layouts.items()]
            log.info("text: %s", ", ".join(counts))

    def _documents(self, part: Path | str) -> Iterator[Document]:
        if part == BUILTIN:
            from elektron.corpus.documentation import training_docstrings

            yield from (
                Document(docstring.text, docstring.group, docstring.group)
                for docstring in training_docstrings()
            )
            return
        texts = self._texts_of_file(part) if isinstance(part, Path) else self._texts_of_hub(part)
        for text in texts:
            whole = replace_surrogates(text, str(part), self.undecodable).strip()
            for part_of_it in split_text(whole, LONGEST_DOCUMENT):
                yield Document(part_of_it, source=str(part))

    def _texts_of_hub(self, name: str) -> Iterator[str]:
        """A data set of the hub, or of a local folder as `datasets` reads it, streamed."""
        _, rows = dataset_rows(name, self.commits.get(name))
        column = None
        for row in rows:
            column = column or self._column(name, {k: isinstance(v, str) for k, v in row.items()})
            if row[column] is not None:
                yield str(row[column])

    def _texts_of_file(self, path: Path) -> Iterator[str]:
        suffix = file_suffix(path)
        try:
            if suffix in PARQUET_SUFFIXES | ARROW_SUFFIXES:
                yield from self._columnar(path, suffix in ARROW_SUFFIXES)
            elif suffix in JSON_SUFFIXES:
                yield from self._json(path, self._decoded(path))
            elif suffix in TABLE_SUFFIXES:
                yield from self._table(path, self._decoded(path))
            else:
                yield from self._text(path, self._decoded(path))
        except OSError as error:
            raise ElektronError(f"{path}: cannot be read ({first_line(error)})") from error
        warn_undecodable(str(path), self.undecodable)

    def _text(self, path: Path, chunks: Iterator[str]) -> Iterator[str]:
        first = next(chunks, "")
        beginning = first.lstrip()
        if WIKI_DOCUMENT.match(beginning):
            self.layouts["documents of WikiExtractor"] += 1
            yield from _wiki_documents(split_lines(chain([first], chunks), LONGEST_DOCUMENT))
            return
        if WIKIEXTRACTOR.fullmatch(path.stem) and beginning.startswith("{"):
            yield from self._json(path, chain([first], chunks))
            return
        blank_lines = BLANK_LINE.search(first.strip()) is not None
        self.layouts["blank lines between documents" if blank_lines else "one document a line"] += 1
        lines = split_lines(chain([first], chunks), LONGEST_DOCUMENT)
        del first
        if not blank_lines:
            yield from lines
            return
        document: list[str] = []
        length = 0
        for line in lines:
            blank = not line or line.isspace()
            if blank or length + len(line) > LONGEST_DOCUMENT:
                yield "\n".join(document)
                document, length = [], 0
            if not blank:
                document.append(line)
                length += len(line) + 1
        yield "\n".join(document)

    def _json(self, path: Path, chunks: Iterator[str]) -> Iterator[str]:
        """One object a line; or an array, or objects over several lines."""
        column = None
        for where, row in read_json_rows(str(path), chunks):
            if isinstance(row, str):  # of an array
                yield row
                continue
            column = column or self._column(path, {k: isinstance(v, str) for k, v in row.items()})
            if column not in row:
                raise ElektronError(f"{where}: no field {column!r}")
            text = row[column]
            if isinstance(text, str):
                yield text
            elif text is not None:
                hint = ""
                if isinstance(text, dict | list):
                    hint = f", but {'an object' if isinstance(text, dict) else 'a list'}: give one text a row"
                raise ElektronError(f"{where}: field {column!r} is not text{hint}")

    def _table(self, path: Path, chunks: Iterator[str]) -> Iterator[str]:
        """A table with a header; the separator is the one that the header has most of."""
        first = next(chunks, "")
        more = next(chunks, "")
        lines = split_lines(limit_line_length(str(path), chain([first, more], chunks)))
        header = next(lines, "")
        if told := EXCEL_SEPARATOR.fullmatch(header):
            header = next(lines, "")
        likeliest = "\t,;|" if file_suffix(path) == ".tsv" else ",;\t|"
        delimiter = told[1] if told else max(likeliest, key=header.count)
        lines = chain([header], lines)
        rows: Iterator[tuple[int, list[str]]]
        if delimiter == "\t" and not _quotes_enclose(first, delimiter, bool(more)):
            log.info("%s: quotation marks do not enclose fields and are read as text", path)
            rows = ((n, line.split(delimiter)) for n, line in enumerate(lines, start=1))
        else:
            rows = read_csv_rows(str(path), lines, delimiter)
        _, names = next(rows, (0, []))
        if not names:
            return
        column = names.index(self._column(path, dict.fromkeys(names, True)))
        for number, row in rows:
            if len(row) > column:
                yield row[column]
            elif row:
                raise ElektronError(
                    f"{path}, line {number}: {len(row)} columns, the header has {len(names)}"
                )

    def _columnar(self, path: Path, is_arrow: bool) -> Iterator[str]:
        """Parquet, or the Arrow stream that `datasets` writes."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._reading(path) as file:
            try:
                table = pa.ipc.open_stream(file) if is_arrow else pq.ParquetFile(file)
                schema = table.schema if is_arrow else table.schema_arrow
                column = self._column(
                    path, {field.name: _holds_text(field.type) for field in schema}
                )
                batches = table if is_arrow else table.iter_batches(256, columns=[column])
                for batch in batches:
                    # Nobody has to have checked that it is UTF-8.
                    values = batch.column(batch.schema.get_field_index(column))
                    texts = values.cast(pa.large_string()).cast(pa.large_binary())
                    for text in texts.to_pylist():
                        if text is not None:
                            yield text.decode(errors="surrogateescape")
            except pa.ArrowException as error:
                kind = "Arrow stream" if is_arrow else "parquet"
                raise ElektronError(f"{path}: not readable {kind} ({first_line(error)})") from error
            finally:
                self._open_file = None

    def _column(self, where: Path | str, is_text: dict[str, bool]) -> str:
        """The column to read: the one asked for, else `text`, else the only one with text."""
        texts = [name for name, text in is_text.items() if text]
        wanted = self.text_column or ("text" if "text" in is_text else None)
        if wanted is None and len(texts) == 1:
            wanted = texts[0]
        there = comma_list(is_text)
        if wanted is None:
            raise ElektronError(
                f"{where}: which column holds the text? give it with --text; there are: {there}"
            )
        if wanted not in is_text:
            near = did_you_mean(wanted, is_text)
            raise ElektronError(f"{where}: no column {wanted!r}{near or f'; there are: {there}'}")
        return wanted

    def _decoded(self, path: Path) -> Iterator[str]:
        """The text of a file by chunks, with line ends as `\\n`, refused if it is not text."""
        with self._reading(path) as file:
            yield from normalize_newlines(
                decode(str(path), decompress(path, file), self.undecodable)
            )

    @contextmanager
    def _reading(self, path: Path) -> Iterator[IO[bytes]]:
        """A file that counts for `bytes_read` while it is open and afterwards."""
        with path.open("rb") as file:
            self._open_file = file
            try:
                yield file
            finally:
                self._open_file = None
                self._bytes_of_finished_files += path.stat().st_size


def has_columns(part: Path | str) -> bool:
    """Whether a part of a corpus is of a form whose text is in a named column."""
    tables = JSON_SUFFIXES | TABLE_SUFFIXES | PARQUET_SUFFIXES
    return part != BUILTIN if isinstance(part, str) else file_suffix(part) in tables


def _quotes_enclose(beginning: str, delimiter: str, is_cut: bool) -> bool:
    """Whether quotation marks enclose fields in the beginning of a table, which may be cut inside a field."""
    lines = [line + "\n" for line in beginning.split("\n")]
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    row = 0
    try:
        for _ in reader:
            row = reader.line_num
    except csv.Error:
        at_the_end = reader.line_num == len(lines)
        return is_cut and at_the_end and len(lines) - row < MOST_LINES_OF_FIELD
    return True


def _wiki_documents(lines: Iterator[str]) -> Iterator[str]:
    """The documents between `<doc …>` and `</doc>`."""
    document: list[str] = []
    length = 0
    for line in lines:
        ended = line == WIKI_END
        if ended or length + len(line) > LONGEST_DOCUMENT:
            yield "\n".join(document)
            document, length = [], 0
        if not ended and not WIKI_DOCUMENT.fullmatch(line):
            document.append(line)
            length += len(line) + 1
    yield "\n".join(document)


def _holds_text(column_type: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(column_type):
        column_type = column_type.value_type
    return any(
        check(column_type)
        for check in (types.is_string, types.is_large_string, types.is_string_view)
    )
