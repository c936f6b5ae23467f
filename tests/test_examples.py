"""The examples are long to run; here they are read: valid bash, and no option that does not exist."""

import re
import subprocess
from pathlib import Path

import pytest

from elektron.cli import COMMANDS, load
from elektron.configuration import settings

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.sh"))


def known_options() -> set[str]:
    found = {"--config", "--help"}
    for command in COMMANDS.values():
        found |= {setting.flag for setting in settings(load(command.config))}
    for program in EXAMPLES.glob("*.py"):
        found |= set(re.findall(r"\"(--[a-z-]+)\"", program.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_can_be_run(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n#")
    assert "set -euo pipefail" in text
    assert "/.venv/bin:$PATH" in text, "where `make` installs"
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_its_options_exist(script):
    text = re.sub(r"(?m)^#.*$", "", script.read_text(encoding="utf-8"))
    used = set(re.findall(r"(?<![\w-])--[a-z][\w.-]*", text))
    assert used
    assert used <= known_options()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_programs_that_it_calls_are_there(script):
    for name in re.findall(r"python (examples/\S+\.py)", script.read_text(encoding="utf-8")):
        assert (EXAMPLES.parent / name).is_file()
