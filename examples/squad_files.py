"""Files and scores for examples/question_answering.sh.

Usage: squad_files.py TRAIN FOLDER
       squad_files.py --score QUESTIONS ANSWERS

The first command writes `passages.txt` (the passages of TRAIN as documents), `200.jsonl` (its first 200 questions
with an answer) and `questions.txt` (the same questions alone). The second prints exact match and F1 of answers
that were found in a corpus, and the first correct answer with its source.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from elektron.finetuning.config import FilesConfig
from elektron.finetuning.metrics.squad import squad
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.roles import LAYOUTS

COUNT = 200


def make(train: str, folder: Path) -> None:
    """Write the three files."""
    rows = read(train)
    passages = dict.fromkeys(one_line(row["context"]) for row in rows)
    answered = [row for row in rows if row["answers"]][:COUNT]
    write(folder / "passages.txt", "\n\n".join(passages))
    write(folder / f"{COUNT}.jsonl", "\n".join(json.dumps(row) for row in answered))
    write(folder / "questions.txt", "\n".join(one_line(row["question"]) for row in answered))


def score(questions: str, answers: Path) -> None:
    """Print metrics of the answers, and the first correct one."""
    gold = [[answer["text"] for answer in row["answers"]] for row in read(questions)]
    given = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    metrics = squad(gold, [row["predicted_answer"] for row in given])()
    print(f"from the corpus: exact match {metrics['exact_match']:.1f}, F1 {metrics['f1']:.1f}")
    for texts, row in zip(gold, given, strict=True):
        if row["predicted_answer"] in texts:
            print(f"{row['question']}\n  {row['predicted_answer']}")
            print(f"  {row['predicted_source']}: {row['predicted_passage']}")
            return


def read(source: str) -> list[dict[str, Any]]:
    """Rows of labelled questions."""
    records = read_records([source], LAYOUTS["question-answering"], FilesConfig(), labelled=True)
    return [record.values for record in records]


def one_line(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--score":
        score(sys.argv[2], Path(sys.argv[3]))
    else:
        make(sys.argv[1], Path(sys.argv[2]))
