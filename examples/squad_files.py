"""What examples/question_answering.sh needs of SQuAD besides the questions.

Usage: squad_files.py TRAIN FOLDER

Writes `passages.txt`, the passages of TRAIN as a corpus, a document each; `200.jsonl`, its first 200
questions that have an answer; and `questions.txt`, the same without passage and answer.
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
    passages = dict.fromkeys(" ".join(row["context"].split()) for row in rows)
    answered = [row for row in rows if row["answers"]][:COUNT]
    lines = [json.dumps(row, ensure_ascii=False) for row in answered]
    (folder / "passages.txt").write_text("\n\n".join(passages) + "\n", encoding="utf-8")
    (folder / f"{COUNT}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    questions = "\n".join(" ".join(row["question"].split()) for row in answered)
    (folder / "questions.txt").write_text(questions + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
