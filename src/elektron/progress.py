"""Progress of a job and the time it will still take, on stderr.

A terminal gets a bar. Anything else, such as a log file, gets a plain line every 15 seconds and one at the
end. The time left is estimated from the speed since the first update, so that neither start-up nor the work of an
earlier session counts.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Self

from elektron.terminal import escape_control, output

if TYPE_CHECKING:
    import rich.progress

SECONDS_BETWEEN_LINES = 15.0
SECONDS_FOR_A_SPEED = 2.0
"""Time after the first update before the time left is shown."""


class Progress:
    """Context manager that shows the progress of one job.

    Args:
        title: title of the job.
        total: amount of the whole job, or None if unknown.
        unit: what is counted, such as `steps`; large numbers of `bytes` and `seconds` are written in larger units.
        shown: False in a process that prints nothing because another one does.
        brief: the bar is removed at the end, and a log gets lines only if the job takes long.
    """

    _shown: ClassVar[rich.progress.Progress | None] = None
    """The display of the outermost job, to which jobs inside it add a bar."""

    def __init__(self, title: str, total: float | None, unit: str, shown: bool = True, brief: bool = False) -> None:
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
        self._outermost = False

    def __enter__(self) -> Self:
        if self.shown and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._bar = Progress._shown or _bar(transient=self.brief)
            self._task = self._bar.add_task(self.title, total=self.total, state="")
            if Progress._shown is None:
                Progress._shown = self._bar
                self._outermost = True
                self._bar.start()
        return self

    def update(self, done: float, note: str = "") -> None:
        """Set how much is done of the total, and a note for the end of the line."""
        now = time.monotonic()
        self.done, self.note = done, escape_control(note)
        self._first = self._first or (now, done)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, state=self.state(now))
        elif now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._print_line(self.state(now))

    def state(self, now: float) -> str:
        """The amount done, the time left and the note, on one line."""
        amount, left = format_quantity(self.done, self.unit), ""
        if self.total is not None:
            amount += f" of {format_quantity(self.total, self.unit)}"
            seconds = self.seconds_left(now)
            left = "" if seconds is None else f"{format_duration(seconds)} left"
        return " · ".join(filter(None, [amount, left, self.note]))

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the end at the speed so far, or None while that is not known."""
        if self.total is None or self._first is None:
            return None
        first_time, first_done = self._first
        if now - first_time < SECONDS_FOR_A_SPEED or self.done <= first_done:
            return None
        return max(0.0, self.total - self.done) * (now - first_time) / (self.done - first_done)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        took = "took" if kind is None else "stopped after"
        took += f" {format_duration(time.monotonic() - self._began)}"
        end = " · ".join(filter(None, [format_quantity(self.done, self.unit), took, self.note]))
        if self._bar is not None:
            self._bar.update(self._task, state=end)
            if self._outermost:
                self._bar.stop()
                Progress._shown = None
            elif self.brief:
                self._bar.remove_task(self._task)
        elif not self.brief:
            self._print_line(end)

    def _print_line(self, text: str) -> None:
        if self.shown:
            with suppress(OSError):  # a job does not fail because of its progress
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
        # rich prints redirected output above the bar, on standard error: only what would go to a terminal anyway.
        redirect_stdout=sys.stdout.isatty(),
    )


def format_quantity(value: float, unit: str) -> str:
    """An amount with its unit: `1,200 steps`, `36.2 MB`, `3 min 5 s`."""
    if unit == "seconds":
        return format_duration(value)
    if unit == "bytes":
        from rich.filesize import decimal

        return decimal(int(value))
    return f"{value:,.0f} {unit}"


def format_duration(seconds: float) -> str:
    """The two largest units of a time: `41 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`."""
    units = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
    rest = round(seconds)
    parts: list[tuple[int, str]] = []
    for name, size in units.items():
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append((count, name))
    return " ".join(f"{count} {name}" for count, name in parts[:2] if count) or "0 s"
