"""The README's commands and code run as they stand."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def blocks_of(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


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


def run(arguments, folder):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_commands_run_as_they_stand(folder):
    for commands in blocks_of("bash"):
        run(["bash", "-euo", "pipefail", "-c", commands], folder)
    assert (folder / "run/report.html").is_file()
    assert (folder / "run/discriminator/config.json").is_file()
    assert (folder / "model/report.html").is_file()


def test_the_python_runs_as_it_stands(folder):
    snippets = blocks_of("python")
    assert len(snippets) == 3
    for snippet in snippets:
        run([sys.executable, "-c", snippet], folder)


def test_make_has_the_two_targets_of_the_first_screen():
    makefile = README.with_name("Makefile").read_text()
    first_screen = "\n".join(README.read_text(encoding="utf-8").splitlines()[:12])
    for target in ("quickstart", "test"):
        assert f"make {target}" in first_screen
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target
