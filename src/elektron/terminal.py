"""Write any text to standard output and standard error, so that a terminal does not interpret it.

File names, labels and texts are untrusted. Control characters and terminal escapes are written as `\\x1b`, and so are
characters that the stream's encoding lacks.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from elektron.errors import ElektronError

if TYPE_CHECKING:
    from rich.console import Console

# Not printable according to `str.isprintable`, but part of ordinary text: no-break and ideographic spaces and
# the joiners of Persian and of Indian scripts.
ORDINARY = "\u00a0\u3000\u200c\u200d"


def escape_control(text: str) -> str:
    """The text with control characters, terminal escapes and the like written as `\\x1b`."""
    return "".join(
        character if character.isprintable() or character in ORDINARY else character.encode("unicode_escape").decode()
        for character in text
    )


@dataclass
class Output:
    """Whether progress and results are written at present."""

    progress: bool = False
    results: bool = False


output = Output()


@contextmanager
def output_enabled(progress: bool = True, results: bool = True) -> Iterator[None]:
    """Enable progress and results inside the block, as commands do; by default functions write neither."""
    before = output.progress, output.results
    output.progress, output.results = progress, results
    try:
        yield
    finally:
        output.progress, output.results = before


class StdoutClosedError(BrokenPipeError):
    """The reader of standard output has closed it, as `head` does after a few lines."""


@contextmanager
def stdout() -> Iterator[TextIO]:
    """Standard output to write to, flushed when the block ends.

    Raises:
        StdoutClosedError: nobody reads it any longer.
        ElektronError: it cannot be written.
    """
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise StdoutClosedError from error
    except OSError as error:
        raise ElektronError(f"standard output cannot be written ({error.strerror})") from error


def echo(text: str) -> None:
    """Print text of one or more lines on standard output, if results are enabled."""
    if output.results:
        with stdout() as out:
            out.writelines(f"{escape_control(line)}\n" for line in text.split("\n"))


@contextmanager
def rich_console() -> Iterator[Console]:
    """A rich console whose output is written to standard output when the block ends, if results are enabled."""
    from rich.console import Console

    console = Console(highlight=False)
    with console.capture() as printed:
        yield console
    if output.results:
        with stdout() as out:
            out.write(printed.get())


def print_error(message: str) -> None:
    """Write one line on standard error; errors of writing are ignored."""
    with suppress(OSError):
        sys.stderr.write(f"elektron: {escape_control(message)}\n")
        sys.stderr.flush()


def configure_streams() -> None:
    """Make standard output and error accept any text, and replace closed streams by the null device."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def release_streams() -> None:
    """Redirect streams that cannot be written to the null device: Python flushes them at exit, which would fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
