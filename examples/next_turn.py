"""The next turn of a dialogue, from the turns before it: files for `elektron finetune generation`.

Usage: next_turn.py DIALOGUES OUT.jsonl [ROWS]

DIALOGUES is a file with a column `dialogue`, a turn a line, each as "#Person1#: text". A row has
`source`, the last turns and who speaks next, and `target`, what that person says. Of each dialogue
every turn but the first is a target once; of so many, ROWS are drawn.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from elektron.finetuning.config import FilesConfig
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import Layout, Role

DIALOGUES = Layout((Role("text", ("dialogue",)),))
TURNS_BEFORE = 4


def rows(dialogue: str) -> Iterator[dict[str, str]]:
    """A row for each turn that has one before it."""
    turns = [turn.strip() for turn in dialogue.splitlines() if turn.strip()]
    for place in range(1, len(turns)):
        speaker, colon, said = turns[place].partition(":")
        if colon and said.strip():
            before = turns[max(0, place - TURNS_BEFORE) : place]
            yield {"source": "\n".join([*before, f"{speaker}:"]), "target": said.strip()}


def main(dialogues: str, out: str, count: str | None = None) -> None:
    """Write the rows of all dialogues, or some of them."""
    records = read_records([dialogues], DIALOGUES, FilesConfig(), labelled=True)
    found = [row for record in records for row in rows(record.values["text"])]
    if count is not None and int(count) < len(found):
        found = random.Random(1).sample(found, int(count))
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in found)
    Path(out).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
