"""Documents of a corpus, streamed one at a time.

A source is a file, a folder, a glob, `hf:NAME[@REVISION][:config][:split]` for a data set of the
hub, or `builtin:docs`. The suffix of a file decides how it is read: `.jsonl` and `.json` as JSON,
`.csv` and `.tsv` as a table with a header, `.parquet` and `.arrow` by record batches, all others as
text; all but the record batches also with `.gz` or `.zst`. In text, WikiExtractor's tags separate
documents, otherwise blank lines if the first megabyte has one, otherwise each line is a document.

Documents longer than LONGEST_DOCUMENT are split, so that memory is bounded. `elektron.io.text`
decodes the files.
"""

from __future__ import annotations

import csv
import json
import logging
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import IO, Any

from elektron.corpus.sources import ARROW_SUFFIXES, BUILTIN, WIKIEXTRACTOR, find_files, read_weights
from elektron.errors import ElektronError, comma_list, did_you_mean, first_line
from elektron.io.checksums import text_sha256
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
from elektron.progress import Progress

log = logging.getLogger(__name__)

SAMPLED_CHARACTERS = 5000
"""Number of characters of a document in a `Sample`."""
LONGEST_DOCUMENT = 1_000_000
"""Maximum number of characters of a document; longer documents are split."""

WIKI_DOCUMENT = re.compile(r'<doc id="[^"]*" (?:revid="[^"]*" )?url="[^"]*" title=".*">')
"""The line before each document in the output of WikiExtractor."""
MAX_LINES_OF_FIELD = 200
"""A quotation mark that is not closed within this many lines does not enclose a field."""
BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True, slots=True)
class Document:
    """One text."""

    text: str
    group: str = ""
    """Documents of one group are assigned to the same split; if empty, the document is a group of its own."""
    source: str = field(default="", compare=False)
    """The file or data set that it comes from."""
    member: str = field(default="", compare=False)
    """The source in a mixture that it comes from; empty if the corpus is not a mixture."""


class Corpus:
    """An iterable over the documents of one or more sources; it counts the bytes that have been read.

    An error in the content of a source is raised when the iteration reaches it.
    """

    def __init__(self, sources: Sequence[str], text_column: str | None = None, text_option: str = "--text") -> None:
        """Find the files.

        Args:
            sources: files, folders, globs, hub data sets, `builtin:docs`, or a mixture.
            text_column: column of the text (default: `text`, or the only one with text).
            text_option: the option for it, for messages.

        Raises:
            ElektronError: a source does not exist or has no files that can be read.
        """
        self.weights = read_weights(sources)
        """Weight of each source of a mixture; they sum to 1. Empty if the corpus is not a mixture."""
        self.sources = list(self.weights or sources)
        self.text_column, self.text_option = text_column, text_option
        self.parts = [(part, source if self.weights else "") for source in self.sources for part in find_files(source)]
        """Files, hub data sets and the built-in corpus, each with its source in the mixture, if it is one."""
        files = [part for part, _ in self.parts if isinstance(part, Path)]
        if text_column is not None and files and not any(_has_columns(part) for part, _ in self.parts):
            raise ElektronError(
                f"{text_option} {text_column!r}: {', '.join(sources)} is plain text, which has no columns"
            )
        self.total_bytes = sum(file.stat().st_size for file in files) if len(files) == len(self.parts) else None
        """Size of all files on disk; None if a source is not a file."""
        self.undecodable: Counter[str] = Counter()
        """Number of undecodable bytes by file, so far."""
        self.layouts: Counter[str] = Counter()
        """Number of text files by how their documents are separated, so far."""
        self._reported = False
        """Whether a first pass is complete; later passes do not repeat its log messages."""
        self._finished_bytes = 0
        self._open_file: IO[bytes] | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of the names and sizes of files, the names of data sets, and the versions behind the built-in corpus."""
        parts: list[Any] = []
        for part, _ in self.parts:
            if isinstance(part, Path):
                parts.append([part.name, part.stat().st_size])
            elif part == BUILTIN:
                from elektron.corpus.documentation import versions

                parts.append([part, versions()])
            else:
                parts.append(part)
        return text_sha256(json.dumps([parts, self.text_column]))

    @cached_property
    def commits(self) -> dict[str, str]:
        """The commit of each hub data set, if the hub answers; this commit is the one that is read."""
        hub_datasets = [part for part, _ in self.parts if isinstance(part, str) and part.startswith(HUB)]
        return {name: commit for name in hub_datasets if (commit := dataset_commit(name)) is not None}

    @property
    def bytes_read(self) -> int:
        """How many of `total_bytes` have been read so far."""
        return self._finished_bytes + (self._open_file.tell() if self._open_file else 0)

    def with_progress(self, title: str) -> Iterator[Document]:
        """The documents of all sources in order, with a progress bar; raises as `__iter__`."""
        unit = "documents" if self.total_bytes is None else "bytes"
        with Progress(title, self.total_bytes, unit) as progress:
            for number, document in enumerate(self, start=1):
                yield document
                progress.update(number if self.total_bytes is None else self.bytes_read)

    def __iter__(self) -> Iterator[Document]:
        """The documents of all sources in order.

        Raises:
            ElektronError: a file is not text, is damaged or lacks the column, or there is no
                document at all.
        """
        self._finished_bytes = 0
        self.undecodable.clear()
        self.layouts.clear()
        is_empty = True
        for part, member in self.parts:
            for document in self._documents(part, member):
                is_empty = False
                yield document
        if is_empty:
            raise ElektronError(f"{', '.join(self.sources)}: the corpus is empty, it has no documents")
        if self.layouts and not self._reported:
            counts = [f"{layout} in {n} file{'s' * (n > 1)}" for layout, n in self.layouts.items()]
            log.info("text: %s", ", ".join(counts))
        self._reported = True

    def _documents(self, part: Path | str, member: str) -> Iterator[Document]:
        if part == BUILTIN:
            from elektron.corpus.documentation import training_docstrings

            for docstring in training_docstrings():
                yield Document(docstring.text, docstring.group, docstring.group, member)
            return
        if isinstance(part, Path):
            texts = self._texts_of_file(part)
        else:
            _, rows = dataset_rows(part, self.commits.get(part))
            texts = self._texts_of_rows(part, ((part, row) for row in rows))
        for text in texts:
            document = replace_surrogates(text, str(part), self.undecodable).strip()
            pieces = list(split_text(document, LONGEST_DOCUMENT))
            group = pieces[0] if len(pieces) > 1 else ""
            for piece in pieces:
                yield Document(piece, group, str(part), member)

    def _texts_of_file(self, path: Path) -> Iterator[str]:
        suffix = file_suffix(path)
        try:
            if suffix in PARQUET_SUFFIXES | ARROW_SUFFIXES:
                yield from self._columnar(path, suffix in ARROW_SUFFIXES)
            elif suffix in JSON_SUFFIXES:
                yield from self._texts_of_rows(path, read_json_rows(str(path), self._decode(path)))
            elif suffix in TABLE_SUFFIXES:
                yield from self._table(path, self._decode(path))
            else:
                yield from self._text(path, self._decode(path))
        except OSError as error:
            raise ElektronError(f"{path}: cannot be read ({error.strerror or first_line(error)})") from error
        if not self._reported:
            warn_undecodable(str(path), self.undecodable)

    def _text(self, path: Path, chunks: Iterator[str]) -> Iterator[str]:
        first = next(chunks, "")
        chunks = chain([first], chunks)
        if WIKIEXTRACTOR.fullmatch(path.stem) and first.lstrip().startswith("{"):
            return self._texts_of_rows(path, read_json_rows(str(path), chunks))
        lines = split_lines(chunks, LONGEST_DOCUMENT)
        if WIKI_DOCUMENT.match(first.lstrip()):
            self.layouts["documents of WikiExtractor"] += 1
            return _joined(lines, lambda line: line == "</doc>" or bool(WIKI_DOCUMENT.match(line)))
        if BLANK_LINE.search(first.strip()):
            self.layouts["blank lines between documents"] += 1
            return _joined(lines, lambda line: not line or line.isspace())
        self.layouts["one document a line"] += 1
        return lines

    def _texts_of_rows(self, name: Path | str, rows: Iterable[tuple[str, Any]]) -> Iterator[str]:
        """The text of each row; `rows` are pairs of the location of a row, for error messages, and the row."""
        column = None
        for where, row in rows:
            if isinstance(row, str):  # an item of a JSON array
                yield row
                continue
            column = column or self._column(name, {k: v is None or isinstance(v, str) for k, v in row.items()})
            if column not in row:
                raise ElektronError(f"{where}: no field {column!r}")
            text = row[column]
            if isinstance(text, str):
                yield text
            elif text is not None:
                kinds: dict[type, str] = {dict: ", but an object", list: ", but a list"}
                kind = kinds.get(type(text), "")
                raise ElektronError(f"{where}: field {column!r} is not text{kind}")

    def _table(self, path: Path, chunks: Iterator[str]) -> Iterator[str]:
        """The texts of a table with a header; the delimiter is the one that occurs most often in the header."""
        first, second = next(chunks, ""), next(chunks, "")
        lines = split_lines(limit_line_length(str(path), chain([first, second], chunks)))
        header = next(lines, "")
        if excel := EXCEL_SEPARATOR.fullmatch(header):
            header = next(lines, "")
        likeliest = "\t,;|" if file_suffix(path) == ".tsv" else ",;\t|"
        delimiter = excel[1] if excel else max(likeliest, key=header.count)
        skipped = 1 if excel else 0
        lines = chain([header], lines)
        rows: Iterator[tuple[int, list[str]]]
        if delimiter == "\t" and not _quotes_enclose(first, is_cut=bool(second)):
            if not self._reported:
                log.info("%s: quotation marks do not enclose fields and are read as text", path)
            rows = ((number, line.split("\t")) for number, line in enumerate(lines, 1 + skipped) if line.strip())
        else:
            rows = read_csv_rows(str(path), lines, delimiter, skipped=skipped)
        _, header_fields = next(rows, (0, []))
        if not header_fields:
            return
        names = [name.strip() for name in header_fields]
        column = names.index(self._column(path, dict.fromkeys(names, True)))
        for number, row in rows:
            if len(row) > column and not any(row[len(names) :]):
                yield row[column]
            elif row:
                advice = ": is there a separator inside its text?" if len(row) > len(names) else ""
                raise ElektronError(f"{path}, line {number}: {len(row)} columns, the header has {len(names)}{advice}")

    def _columnar(self, path: Path, is_arrow: bool) -> Iterator[str]:
        """The texts of a parquet file, or of an Arrow stream as `datasets` writes it."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._reading(path) as file:
            try:
                table = pa.ipc.open_stream(file) if is_arrow else pq.ParquetFile(file)
                schema = table.schema if is_arrow else table.schema_arrow
                column = self._column(path, {field.name: _is_text(field.type) for field in schema})
                if schema.names.count(column) > 1:
                    raise ElektronError(f"{path}: several columns are called {column!r}: rename all but one")
                kind = schema.field(column).type
                if pa.types.is_primitive(kind) or pa.types.is_nested(kind):
                    raise ElektronError(f"{path}: column {column!r} is not text, but {kind}")
                batches = table if is_arrow else table.iter_batches(256, columns=[column])
                for batch in batches:
                    # The file may contain strings that are not valid UTF-8, so they are decoded here.
                    values = batch.column(batch.schema.get_field_index(column))
                    texts = values.cast(pa.large_string()).cast(pa.large_binary())
                    for text in texts.to_pylist():
                        if text is not None:
                            yield text.decode(errors="surrogateescape")
            except (pa.ArrowException, UnicodeDecodeError) as error:  # the second: of column names
                kind = "Arrow stream" if is_arrow else "parquet"
                raise ElektronError(f"{path}: not readable {kind} ({first_line(error)})") from error

    def _column(self, where: Path | str, is_text: dict[str, bool]) -> str:
        """The column to read: that of --text, otherwise `text`, otherwise the only one with text."""
        candidates = [name for name, text in is_text.items() if text]
        if self.text_column or "text" in is_text:
            candidates = [self.text_column or "text"]
        if len(candidates) != 1:
            columns = comma_list(is_text)
            raise ElektronError(
                f"{where}: which column holds the text? Name it with {self.text_option}; there are: {columns}"
            )
        (column,) = candidates
        if column not in is_text:
            hint = did_you_mean(column, is_text) or f"; there are: {comma_list(is_text)}"
            raise ElektronError(f"{where}: no column {column!r}{hint}")
        return column

    def _decode(self, path: Path) -> Iterator[str]:
        """The text of a file in chunks, with `\\n` as line ends."""
        with self._reading(path) as file:
            yield from normalize_newlines(decode(str(path), decompress(path, file), self.undecodable))

    @contextmanager
    def _reading(self, path: Path) -> Iterator[IO[bytes]]:
        """Open a file; what is read from it counts towards `bytes_read`."""
        with path.open("rb") as file:
            self._open_file = file
            try:
                yield file
            finally:
                self._open_file = None
                self._finished_bytes += path.stat().st_size


def _has_columns(part: Path | str) -> bool:
    """Whether the text of this file or data set is in a named column."""
    if isinstance(part, str):
        return part != BUILTIN
    tables = JSON_SUFFIXES | TABLE_SUFFIXES | PARQUET_SUFFIXES | ARROW_SUFFIXES
    return file_suffix(part) in tables or WIKIEXTRACTOR.fullmatch(part.stem) is not None


def _quotes_enclose(beginning: str, is_cut: bool) -> bool:
    """Whether quotation marks enclose fields at the beginning of a tsv file, which may end in a field if `is_cut`."""
    lines = [line + "\n" for line in beginning.split("\n")]
    reader = csv.reader(lines, delimiter="\t", strict=True)
    rows_end = 0
    try:
        for _ in reader:
            rows_end = reader.line_num
    except csv.Error:
        is_at_end = reader.line_num == len(lines)
        return is_cut and is_at_end and len(lines) - rows_end < MAX_LINES_OF_FIELD
    return True


def _joined(lines: Iterator[str], separates: Callable[[str], bool]) -> Iterator[str]:
    """Join lines into documents; a line for which `separates` is true ends a document and is left out."""
    document: list[str] = []
    length = 0
    for line in lines:
        ends = separates(line)
        if ends or length + len(line) > LONGEST_DOCUMENT:
            yield "\n".join(document)
            document, length = [], 0
        if not ends:
            document.append(line)
            length += len(line) + 1
    yield "\n".join(document)


def _is_text(column_type: Any) -> bool:
    from pyarrow.types import is_dictionary, is_large_string, is_string, is_string_view

    if is_dictionary(column_type):
        column_type = column_type.value_type
    return bool(is_string(column_type) or is_large_string(column_type) or is_string_view(column_type))


class Sample:
    """A random sample of the beginnings of texts (reservoir sampling, Vitter 1985)."""

    def __init__(self, size: int = 2000) -> None:
        self.size = size
        self.texts: list[str] = []
        self._seen = 0
        self._random = random.Random(0)

    def add(self, text: str) -> None:
        """Add a text; if the sample is full, it may replace another one at random."""
        self._seen += 1
        if len(self.texts) < self.size:
            self.texts.append(text[:SAMPLED_CHARACTERS])
        elif (index := self._random.randrange(self._seen)) < self.size:
            self.texts[index] = text[:SAMPLED_CHARACTERS]
