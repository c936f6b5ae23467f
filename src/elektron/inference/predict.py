"""`elektron predict`: rows in, the same rows with what the model says of them out, in their order.

Rows are taken a chunk at a time, so that memory does not grow with their number, and within a chunk
in the order of their length, so that little is padded.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from elektron.errors import ElektronError
from elektron.finetuning.beside import Beside
from elektron.finetuning.files.read import read_records
from elektron.finetuning.files.records import Record
from elektron.finetuning.tasks.base import Prediction
from elektron.inference.config import PredictConfig
from elektron.inference.models import load_predictor
from elektron.inference.output import Writer, writing
from elektron.inference.passages import QUESTIONS, OpenBook, Passages
from elektron.inference.predictor import Predictor
from elektron.progress import Progress

log = logging.getLogger(__name__)

Say = Callable[[Sequence[Record]], list[Prediction]]

CHUNK = 1024
"""Rows."""


def predict(config: PredictConfig) -> int:
    """Write a prediction for each row of the input; how many there were.

    Raises:
        ElektronError: there is no such model or file, or the file is not one for the model.
    """
    if config.input != "-" and config.output is not None:
        refuse_same_file(Path(config.input), config.output)
    predictor = load_predictor(config.model, config.task, config.decoding, config.batch)
    say: Say
    if config.documents:
        layout, say = QUESTIONS, open_book(predictor, config).predictions
    else:
        layout, say = predictor.task.files(), predictor.predict
    records = read_records([config.input], layout, config, False, sys.stdin.buffer)
    with writing(config.output) as writer:
        return write_chunks(records, say, writer, f"predicting {config.input}")


def write_chunks(records: Iterator[Record], say: Say, writer: Writer, title: str) -> int:
    """Predict and write chunk by chunk; how many rows there were."""
    done = 0
    beside = Beside()
    with Progress(title, None, "rows") as bar:
        while chunk := list(islice(records, CHUNK)):
            writer.write(beside.rows(chunk, say(chunk)))
            done += len(chunk)
            bar.update(done)
    return done


def open_book(predictor: Predictor, config: PredictConfig) -> OpenBook:
    """Answers from documents.

    Raises:
        ElektronError: the model answers no questions.
    """
    if predictor.task.name != "question-answering":
        raise ElektronError(
            f"--documents is for models that answer questions; {config.model} is one for "
            f"{predictor.task.name}"
        )
    return OpenBook(Passages(config.documents), predictor.predict, config.passages)


def refuse_same_file(source: Path, output: Path) -> None:
    """Refuse to write over what is read."""
    if output.exists() and source.exists() and output.samefile(source):
        raise ElektronError(f"--output {output} is the input itself: choose another name")
