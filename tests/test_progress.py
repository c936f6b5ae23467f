"""Progress is printed as plain lines without a terminal and as a bar on one, with the time left."""

import io
import re
import sys

import pytest

from elektron import progress
from elektron.progress import Progress, format_duration, format_quantity
from elektron.terminal import echo, rich_console


class Clock:
    """A clock that only tests advance."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_plain_lines_are_printed_periodically(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("working", 100, "steps") as bar:
        for step in range(0, 101, 10):
            bar.update(step, "a note")
            clock.now += 4
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "working: 40 steps of 100 steps · 24 s left · a note",
        "working: 80 steps of 100 steps · 8 s left · a note",
        "working: 100 steps · took 44 s · a note",
    ]


def test_time_left_ignores_steps_before_resuming(clock: Clock) -> None:
    bar = Progress("working", 1000, "steps")
    bar.update(900)
    assert bar.seconds_left(clock.now) is None
    clock.now = 10
    bar.update(950)
    assert bar.seconds_left(clock.now) == 10


def test_brief_job_is_reported_only_if_it_takes_long(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("scoring", 3, "rows", brief=True) as bar:
        bar.update(1)
        assert capsys.readouterr().err == ""
        clock.now += 20
        bar.update(2)
        assert capsys.readouterr().err.startswith("scoring: 2 rows of 3 rows")
    assert capsys.readouterr().err == ""


def test_unknown_total_prints_count_and_elapsed_time(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), Progress("reading", None, "documents") as bar:
        clock.now = 20
        bar.update(12_345)
        raise KeyboardInterrupt
    assert capsys.readouterr().err.splitlines() == [
        "reading: 12,345 documents",
        "reading: 12,345 documents · stopped after 20 s",
    ]


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Replaces standard error by a terminal."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return terminal


def test_nested_job_is_shown_below_outer_job_while_running(monkeypatch: pytest.MonkeyPatch) -> None:
    a_terminal(monkeypatch)
    with Progress("training", 2, "steps") as outer:
        with Progress("scoring", 3, "rows", brief=True) as inner:
            inner.update(3)
            assert inner._bar is outer._bar is not None
            shown = [task.description for task in outer._bar.tasks]
            assert shown == ["training", "scoring"]
        outer.update(2)
        assert [task.description for task in outer._bar.tasks] == ["training"]
    with Progress("after", 1, "rows") as bar:
        assert bar._bar is not outer._bar


def test_bar_is_shown_on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    with Progress("working", 2, "steps") as bar:
        bar.update(2, "[a] note")
    assert "working" in terminal.getvalue()
    assert re.search(r"2 steps · took \d+ s · \[a\] note", terminal.getvalue())


def test_bar_does_not_capture_redirected_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, file = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("working", 2, "steps"):
        sys.stdout.write("a row\n")
    assert file.getvalue() == "a row\n"
    assert "a row" not in terminal.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min"), (185, "3 min 5 s"), (7_800, "2 h 10 min"), (356_400, "4 d 3 h")],
)
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_format_quantity() -> None:
    assert format_quantity(1234, "steps") == "1,234 steps"
    assert format_quantity(36_200_000, "bytes") == "36.2 MB"
    assert format_quantity(61, "seconds") == "1 min 1 s"


def test_terminal_escapes_in_titles_and_notes_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("\x1b[31mfile\n.txt", 1, "rows") as bar:
        bar.update(1, "\x9b2J")
    err = capsys.readouterr().err
    assert err.startswith("\\x1b[31mfile\\n.txt: 1 rows") and err.endswith(" · \\x9b2J\n")


def test_output_contains_no_terminal_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    echo("two\nlines \x1b]0;title\x07")
    with rich_console() as out:
        out.print("[b]bold[/b]")
    assert capsys.readouterr().out == "two\nlines \\x1b]0;title\\x07\nbold\n"
