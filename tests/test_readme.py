"""Commands and code in the documentation run in reduced size, and links between pages have a target."""

import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from elektron.cli import main

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
START = ROOT / "docs" / "index.md"
PAGES = [
    README,
    ROOT / "README.zh-CN.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
GUIDES = [
    page
    for page in sorted((ROOT / "docs/guides").glob("*.md"))
    if "```bash" in page.read_text(encoding="utf-8") and ".zh." not in page.name
]
CODE = [START, ROOT / "docs" / "pretraining.md", ROOT / "docs" / "finetuning.md"]


def blocks_of(language: str, page: Path) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def in_small(text: str) -> str:
    """The command or code with few training steps, a small network and one seed."""
    for pattern, replacement in (
        (r"""(steps"?:? )\d+""", r"\g<1>3"),
        (r"--minutes \d+", "--steps 3"),
        (r"--config elektron-mini", "--config quickstart"),
        (r"--vocab-size \d+", "--vocab-size 1500"),
        (r"--epochs \d+", "--epochs 1"),
        (r"--seeds \d+", "--seeds 1"),
        (r"--budget \S+", "--budget 1e9flops"),
    ):
        text = re.sub(pattern, replacement, text)
    return text


def anchors_of(page: Path) -> set[str]:
    """Anchors that GitHub generates from the headings of a page, and its explicit anchors."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"(?m)^#+ (.*)$", text)
    made = {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}
    return made | set(re.findall(r"(?m)^#.*\{ #(\S+) \}$", text))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a text.txt of 1,500 documents and some thousand words, and labelled pieces of it."""
    folder = tmp_path_factory.mktemp("readme")
    chooser = random.Random(0)
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    words = ["".join(chooser.choices(syllables, k=chooser.randint(1, 4))) for _ in range(6000)]
    documents = [" ".join(chooser.choices(words, k=80)) + "." for _ in range(1500)]
    (folder / "text.txt").write_text("\n\n".join(documents))
    for name, count in (("train", 100), ("test", 50)):
        rows = [f"{chooser.choice(documents)[:80]}\t{'ab'[n % 2]}\n" for n in range(count)]
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + "".join(rows))
        pairs = [f"{chooser.choice(words)} {word}\t{word} {word}\n" for word in words[:count]]
        (folder / f"pairs-{name}.tsv").write_text("text\tpair\n" + "".join(pairs))
    (folder / "texts.txt").write_text("\n".join(documents[:40]))
    (folder / "queries.txt").write_text("\n".join(words[:5]))
    minimal = [{"good": text[:60], "bad": text[30:60] + text[:30]} for text in documents[:20]]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, minimal)))
    write_chinese(folder, chooser)
    return folder


def write_chinese(folder: Path, chooser: random.Random) -> None:
    """A corpus, headlines in two columns without a header, and a sentence a line with BMES tags."""
    characters = [chr(ord("一") + 15 * n) for n in range(1350)]
    documents = ["".join(chooser.choices(characters, k=200)) + "。" for _ in range(300)]
    (folder / "zhwiki.txt").write_text("\n\n".join(documents), encoding="utf-8")
    for name, count in (("train", 100), ("test", 50)):
        rows = [f"{chooser.choice(documents)[:20]}\t{n % 2}\n" for n in range(count)]
        (folder / f"headlines-{name}.tsv").write_text("".join(rows), encoding="utf-8")
    for name, count in (("train", 100), ("dev", 50)):
        tags = "O O B-ORG M-ORG E-ORG O S-NAME O O O"
        rows = [f"{' '.join(chooser.choice(documents)[:10])}\t{tags}\n" for _ in range(count)]
        (folder / f"resumes-{name}.bmes").write_text("".join(rows), encoding="utf-8")


@pytest.mark.parametrize(
    "page",
    [START, *(pytest.param(guide, marks=pytest.mark.slow) for guide in GUIDES)],
    ids=lambda page: page.name,
)
def test_bash_commands_run(page, folder, tmp_path, monkeypatch):
    if page != START:  # the Python snippets read the model of the start page
        for path in folder.iterdir():
            if path.is_file():
                shutil.copy(path, tmp_path)
        folder = tmp_path
    monkeypatch.chdir(folder)
    # Commands run in this process, which has imported torch already; only pipes need a shell.
    (folder / "elektron").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m elektron "$@"\n')
    (folder / "elektron").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    commands = "".join(blocks_of("bash", page)).replace("\\\n", "")
    for line in commands.splitlines():
        if line.startswith("elektron "):
            assert main(shlex.split(in_small(line))[1:]) == 0, line
        else:  # a pipe
            subprocess.run(["bash", "-euo", "pipefail", "-c", line], check=True)
    if page == START:
        assert (folder / "run/report.html").is_file()
        assert (folder / "run/discriminator/config.json").is_file()
        assert (folder / "model/report.html").is_file()


def test_python_snippets_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    snippets = [snippet for page in CODE for snippet in blocks_of("python", page)]
    assert len(snippets) == 3
    for snippet in snippets:
        exec(in_small(snippet), {})


def test_make_targets_in_readme_exist():
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
