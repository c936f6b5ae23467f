"""ROUGE of a model's summaries of dialogues and of baseline summaries, computed as by `elektron finetune`.

Usage: dialogue_baselines.py TRAIN DEV MODEL

The baselines are the first three turns, the two longest turns, and the most typical training summary.
MODEL is a folder written by `elektron finetune summarization` with predictions for DEV.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from elektron.finetuning.config import FilesConfig
from elektron.finetuning.metrics.text import summarization
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.roles import LAYOUTS
from elektron.finetuning.tasks.sequence_to_sequence import most_typical

METRICS = ("rouge1", "rouge2", "rougeL", "distinct_outputs")


def first_turns(dialogue: str, count: int = 3) -> str:
    """The first turns of a dialogue."""
    return "\n".join(dialogue.splitlines()[:count])


def longest_turns(dialogue: str, count: int = 2) -> str:
    """The longest turns, in the order of the dialogue."""
    turns = dialogue.splitlines()
    longest = sorted(range(len(turns)), key=lambda place: -len(turns[place]))[:count]
    return "\n".join(turns[place] for place in sorted(longest))


def main(train: str, dev: str, model: str) -> None:
    """Print a line for each kind of summary."""
    train_rows, dev_rows = read(train), read(dev)
    dialogues = [row.values["source"] for row in dev_rows]
    constant = most_typical([row.values["target"] for row in train_rows])
    predictions = Path(model, "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    outputs = {
        "first three turns": list(map(first_turns, dialogues)),
        "two longest turns": list(map(longest_turns, dialogues)),
        "most typical summary": [constant] * len(dialogues),
        "model": [json.loads(line)["predicted_text"] for line in predictions],
    }
    references = [[row.values["target"]] for row in dev_rows]
    print(" " * 24, *(f"{name:>16}" for name in METRICS))
    for name, texts in outputs.items():
        metrics = summarization(references, texts)()
        print(f"{name:24}", *(f"{metrics[metric]:16.2f}" for metric in METRICS))


def read(source: str) -> list[Record]:
    """Rows with a dialogue and its summary."""
    return list(read_records([source], LAYOUTS["generation"], FilesConfig(), labelled=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
