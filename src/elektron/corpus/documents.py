"""Documents out of whatever holds text, one at a time, whatever the size of the corpus.

A source is a file, a folder, a glob, `hf:NAME[:config][:split]` for a data set of the hub, or
`builtin:docs`. The end of a file's name says how it is read: `.txt` and unknown endings as text,
`.jsonl` and `.json` as one JSON object a line, `.csv` and `.tsv` as a table with a header,
`.parquet` by record batches; all but the last also with `.gz` or `.zst` behind. In text, blank
lines separate documents if the first megabyte has one; otherwise each line is a document.

Text is UTF-8, or UTF-16 and UTF-32 with a byte order mark. What cannot be decoded is replaced and
counted, unless there is so much of it that the file must be something else. Documents longer
than LONGEST_DOCUMENT are handed on in parts, so that one endless document needs no endless memory.
"""

from __future__ import annotations

import codecs
import csv
import glob
import hashlib
import io
import json
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from elektron.configuration import suggestion
from elektron.errors import ElektronError

log = logging.getLogger(__name__)

CHUNK_BYTES = 1_000_000
LONGEST_DOCUMENT = 1_000_000
"""Characters."""
MOST_UNDECODABLE = 0.1
"""Share of the first chunk; a file with more of it is not text."""
LONGEST_FIELD = 1 << 28
"""Characters of a csv field: more is a quotation mark that is never closed."""

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
TEXT_SUFFIXES = {".txt"}
JSON_SUFFIXES = {".jsonl", ".json"}
TABLE_SUFFIXES = {".csv", ".tsv"}
PARQUET_SUFFIXES = {".parquet"}
KNOWN_SUFFIXES = TEXT_SUFFIXES | JSON_SUFFIXES | TABLE_SUFFIXES | PARQUET_SUFFIXES
HUB = "hf:"
BUILTIN = "builtin:docs"

BOMS = {  # the longer ones first: UTF-32's begins like UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True, slots=True)
class Document:
    """One text."""

    text: str
    group: str = ""
    """Documents of one group stay on one side of a split; empty: the document stands alone."""


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
        self.parts = [part for source in sources for part in _parts(source)]
        files = [part for part in self.parts if isinstance(part, Path)]
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
                Document(docstring.text, docstring.group) for docstring in training_docstrings()
            )
            return
        texts = self._texts_of_file(part) if isinstance(part, Path) else self._texts_of_hub(part)
        for text in texts:
            for bounded in _bounded(self._without_surrogates(text, str(part)).strip()):
                yield Document(bounded)

    def _texts_of_hub(self, name: str) -> Iterator[str]:
        """A data set of the hub, or of a local folder as `datasets` reads it, streamed."""
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError

        path, config, split = [*name.removeprefix(HUB).split(":"), "", ""][:3]
        try:
            rows = load_dataset(path, config or None, split=split or "train", streaming=True)
            column = None
            for row in rows:
                column = column or self._column(
                    name, {k: isinstance(v, str) for k, v in row.items()}
                )
                if row[column] is not None:
                    yield str(row[column])
        except (DatasetsError, OSError, ValueError) as error:
            raise ElektronError(f"{name}: cannot be loaded ({_first_line(error)})") from error

    def _texts_of_file(self, path: Path) -> Iterator[str]:
        suffix = _suffix(path)
        try:
            if suffix in PARQUET_SUFFIXES:
                yield from self._parquet(path)
                return
            chunks = self._decoded(path)
            if suffix in JSON_SUFFIXES:
                yield from self._json_lines(path, chunks)
            elif suffix in TABLE_SUFFIXES:
                yield from self._table(path, chunks)
            else:
                yield from self._plain_text(chunks)
        except OSError as error:
            raise ElektronError(f"{path}: cannot be read ({_first_line(error)})") from error
        if self.undecodable[str(path)]:
            log.warning(
                "%s: %s bytes are not valid UTF-8 and were replaced",
                path,
                f"{self.undecodable[str(path)]:,}",
            )

    def _plain_text(self, chunks: Iterator[str]) -> Iterator[str]:
        first = next(chunks, "")
        blank_lines = BLANK_LINE.search(first.strip()) is not None
        self.layouts["blank lines between documents" if blank_lines else "one document a line"] += 1
        lines = _lines(chain([first], chunks), LONGEST_DOCUMENT)
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

    def _json_lines(self, path: Path, chunks: Iterator[str]) -> Iterator[str]:
        column = None
        for number, line in enumerate(_lines(chunks), start=1):
            if not line or line.isspace():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ElektronError(
                    f"{path}, line {number}: not valid JSON ({_first_line(error)}); "
                    "each line must hold one object"
                ) from error
            if not isinstance(row, dict):
                raise ElektronError(f"{path}, line {number}: not a JSON object")
            column = column or self._column(path, {k: isinstance(v, str) for k, v in row.items()})
            if column not in row:
                raise ElektronError(f"{path}, line {number}: no field {column!r}")
            text = row[column]
            if isinstance(text, str):
                yield text
            elif text is not None:
                raise ElektronError(f"{path}, line {number}: field {column!r} is not text")

    def _table(self, path: Path, chunks: Iterator[str]) -> Iterator[str]:
        """A table with a header; the separator is the one that the header has most of."""
        lines = (line + "\n" for line in _lines(chunks))
        header = next(lines, "")
        delimiter = max("\t,;|" if _suffix(path) == ".tsv" else ",;\t|", key=header.count)
        csv.field_size_limit(LONGEST_FIELD)
        reader = csv.reader(chain([header], lines), delimiter=delimiter)
        try:
            names = next(reader, [])
            if not names:
                return
            column = names.index(self._column(path, dict.fromkeys(names, True)))
            for row in reader:
                if len(row) > column:
                    yield row[column]
                elif row:
                    raise ElektronError(
                        f"{path}, line {reader.line_num}: "
                        f"{len(row)} columns, the header has {len(names)}"
                    )
        except csv.Error as error:
            raise ElektronError(
                f"{path}, line {reader.line_num}: not valid csv ({error})"
            ) from error

    def _parquet(self, path: Path) -> Iterator[str]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._reading(path) as file:
            try:
                table = pq.ParquetFile(file)
                column = self._column(
                    path, {field.name: _holds_text(field.type) for field in table.schema_arrow}
                )
                for batch in table.iter_batches(batch_size=256, columns=[column]):
                    texts = batch.column(0).cast(pa.large_string())
                    yield from (text for text in texts.to_pylist() if text is not None)
            except pa.ArrowException as error:
                raise ElektronError(
                    f"{path}: not readable parquet ({_first_line(error)})"
                ) from error
            finally:
                self._open_file = None

    def _column(self, where: Path | str, is_text: dict[str, bool]) -> str:
        """The column to read: the one asked for, else `text`, else the only one with text."""
        texts = [name for name, text in is_text.items() if text]
        wanted = self.text_column or ("text" if "text" in is_text else None)
        if wanted is None and len(texts) == 1:
            wanted = texts[0]
        there = ", ".join(name if len(name) <= 30 else name[:29] + "…" for name in is_text)
        if wanted is None:
            raise ElektronError(
                f"{where}: which column holds the text? give it with --text; there are: {there}"
            )
        if wanted not in is_text:
            near = suggestion(wanted, is_text)
            raise ElektronError(f"{where}: no column {wanted!r}{near or f'; there are: {there}'}")
        return wanted

    def _decoded(self, path: Path) -> Iterator[str]:
        """The text of a file by chunks, with line ends as `\\n`, refused if it is not text."""
        with self._reading(path) as file:
            try:
                chunks = _decompressed(path, file)
                first = next(chunks, b"")
                encoding = next(
                    (name for bom, name in BOMS.items() if first.startswith(bom)), "utf-8"
                )
                errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
                if errors != "strict":
                    _refuse_binary(path, first)
                decoder = io.IncrementalNewlineDecoder(
                    codecs.getincrementaldecoder(encoding)(errors), translate=True
                )
                for chunk in chain([first], chunks):
                    yield self._without_surrogates(decoder.decode(chunk), str(path))
                yield self._without_surrogates(decoder.decode(b"", final=True), str(path))
            except UnicodeDecodeError as error:
                raise ElektronError(f"{path}: not valid {encoding}: convert it to UTF-8") from error

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

    def _without_surrogates(self, text: str, where: str) -> str:
        """Replace what stands for undecodable bytes, or was an unpaired escape in JSON."""
        try:
            text.encode()  # several times faster than a search
        except UnicodeEncodeError:
            text, count = LONE_SURROGATE.subn("\ufffd", text)
            self.undecodable[where] += count
        return text


def _parts(source: str) -> Sequence[Path | str]:
    """The files of a source, or the source itself where it is none."""
    if source == BUILTIN or source.startswith(HUB):
        return [source]
    path = Path(source)
    if path.is_dir():
        files = _files_in(path)
        if not files:
            raise ElektronError(
                f"{source}: a folder without text; files must end in "
                f"{', '.join(sorted(KNOWN_SUFFIXES))}, plain or with .gz or .zst behind"
            )
        return files
    if path.is_file():
        return [path]
    if path.exists():
        raise ElektronError(f"{source}: neither a file nor a folder")
    if glob.has_magic(source):
        matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 (absolute ones too)
        if files := [Path(match) for match in matches if Path(match).is_file()]:
            return files
        raise ElektronError(f"{source}: no file matches")
    if source.startswith("builtin:"):
        raise ElektronError(f"{source}: no such corpus: did you mean {BUILTIN}?")
    raise ElektronError(f"{source}: no such file or folder{_nearest(path)}")


def _files_in(folder: Path) -> list[Path]:
    """Files with known endings at any depth, sorted; hidden ones are left out."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if _suffix(path) in KNOWN_SUFFIXES)


def _nearest(path: Path) -> str:
    """A hint at what lies where the path stops to exist."""
    missing = path
    while not missing.parent.exists():
        missing = missing.parent
    if not missing.parent.is_dir():
        return ""
    names = [entry.name for entry in missing.parent.iterdir()]
    return suggestion(missing.name, names, label=lambda name: str(missing.parent / name))


def _suffix(path: Path) -> str:
    """The ending that tells the format, in lower case, without that of the compression."""
    plain = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return plain.suffix.lower()


def _decompressed(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a file by chunks, unpacked where its name says that it is packed."""
    import pyarrow as pa

    stream: Any = file
    if compression := COMPRESSIONS.get(path.suffix.lower()):
        if path.stat().st_size == 0:
            raise ElektronError(f"{path}: empty, though {compression} never is: fetch it again")
        stream = pa.CompressedInputStream(pa.PythonFile(file, "r"), compression)
    while True:
        try:
            chunk = stream.read(CHUNK_BYTES)
        except OSError as error:
            if stream is file:
                raise
            raise ElektronError(
                f"{path}: damaged ({_first_line(error)}): fetch it again"
            ) from error
        if not chunk:
            return
        yield chunk


def _refuse_binary(path: Path, first: bytes) -> None:
    """Raise ElektronError if the beginning of a file is no text in UTF-8."""
    if b"\0" in first:
        raise ElektronError(f"{path}: a binary file (it has NUL bytes), give files of text")
    # The chunk may end inside a character; what is cut off there is not counted.
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(first)
    undecodable = len(LONE_SURROGATE.findall(text))
    if undecodable > MOST_UNDECODABLE * len(first):
        raise ElektronError(
            f"{path}: {undecodable / len(first):.0%} of it is not valid UTF-8: "
            "a binary file, or text to be converted to UTF-8"
        )


def _lines(chunks: Iterable[str], longest: int = sys.maxsize) -> Iterator[str]:
    """Lines without their ends; one of more than `longest` characters comes in parts."""
    rest: list[str] = []
    length = 0
    for chunk in chunks:
        *whole, last = chunk.split("\n")
        for line in whole:
            yield from _bounded("".join([*rest, line]), longest) or [""]
            rest, length = [], 0
        rest.append(last)
        length += len(last)
        if length > longest:
            *parts, last = _bounded("".join(rest), longest)
            yield from parts
            rest, length = [last], len(last)
    if rest:
        yield from _bounded("".join(rest), longest)


def _bounded(text: str, longest: int = LONGEST_DOCUMENT) -> list[str]:
    """A text in parts of at most `longest` characters, cut between lines or words if possible."""
    parts = []
    begin = 0
    while len(text) - begin > longest:
        end = begin + longest
        for separator in ("\n", " "):
            place = text.rfind(separator, begin + longest // 2, end)
            if place >= 0:
                end = place
                break
        parts.append(text[begin:end].strip())
        begin = end
    if begin < len(text):
        parts.append(text[begin:])
    return parts


def _holds_text(column_type: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(column_type):
        column_type = column_type.value_type
    return any(
        check(column_type)
        for check in (types.is_string, types.is_large_string, types.is_string_view)
    )


def _first_line(error: BaseException) -> str:
    """What an error says, on one line and without its tail."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
