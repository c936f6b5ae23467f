"""Regular expressions, readers and text formatting take linear time on adversarial texts.

The only limit is a generous timeout: quadratic code would take hours.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EVERY_PATTERN = """
import importlib, pathlib, pkgutil, re, sys
from collections import deque
import regex
import elektron

length = int(sys.argv[1])
patterns = set()
for module in pkgutil.walk_packages(elektron.__path__, "elektron."):
    if module.name == "elektron.__main__":
        continue
    try:
        loaded = importlib.import_module(module.name)
    except ModuleNotFoundError as error:  # an optional dependency
        if error.name.startswith("elektron"):
            raise
        continue
    for value in vars(loaded).values():
        if isinstance(value, (re.Pattern, regex.Pattern)) and isinstance(value.pattern, str):
            patterns.add(value)
assert len(patterns) > 15, patterns
UNITS = [
    " ", "\\n", "\\n ", "a", "1.", ".", "!.", "。", "<a", "&#1", "`|", "_*", "[", "font-family: ",
    "a@", "B-", "中", "e+1", '."', "a. ", "-",
]
for unit in UNITS:
    text = (unit * (length // len(unit) + 1))[:length]
    for hostile in (text + "\\0", "a" + text + "<"):
        for pattern in sorted(patterns, key=lambda pattern: pattern.pattern):
            pattern.match(hostile), pattern.fullmatch(hostile)
            deque(pattern.finditer(hostile), maxlen=0)
"""

EVERY_READER = """
import json
import sys
from pathlib import Path
from elektron.corpus.documents import Corpus
from elektron.corpus.tokenizer import train_tokenizer_on
from elektron.errors import ElektronError
from elektron.reporting.markdown import block, code, plain
from elektron.inference.passages import split, terms, title_of
from tests.finetuning.readers.layouts import CHOICES, PARALLEL, SQUAD, TAGGED, TEXTS, read

folder, length = Path(sys.argv[1]), int(sys.argv[2])
tokenizer = train_tokenizer_on(["the cat sees the river ."], 60)
COLUMNS = ["text", "label", "question", "context", "choices", "answers", "tokens", "tags", "source", "target"]
UNITS = [" ", "\\n", "a", '"', '","', ",", "\\t", "[", '{"a":', "\\\\", ". ", ".", "。", "中", "\\x1b", "'"]
for unit in UNITS:
    text = (unit * (length // len(unit) + 1))[:length]
    contents = dict.fromkeys(("x.txt", "x.csv", "x.tsv"), "text,label\\n" + text)
    # As values of a row, as a document, and as a value without its end.
    contents |= {"x.jsonl": json.dumps(dict.fromkeys(COLUMNS, text)), "x.json": text, "y.json": '[{"text": "' + text}
    for name, content in contents.items():
        path = folder / name
        path.write_text(content)
        try:
            list(Corpus([str(path)]))
        except ElektronError:
            pass
        for layout in (TEXTS, CHOICES, TAGGED, SQUAD, PARALLEL):
            try:
                read(path, layout=layout)
            except ElektronError:
                pass
    split(text, 50), terms(text), title_of(text), plain(text), code(text), block(text, "")
    tokenizer(text, truncation=False)
"""


def run(program: str, *arguments: str, seconds: float) -> None:
    subprocess.run(
        [sys.executable, "-c", program, *arguments],
        check=True,
        timeout=seconds,
        cwd=Path(__file__).parents[1],
        stderr=subprocess.DEVNULL,
    )


LENGTHS = [(100_000, 300), pytest.param((1_000_000, 2000), marks=pytest.mark.slow)]


@pytest.mark.parametrize("case", LENGTHS, ids=["quick", "1 MB"])
def test_regular_expressions_take_linear_time(case: tuple[int, float]) -> None:
    length, seconds = case
    run(EVERY_PATTERN, str(length), seconds=seconds)


@pytest.mark.parametrize("case", LENGTHS, ids=["quick", "1 MB"])
def test_readers_and_text_formatting_take_linear_time(case: tuple[int, float], tmp_path: Path) -> None:
    length, seconds = case
    run(EVERY_READER, str(tmp_path), str(length), seconds=seconds)
