"""From Python nothing is written unless it is asked for."""

import pytest
from rich.table import Table

from elektron.progress import Progress
from elektron.terminal import console, say, showing


def work() -> None:
    with Progress("working", 2, "steps") as bar:
        bar.update(2)
    say("figures")
    table = Table()
    table.add_row("a row")
    with console() as out:
        out.print(table)


def test_functions_write_nothing_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with showing(progress=False, results=False):
        work()
        assert capsys.readouterr() == ("", "")
        with showing():
            work()
        out, err = capsys.readouterr()
        assert "figures" in out and "a row" in out and "working" in err
        work()
        assert capsys.readouterr() == ("", "")
