"""Commands and code in the README and the guides run unchanged, and all links between pages have a target."""

import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from elektron.cli import main

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = [README, ROOT / "docs" / "pretraining.md", ROOT / "docs" / "finetuning.md"]


def blocks_of(language: str, page: Path) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def in_small(text: str) -> str:
    """The same command or code with a tenth of the training steps."""
    return re.sub(r"""(steps"?:? )30\b""", r"\g<1>3", text)


def anchors_of(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a text.txt of 1,500 documents and some thousand words, and labelled pieces of it."""
    folder = tmp_path_factory.mktemp("readme")
    chooser = random.Random(0)
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    words = ["".join(chooser.choices(syllables, k=chooser.randint(1, 4))) for _ in range(6000)]
    documents = [" ".join(chooser.choices(words, k=80)) + "." for _ in range(1500)]
    (folder / "text.txt").write_text("\n\n".join(documents))
    for name, count in (("train", 200), ("test", 50)):
        rows = [f"{chooser.choice(documents)[:80]}\t{'ab'[n % 2]}\n" for n in range(count)]
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + "".join(rows))
    return folder


def test_the_commands_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    # In this process, which has imported torch already; only pipes are for the shell.
    (folder / "elektron").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m elektron "$@"\n')
    (folder / "elektron").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for line in (line for commands in blocks_of("bash", README) for line in commands.splitlines()):
        if line.startswith("elektron "):
            assert main(shlex.split(in_small(line))[1:]) == 0, line
        else:  # a pipe
            subprocess.run(["bash", "-euo", "pipefail", "-c", line], check=True)
    assert (folder / "run/report.html").is_file()
    assert (folder / "run/discriminator/config.json").is_file()
    assert (folder / "model/report.html").is_file()


def test_the_python_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    snippets = [snippet for page in CODE for snippet in blocks_of("python", page)]
    assert len(snippets) == 3
    for snippet in snippets:
        exec(in_small(snippet), {})


def test_make_has_the_two_targets_of_the_first_screen():
    makefile = README.with_name("Makefile").read_text()
    first_screen = "\n".join(README.read_text(encoding="utf-8").splitlines()[:12])
    for target in ("quickstart", "test"):
        assert f"make {target}" in first_screen
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_has_a_target(page):
    text = re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8"))
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors_of(target), f"{path}#{anchor}"
