"""Make a file for `elektron finetune generation`: the next turn of a dialogue given those before it.

Usage: next_turn.py DIALOGUES OUT.jsonl [ROWS]

DIALOGUES is a file with a column `dialogue`, one turn per line, each as "#Person1#: text". Every turn
but the first makes a row: `source` has the turns before it and the next speaker, `target` the text.
ROWS rows are drawn at random (default: all).
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from elektron.finetuning.config import FilesConfig
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.roles import Layout, Role

DIALOGUES = Layout((Role("text", ("dialogue",)),))
TURNS_BEFORE = 4


def rows(dialogue: str) -> Iterator[dict[str, str]]:
    """A row for each turn but the first."""
    turns = [turn.strip() for turn in dialogue.splitlines() if turn.strip()]
    for index in range(1, len(turns)):
        speaker, colon, text = turns[index].partition(":")
        if colon and text.strip():
            before = turns[max(0, index - TURNS_BEFORE) : index]
            yield {"source": "\n".join([*before, f"{speaker}:"]), "target": text.strip()}


def main(dialogues: str, out: str, count: str | None = None) -> None:
    """Write the rows of all dialogues, or `count` of them."""
    records = read_records([dialogues], DIALOGUES, FilesConfig(), labelled=True)
    found = [row for record in records for row in rows(record.values["text"])]
    if count is not None and int(count) < len(found):
        found = random.Random(1).sample(found, int(count))
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in found)
    Path(out).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
