"""Stream text files: decompress, decode, split into lines, and parse rows of JSON or csv.

Text is UTF-8, or UTF-16 and UTF-32 with a byte order mark. Bytes that cannot be decoded are replaced and
counted, unless there are so many of them that the file must be something else.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

from elektron.errors import ElektronError, first_line

log = logging.getLogger(__name__)

FIRST_BYTES = 1_000_000
"""Size of the first chunk of a file, from which its encoding is detected."""
CHUNK_BYTES = 1 << 17
"""Size of later chunks: small, because one rare character can make a Python string take four bytes per character."""
MAX_UNDECODABLE = 0.1
"""A file is refused if more than this fraction of the bytes of its first chunk cannot be decoded."""
MAX_FIELD_CHARACTERS = 1 << 28
"""Limit of a csv field or a line; if it is longer, a quotation mark is never closed, or the format is another one."""

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
JSON_SUFFIXES = {".jsonl", ".json"}
TABLE_SUFFIXES = {".csv", ".tsv"}
PARQUET_SUFFIXES = {".parquet"}
KNOWN_SUFFIXES = {".txt"} | JSON_SUFFIXES | TABLE_SUFFIXES | PARQUET_SUFFIXES

BOMS = {  # the longer ones first: UTF-32's begins like UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
EXCEL_SEPARATOR = re.compile(r'"?sep=([,;|\t])"?', re.IGNORECASE)
"""First line of a csv file in which Excel names the delimiter."""
CSV_FAULTS = {
    "unexpected end": "a quotation mark is opened here and never closed",
    "field limit": "a quotation mark is opened here and never closed",
    "expected after": "a quotation mark inside a field is not doubled",
    "new-line": "a carriage return outside quotation marks: remove it",
}
"""What the errors of the csv module mean, by a part of their message."""
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
BETWEEN_VALUES = re.compile(r"[ \t\r\n,]*")


def file_suffix(path: Path) -> str:
    """The suffix that tells the format, in lower case, without that of the compression."""
    plain = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return plain.suffix.lower()


def decompress(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of an open file in chunks, decompressed where its suffix says so."""
    import pyarrow as pa

    stream: Any = file
    if compression := COMPRESSIONS.get(path.suffix.lower()):
        if path.stat().st_size == 0:
            raise ElektronError(f"{path}: empty, so not a valid {compression} file: fetch it again")
        stream = pa.CompressedInputStream(pa.PythonFile(file, "r"), compression)
    size = FIRST_BYTES
    while True:
        try:
            chunk = stream.read(size)
        except OSError as error:
            if stream is file:
                raise
            raise ElektronError(f"{path}: damaged ({first_line(error)}): fetch it again") from error
        if not chunk:
            return
        yield chunk
        size = CHUNK_BYTES


def decode(
    name: str,
    chunks: Iterator[bytes],
    undecodable: Counter[str],
    encoding: str | None = None,
    advice: str = "convert it to UTF-8",
) -> Iterator[str]:
    """Decode the chunks of a file; bytes that cannot be decoded are replaced and counted.

    Args:
        name: name of the file, for error messages and the count.
        chunks: the bytes of the file.
        undecodable: counts the replaced bytes by file name.
        encoding: the encoding, if it is known; unless it is UTF-8, a byte that cannot be decoded is an error.
        advice: what the error message advises for text that is not in UTF-8.

    Raises:
        ElektronError: the file is not text, or not in this encoding.
    """
    first = next(chunks, b"")
    if encoding is None:
        encoding = next((name for bom, name in BOMS.items() if first.startswith(bom)), "utf-8")
    encoding = codecs.lookup(encoding).name
    if encoding == "utf-8":
        encoding = "utf-8-sig"
    is_utf8 = encoding.startswith("utf-8")
    if is_utf8:
        _refuse_binary(name, first, advice)
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape" if is_utf8 else "strict")
    chunks = chain([first], chunks)
    del first  # otherwise it would stay in memory until the end of the file
    try:
        for chunk in chunks:
            yield replace_surrogates(decoder.decode(chunk), name, undecodable)
        yield replace_surrogates(decoder.decode(b"", final=True), name, undecodable)
    except UnicodeDecodeError as error:
        raise ElektronError(f"{name}: not valid {encoding}: convert it to UTF-8") from error


def _refuse_binary(name: str, first: bytes, advice: str) -> None:
    """Raise ElektronError if the first chunk of a file is not text in UTF-8."""
    if b"\0" in first:
        raise ElektronError(f"{name}: a binary file (it has NUL bytes): give text files")
    # The chunk may end inside a character; what is cut off there is not counted.
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(first)
    undecodable = len(LONE_SURROGATE.findall(text))
    if undecodable > MAX_UNDECODABLE * len(first):
        guess = _guess_encoding(first)
        raise ElektronError(
            f"{name}: {undecodable / len(first):.0%} of it is not valid UTF-8: a binary file, or text "
            f"in another encoding{f', perhaps {guess}' if guess else ''}: {advice}"
        )


def guess_encoding(name: str) -> str:
    """The likely encoding of a file; an empty string if it is UTF-8 or cannot be guessed."""
    path = Path(name)
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return _guess_encoding(next(decompress(path, file), b""))


def _guess_encoding(first: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(first[:CHUNK_BYTES]).best()
    return "" if best is None or best.encoding in ("ascii", "utf_8") else best.encoding


def replace_surrogates(text: str, name: str, undecodable: Counter[str]) -> str:
    """Replace and count lone surrogates: undecodable bytes, or unpaired escapes in JSON."""
    try:
        text.encode()  # several times faster than a search
    except UnicodeEncodeError:
        text, count = LONE_SURROGATE.subn("\ufffd", text)
        undecodable[name] += count
    return text


def warn_undecodable(name: str, undecodable: Counter[str]) -> None:
    """Log how many bytes of a file were replaced, if any were."""
    if count := undecodable[name]:
        guess = guess_encoding(name)
        perhaps = f"; the file may be in {guess}" if guess else ""
        log.warning(f"{name}: {count:,} bytes are not valid UTF-8 and were replaced{perhaps}")


def normalize_newlines(chunks: Iterable[str]) -> Iterator[str]:
    """The same text with every line end as `\\n`."""
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    for chunk in chunks:
        yield newlines.decode(chunk)
    yield newlines.decode("", final=True)


def split_lines(chunks: Iterable[str], max_length: int = sys.maxsize) -> Iterator[str]:
    """Split text into lines without line ends; a line of more than `max_length` characters is split into parts."""
    rest: list[str] = []
    length = 0
    for chunk in chunks:
        *complete, last = chunk.split("\n")
        for line in complete:
            yield from split_text("".join([*rest, line]), max_length) or [""]
            rest, length = [], 0
        rest.append(last)
        length += len(last)
        if length > max_length:
            *parts, last = split_text("".join(rest), max_length)
            yield from parts
            rest, length = [last], len(last)
    if rest:
        yield from split_text("".join(rest), max_length)


def split_text(text: str, max_length: int) -> list[str]:
    """Split a text into parts of at most `max_length` characters, between lines or words if possible."""
    parts = []
    begin = 0
    while len(text) - begin > max_length:
        end = begin + max_length
        for separator in ("\n", " "):
            position = text.rfind(separator, begin + max_length // 2, end)
            if position >= 0:
                end = position
                break
        parts.append(text[begin:end].strip())
        begin = end
    if begin < len(text):
        parts.append(text[begin:])
    return parts


def limit_line_length(name: str, chunks: Iterable[str]) -> Iterator[str]:
    """Pass the chunks on unchanged, but refuse very long lines: for readers that hold a line in memory.

    Raises:
        ElektronError: a line has more than MAX_FIELD_CHARACTERS.
    """
    length = 0
    for chunk in chunks:
        end = chunk.rfind("\n")
        length = len(chunk) - end - 1 + (length if end < 0 else 0)
        if length > MAX_FIELD_CHARACTERS:
            raise ElektronError(
                f"{name}: a line of more than {MAX_FIELD_CHARACTERS:,} characters: is it in another format?"
            )
        yield chunk


def read_json_rows(name: str, chunks: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Stream the rows of a JSON file, each with its location for error messages.

    The file has one object per line, an array of objects or strings, or objects that span several lines.

    Raises:
        ElektronError: the file has another form.
    """
    first = next(chunks, "")
    chunks = chain([first], chunks)
    beginning = first.lstrip()
    row = beginning.partition("\n")[0]
    if beginning.startswith("[") or (row.startswith("{") and _is_incomplete(row)):
        values = _read_json_document(name, chunks, in_array=beginning.startswith("["))
        for number, value in enumerate(values, start=1):
            where = f"{name}, row {number}"
            if not isinstance(value, dict | str):
                raise ElektronError(f"{where}: neither a JSON object nor a text")
            yield where, value
        return
    for number, line in enumerate(split_lines(limit_line_length(name, chunks)), start=1):
        if line and not line.isspace():
            where = f"{name}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ElektronError(
                    f"{where}: not valid JSON ({first_line(error)}); each line must hold one object"
                ) from error
            if not isinstance(row, dict):
                raise ElektronError(f"{where}: not a JSON object")
            yield where, row


def _is_incomplete(line: str) -> bool:
    """Whether a JSON value begins on this line and continues on the next."""
    try:
        json.loads(line)
    except (ValueError, RecursionError) as error:  # the first also for an integer of too many digits
        return isinstance(error, json.JSONDecodeError) and error.pos >= len(line.rstrip()) - 1
    return False


def _read_json_document(name: str, chunks: Iterator[str], in_array: bool) -> Iterator[Any]:
    """The values of a JSON array, or of concatenated JSON values."""
    decoder = json.JSONDecoder()
    text, needed = "", 0
    if in_array:
        chunks = chain([next(chunks).lstrip().removeprefix("[")], chunks)
    for chunk in chain(chunks, [""]):
        text += chunk
        if chunk and len(text) < needed:
            continue
        position = 0
        while True:
            position = BETWEEN_VALUES.match(text, position).end()  # type: ignore[union-attr]  # always matches
            if position == len(text) or (in_array and text[position] == "]"):
                break
            try:
                value, end = decoder.raw_decode(text, position)
            except (ValueError, RecursionError) as error:
                if not chunk or len(text) - position > MAX_FIELD_CHARACTERS:
                    raise ElektronError(f"{name}: not valid JSON ({first_line(error)})") from error
                break
            if end == len(text) and chunk:
                break  # a number may continue
            position = end
            yield value
        if in_array and text[position : position + 1] == "]":
            if text[position + 1 :].strip() or next(chunks, "").strip():
                raise ElektronError(f"{name}: there is more after the end of the JSON array")
            return
        text = text[position:]
        needed = 2 * len(text)
    if in_array:
        raise ElektronError(f"{name}: the JSON array is not closed: is the file truncated?")


def read_csv_rows(
    name: str, lines: Iterable[str], delimiter: str, advice: str = "", skipped: int = 0
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table whose fields may be quoted, each with the number of its first line.

    Args:
        name: name of the file, for error messages.
        lines: the lines of the file, without line ends.
        delimiter: the character between fields.
        advice: end of the error message, such as what to do if quotation marks do not enclose fields.
        skipped: number of lines of the file before `lines`.

    Raises:
        ElektronError: a row is not valid csv, for example because a quotation mark is never closed.
    """
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1 + skipped
        try:
            fields = next(reader, None)
        except csv.Error as error:
            fault = next(
                (fault for part, fault in CSV_FAULTS.items() if part in str(error)), f"not valid csv ({error})"
            )
            raise ElektronError(f"{name}, line {number}: {fault}{advice}") from error
        if fields is None:
            return
        if len(fields) > 1 or (fields and not fields[0].isspace()):
            yield number, fields
