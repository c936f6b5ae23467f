"""What a command writes for its user: progress on stderr and results on stdout.

The command line turns both on. From Python the functions return their results and write nothing,
unless they are called inside `showing()`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class _Shown:
    progress: bool = False
    results: bool = False


shown = _Shown()


@contextmanager
def showing(progress: bool = True, results: bool = True) -> Iterator[None]:
    """Write progress, results or both while the block runs."""
    before = shown.progress, shown.results
    shown.progress, shown.results = progress, results
    try:
        yield
    finally:
        shown.progress, shown.results = before


def say(text: str) -> None:
    """Write a text to stdout as it stands."""
    if shown.results:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def say_rich(*renderables: Any, markup: bool = True) -> None:
    """Write rich's tables and marked-up text to stdout, one under another."""
    if shown.results:
        from rich.console import Console

        Console(highlight=False, markup=markup).print(*renderables, sep="\n")
