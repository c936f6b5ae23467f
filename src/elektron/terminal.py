"""Standard output and standard error: any text can be written there, and no terminal obeys it.

Names of files, labels and texts come from others. Characters that a terminal would act on are escaped, as are
those that its encoding lacks.
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

# Not printable by Unicode's table, but part of ordinary text: no-break and ideographic spaces and
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
    """What is written at present."""

    progress: bool = False
    results: bool = False


output = Output()


@contextmanager
def output_enabled(progress: bool = True, results: bool = True) -> Iterator[None]:
    """Write progress and results inside the block, as commands do; functions called from Python write neither."""
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
    """rich's console, for standard output; it is written when the block ends, if results are enabled."""
    from rich.console import Console

    console = Console(highlight=False)
    with console.capture() as printed:
        yield console
    if output.results:
        with stdout() as out:
            out.write(printed.get())


def print_error(message: str) -> None:
    """Write one line on standard error; if that cannot be written, nobody reads it."""
    with suppress(OSError):
        sys.stderr.write(f"elektron: {escape_control(message)}\n")
        sys.stderr.flush()


def configure_streams() -> None:
    """Have standard output and error take any text; a stream that is closed is replaced by the null device."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def release_streams() -> None:
    """Redirect streams that cannot be written: Python would try once more when it exits, and fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
