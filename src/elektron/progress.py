"""How far a job has come and how long it will take, on stderr.

A terminal gets a bar. Anything else, such as a log file, gets a plain line now and then and one at
the end. The time left follows from the speed since the first update, so that neither start-up nor
the part that an earlier session has done counts.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from elektron.terminal import escape_control, output

if TYPE_CHECKING:
    import rich.progress

SECONDS_BETWEEN_LINES = 15.0
# A speed is not told before this much time has passed since the first update.
SECONDS_FOR_A_SPEED = 2.0


class Progress:
    """Shows the progress of one job; a context manager."""

    def __init__(
        self,
        title: str,
        total: float | None,
        unit: str,
        shown: bool = True,
        brief: bool = False,
    ) -> None:
        """`total` is None where it is unknown; `unit` is what is counted, such as `steps`.

        One that is not `shown` says nothing: another process speaks for all. Of one that is `brief`
        nothing is left when it is done; where there is no terminal it says nothing unless it takes long.

        `bytes` and `seconds` are written in larger units where there are many.
        """
        self.title = escape_control(title)
        self.total = total
        self.unit = unit
        self.shown = shown and output.progress
        self.brief = brief
        self.done = 0.0
        self.note = ""
        self._began = self._last_line = time.monotonic()
        self._first: tuple[float, float] | None = None
        self._bar: rich.progress.Progress | None = None
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        if self.shown and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._bar = self._cleanup.enter_context(_bar(transient=self.brief))
            self._task = self._bar.add_task(self.title, total=self.total, state="")
        return self

    def update(self, done: float, note: str = "") -> None:
        """Say how much is done of the total, and what else is worth knowing now."""
        now = time.monotonic()
        self.done, self.note = done, escape_control(note)
        if self._first is None:
            self._first = (now, done)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, state=self.state(now))
        elif now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._print_line(self.state(now))

    def state(self, now: float) -> str:
        """Everything but the title on one line."""
        parts = [format_quantity(self.done, self.unit)]
        if self.total is not None:
            parts[0] += f" of {format_quantity(self.total, self.unit)}"
            left = self.seconds_left(now)
            if left is not None:
                parts.append(f"{format_duration(left)} left")
        if self.note:
            parts.append(self.note)
        return " · ".join(parts)

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the end at the speed so far, or None while that is not known."""
        if self.total is None or self._first is None:
            return None
        first_time, first_done = self._first
        if now - first_time < SECONDS_FOR_A_SPEED or self.done <= first_done:
            return None
        return max(0.0, self.total - self.done) * (now - first_time) / (self.done - first_done)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        took = format_duration(time.monotonic() - self._began)
        parts = [
            format_quantity(self.done, self.unit),
            f"{'took' if kind is None else 'stopped after'} {took}",
        ]
        end = " · ".join([*parts, *([self.note] if self.note else [])])
        if self._bar is None:
            if not self.brief:
                self._print_line(end)
        else:
            self._bar.update(self._task, state=end)
        self._cleanup.close()

    def _print_line(self, text: str) -> None:
        if not self.shown:
            return
        with suppress(OSError):  # no work is given up for a line of its progress
            sys.stderr.write(f"{self.title}: {text}\n")
            sys.stderr.flush()


def _bar(transient: bool) -> rich.progress.Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[state]}", markup=False, table_column=Column(no_wrap=True)),
        console=Console(stderr=True),
        refresh_per_second=4,
        transient=transient,
    )


def format_quantity(value: float, unit: str) -> str:
    """`1,200 steps`, `36.2 MB`, `3 min 5 s`."""
    if unit == "seconds":
        return format_duration(value)
    if unit == "bytes":
        from rich.filesize import decimal

        return decimal(int(value))
    return f"{value:,.0f} {unit}"


def format_duration(seconds: float) -> str:
    """The two largest units of a time: `41 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`."""
    whole = round(seconds)
    for size, name, smaller_size, smaller in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {name}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"
