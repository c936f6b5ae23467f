"""Read the numbered lines of a text file or of standard input, with look-ahead to detect the format.

Lines end at `\\n` alone, and carriage returns before it are removed; a file that has only carriage returns is
split at these. From standard input only one line is read ahead, so that a typed line is answered at once.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import IO, Generic, TypeVar

from elektron.errors import ElektronError, first_line, suggest_path
from elektron.finetuning.in_memory import Content
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
SAMPLE_LINES = 1000
SAMPLE_CHARACTERS = 1_000_000
CONLL_U_COMMENT = re.compile(r"# ?[\w.:]+( =|$)")

Item = TypeVar("Item")


class Peekable(Iterator[Item], Generic[Item]):
    """An iterator whose next items can be looked at before they are taken."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._peeked: deque[Item] = deque()

    def __next__(self) -> Item:
        return self._peeked.popleft() if self._peeked else next(self._items)

    def peek(self, count: int) -> list[Item]:
        """Up to `count` of the next items."""
        self._peeked.extend(islice(self._items, max(0, count - len(self._peeked))))
        return list(islice(self._peeked, count))


class Lines(Peekable[tuple[int, str]]):
    """Numbered lines without their ends, of one file or of standard input."""

    def __init__(self, name: str, lines: Iterable[str], suffix: str = "") -> None:
        super().__init__(enumerate(lines, start=1))
        self.name = name
        """Name of the source, for messages."""
        self.suffix = suffix
        """The file suffix that tells the format, without the suffix of a compression."""

    @property
    def is_stdin(self) -> bool:
        return self.name == STDIN

    @cached_property
    def sample(self) -> list[str]:
        """The first lines; from standard input one line and any CoNLL-U comments before it."""
        numbered_lines: list[tuple[int, str]] = []
        characters = 0
        for number, line in self:
            numbered_lines.append((number, line))
            characters += len(line)
            is_full = number == SAMPLE_LINES or characters >= SAMPLE_CHARACTERS
            if is_full or (self.is_stdin and not CONLL_U_COMMENT.match(line)):
                break
        self._peeked.extendleft(reversed(numbered_lines))
        return [line for _, line in numbered_lines]

    @cached_property
    def content(self) -> list[str]:
        """The lines of the sample that are not blank."""
        return [line for line in self.sample if not is_blank(line)]


def open_lines(source: str, stdin: IO[bytes] | None = None, encoding: str | None = None) -> Lines:
    """The lines of a file, or of standard input where the source is `-`.

    Raises:
        ElektronError: there is no such file or encoding; or, while lines are read, the file is not text or is damaged.
    """
    if encoding is not None:
        try:
            "".encode(encoding)
        except (LookupError, ValueError, TypeError) as error:
            raise ElektronError(f"--encoding {encoding!r} is not a text encoding") from error
    if isinstance(source, Content):
        chunks = iter([source.content])
        return Lines(source, _decoded_lines(source, chunks, encoding), file_suffix(Path(source)))
    if source != STDIN:
        path = existing_file(source)
        return Lines(source, _decoded_lines(str(path), _chunks_of_file(path), encoding), file_suffix(path))
    stdin = stdin or sys.stdin.buffer
    read = getattr(stdin, "read1", stdin.read)  # what has arrived, without waiting for more
    return Lines(STDIN, _decoded_lines(STDIN, iter(lambda: read(FIRST_BYTES), b""), encoding))


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


def _chunks_of_file(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from decompress(path, file)
    except OSError as error:
        raise ElektronError(f"{path}: cannot be read ({first_line(error)})") from error


def _decoded_lines(name: str, chunks: Iterator[bytes], encoding: str | None) -> Iterator[str]:
    undecodable: Counter[str] = Counter()
    texts = decode(name, chunks, undecodable, encoding, "give --encoding")
    first = next(texts, "")
    texts = chain([first], texts)
    if "\r" in first and "\n" not in first:
        texts = normalize_newlines(texts)
    for line in split_lines(limit_line_length(name, texts)):
        yield line.rstrip("\r")
    warn_undecodable(name, undecodable)
