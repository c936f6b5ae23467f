"""Functions called from Python print nothing unless output is enabled."""

import pytest
from rich.table import Table

from elektron.progress import Progress
from elektron.terminal import echo, output_enabled, rich_console


def work() -> None:
    with Progress("working", 2, "steps") as bar:
        bar.update(2)
    echo("figures")
    table = Table()
    table.add_row("a row")
    with rich_console() as out:
        out.print(table)


def test_output_is_printed_only_if_enabled(capsys: pytest.CaptureFixture[str]) -> None:
    with output_enabled(progress=False, results=False):
        work()
        assert capsys.readouterr() == ("", "")
        with output_enabled():
            work()
        out, err = capsys.readouterr()
        assert "figures" in out and "a row" in out and "working" in err
        work()
        assert capsys.readouterr() == ("", "")
