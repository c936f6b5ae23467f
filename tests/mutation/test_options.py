"""Wrong values for every option: refused in one line, or accepted for a reason given here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elektron.cli import COMMANDS, load
from elektron.configuration import settings
from tests.mutation.cases import Case, outcomes
from tests.mutation.conftest import CommandLines

LONG = "9" * 5000
VALUES = ("", "nan", "-1", "0", "1e309", "1000000000", LONG, "0.5", "[]", "x\udcff\x1b[31m")
"""Typed for each option in turn."""
ACCEPTED: dict[str, str] = {}


def cases(command_lines: CommandLines) -> Iterator[Case]:
    for command, argv in command_lines.items():
        for setting in settings(load(COMMANDS[command].config)):
            for value in VALUES:
                name = f"{command} {setting.flag} {'LONG' if value is LONG else value}"
                typed = f"{setting.flag}={value}"
                if setting.positional:
                    yield Case(name, [command, value, *argv[1:]])
                elif setting.flag in argv:
                    place = argv.index(setting.flag)
                    yield Case(name, [command, *argv[:place], typed, *argv[place + 2 :]])
                else:
                    yield Case(name, [command, *argv, typed])


@pytest.mark.parametrize("every", [83, pytest.param(1, marks=pytest.mark.slow)])
def test_wrong_options(every: int, command_lines: CommandLines, tmp_path: Path) -> None:
    assert outcomes(list(cases(command_lines))[::every], tmp_path, ACCEPTED) == []
