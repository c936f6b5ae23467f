"""What examples/question_answering.sh needs of SQuAD besides the questions.

Usage: squad_files.py TRAIN FOLDER

Writes `passages.txt`, the passages of TRAIN, a document each; `200.jsonl`, its first 200 questions that
have an answer; and `questions.txt`, the same without passage and answer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from elektron.finetuning.config import FilesConfig
from elektron.finetuning.files.read import read_records
from elektron.finetuning.tasks.question_answering import QuestionAnswering

COUNT = 200


def main(train: str, folder: Path) -> None:
    """Write the three files."""
    layout = QuestionAnswering.layout
    rows = [row.values for row in read_records([train], layout, FilesConfig(), labelled=True)]
    passages = dict.fromkeys(one_line(row["context"]) for row in rows)
    answered = [row for row in rows if row["answers"]][:COUNT]
    write(folder / "passages.txt", "\n\n".join(passages))
    write(folder / f"{COUNT}.jsonl", "\n".join(json.dumps(row) for row in answered))
    write(folder / "questions.txt", "\n".join(one_line(row["question"]) for row in answered))


def one_line(text: str) -> str:
    """The text without line ends."""
    return " ".join(text.split())


def write(path: Path, text: str) -> None:
    """A file with a line end at its end."""
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
