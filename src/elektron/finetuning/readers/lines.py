"""The lines of a text file or of standard input, numbered, with a look ahead for guessing.

Lines end at `\\n` alone, so that what is aligned by lines stays so, and carriage returns before it
are dropped; a file that knows nothing but carriage returns has its lines ended by them. Of standard
input only one line is looked at before the first answer, so that typing gets one.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Generic, TypeVar

from elektron.errors import ElektronError, first_line, suggest_path
from elektron.io.datasets import HUB
from elektron.io.text import (
    FIRST_BYTES,
    decode,
    decompress,
    file_suffix,
    limit_line_length,
    normalize_newlines,
    split_lines,
    warn_undecodable,
)

STDIN = "-"
CURE = "give --encoding"
"""For text in another encoding than UTF-8."""
SAMPLE_LINES = 1000
SAMPLE_CHARACTERS = 1_000_000

Item = TypeVar("Item")


class Ahead(Iterator[Item], Generic[Item]):
    """An iterator whose next items can be looked at before they are taken."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._seen: deque[Item] = deque()

    def __next__(self) -> Item:
        return self._seen.popleft() if self._seen else next(self._items)

    def ahead(self, count: int) -> list[Item]:
        """Up to `count` of the items that come next."""
        while len(self._seen) < count and self._see_another():
            pass
        return list(self._seen)[:count]

    def _see_another(self) -> bool:
        for item in self._items:
            self._seen.append(item)
            return True
        return False


class Lines(Ahead[tuple[int, str]]):
    """Numbered lines without their ends, of one file or of standard input."""

    def __init__(self, name: str, lines: Iterable[str], suffix: str = "") -> None:
        super().__init__(enumerate(lines, start=1))
        self.name = name
        """For messages."""
        self.suffix = suffix
        """Tells the format; without that of the compression."""

    @property
    def is_stdin(self) -> bool:
        return self.name == STDIN

    def sample(self) -> list[str]:
        """The first lines, for guessing; of standard input only the first."""
        count = 1 if self.is_stdin else SAMPLE_LINES
        characters = 0
        while len(self._seen) < count and characters < SAMPLE_CHARACTERS and self._see_another():
            characters += len(self._seen[-1][1])
        return [line for _, line in list(self._seen)[:count]]


def open_lines(source: str, stdin: IO[bytes] | None = None, encoding: str | None = None) -> Lines:
    """The lines of a file, or of standard input where the source is `-`.

    Raises:
        ElektronError: there is no such file or encoding, or, at a line, it is no text or is damaged.
    """
    if encoding is not None:
        refuse_unknown_encoding(encoding)
    if source == STDIN:
        return Lines(STDIN, _lines_of_stdin(stdin or sys.stdin.buffer, encoding))
    path = existing_file(source)
    return Lines(source, _lines_of_file(path, encoding), file_suffix(path))


def refuse_unknown_encoding(name: str) -> None:
    """Raise ElektronError if this is no encoding of text."""
    try:
        "".encode(name)
    except (LookupError, ValueError, TypeError) as error:
        raise ElektronError(
            f"--encoding {name!r} is no encoding of text, such as cp1252"
        ) from error


def existing_file(source: str) -> Path:
    """The path of a source that must be a file."""
    path = Path(source)
    try:
        if path.is_dir():
            raise ElektronError(f"{source}: a folder: give its files, or {HUB}{source}")
        if not path.exists():
            raise ElektronError(f"{source}: no such file{suggest_path(path)}")
    except OSError as error:
        raise ElektronError(f"{source}: cannot be read ({first_line(error)})") from error
    return path


def is_blank(line: str) -> bool:
    return not line or line.isspace()


def _lines_of_file(path: Path, encoding: str | None) -> Iterator[str]:
    undecodable: Counter[str] = Counter()
    try:
        with path.open("rb") as file:
            chunks = decode(str(path), decompress(path, file), undecodable, encoding, CURE)
            first = next(chunks, "")
            chunks = chain([first], chunks)
            if "\r" in first and "\n" not in first:
                chunks = normalize_newlines(chunks)
            for line in split_lines(limit_line_length(str(path), chunks)):
                yield line.rstrip("\r")
    except OSError as error:
        raise ElektronError(f"{path}: cannot be read ({first_line(error)})") from error
    warn_undecodable(str(path), undecodable)


def _lines_of_stdin(stdin: IO[bytes], encoding: str | None) -> Iterator[str]:
    """What has arrived is read, not a full chunk: a line is answered as soon as it is there."""
    read = getattr(stdin, "read1", stdin.read)
    undecodable: Counter[str] = Counter()
    chunks = decode(STDIN, iter(lambda: read(FIRST_BYTES), b""), undecodable, encoding, CURE)
    for line in split_lines(limit_line_length(STDIN, chunks)):
        yield line.rstrip("\r")
    warn_undecodable(STDIN, undecodable)
