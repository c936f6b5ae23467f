"""Summaries of dialogues that no model wrote, by the same ROUGE as `elektron finetune`'s.

Usage: dialogue_baselines.py TRAIN DEV MODEL

Prints ROUGE and how many outputs differ for the first three turns, the two longest turns, the
training summary that is most like the others, and what MODEL, a folder of `elektron finetune
summarization`, wrote for DEV.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from elektron.finetuning.config import FilesConfig
from elektron.finetuning.metrics.text import Summaries
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.sequence_to_sequence import LAYOUT, most_typical

FIGURES = ("rouge1", "rouge2", "rougeL", "distinct_outputs")


def first_turns(dialogue: str, count: int = 3) -> str:
    """How it begins."""
    return "\n".join(dialogue.splitlines()[:count])


def longest_turns(dialogue: str, count: int = 2) -> str:
    """Where most is said, in the order of the dialogue."""
    turns = dialogue.splitlines()
    longest = sorted(range(len(turns)), key=lambda place: -len(turns[place]))[:count]
    return "\n".join(turns[place] for place in sorted(longest))


def main(train: str, dev: str, model: str) -> None:
    """Print a line for each way to summarize."""
    train_rows, dev_rows = read(train), read(dev)
    dialogues = [row.values["source"] for row in dev_rows]
    constant = most_typical([row.values["target"] for row in train_rows])
    predictions = Path(model, "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    outputs = {
        "the first three turns": list(map(first_turns, dialogues)),
        "the two longest turns": list(map(longest_turns, dialogues)),
        "always the most typical": [constant] * len(dialogues),
        "the model": [json.loads(line)["predicted_text"] for line in predictions],
    }
    references = [[row.values["target"]] for row in dev_rows]
    print(" " * 24, *(f"{name:>16}" for name in FIGURES))
    for name, texts in outputs.items():
        figures = Summaries(references, texts)()
        print(f"{name:24}", *(f"{figures[figure]:16.2f}" for figure in FIGURES))


def read(source: str) -> list[Record]:
    """Dialogues and summaries."""
    return list(read_records([source], LAYOUT, FilesConfig(), labelled=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
