"""`elektron predict`: write the rows of a file with their predictions, in the order of the file.

Rows are read a chunk at a time, so that memory does not grow with their number. On standard input a chunk
ends when no more input is available, so that a process that sends one line gets its prediction at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from io import BufferedReader, RawIOBase
from pathlib import Path
from select import select
from typing import IO, TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase

from elektron.corpus.documents import Corpus
from elektron.corpus.unknown import MAX_FRACTION, Unknown, UnknownCounter
from elektron.errors import ElektronError
from elektron.finetuning.prediction_columns import PredictionColumns, Row
from elektron.finetuning.predictor import Predictor
from elektron.finetuning.readers.lines import STDIN
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import Record, input_texts
from elektron.finetuning.readers.roles import QUESTIONS, Layout
from elektron.finetuning.tasks.base import Prediction
from elektron.inference.config import DetectConfig, PredictConfig
from elektron.inference.models import load_predictor
from elektron.inference.output import Write, open_writer
from elektron.progress import Progress

if TYPE_CHECKING:
    from elektron.explain.config import ExplainConfig

PredictRecords = Callable[[Sequence[Record]], list[Prediction]]
CHUNK = 1024
"""Maximum number of rows in a chunk."""
COUNTED = 64
"""Minimum number of rows sampled from a chunk to count unknown characters."""


def predict(config: PredictConfig) -> int:
    """Write a prediction for each row of the input.

    Returns:
        The number of rows.

    Raises:
        ElektronError: there is no such model or file, or the file does not fit the model's task.
    """
    with open_writer(config.output, config.input, *config.documents) as write:
        return _predict(config, write)


def predictions(config: PredictConfig) -> list[Row]:
    """Return each row of the input with its prediction; `config.output` is ignored.

    Raises:
        ElektronError: as in `predict`.
    """
    rows: list[Row] = []
    _predict(config, rows.extend)
    return rows


def _predict(config: PredictConfig, write: Write) -> int:
    predictor = load_predictor(config.model, config.task, config.decoding, config.batch_size, config.precision)
    layout = predictor.task.files()
    # A chunk of a file may take minutes and gets a progress bar; rows from standard input are answered at once.
    title = None if config.input == STDIN else "these rows"
    scored = partial(predictor.predict, title=title)
    predict_records: PredictRecords = scored
    if config.documents:
        from elektron.inference.passages import OpenDomainQA, Passages, SemanticSearch

        if predictor.task.name not in ("question-answering", "embedding"):
            raise ElektronError(
                f"--documents is for models for question-answering or embedding; {config.model} is "
                f"one for {predictor.task.name}"
            )
        corpus = Corpus(config.documents, config.documents_text, text_option="--documents-text")
        if predictor.task.name == "embedding":
            of_passages = with_prompt(predictor, "document", "passage", "corpus").predict
            of_queries = partial(with_prompt(predictor, "query").predict, title=title)
            predict_records = SemanticSearch(corpus, of_passages, of_queries, config.passages).predictions
        else:
            layout = QUESTIONS
            predict_records = OpenDomainQA(Passages(corpus), scored, config.passages).predictions
    return predict_rows(config, layout, predictor.tokenizer, predict_records, write)


def with_prompt(predictor: Predictor, *names: str) -> Predictor:
    """An embedding model with the first of these prompts that it has, or its default prompt."""
    task: Any = predictor.task
    name = next((name for name in names if name in task.prompts), task.default_prompt_name)
    return replace(predictor, task=replace(task, default_prompt_name=name))


def predict_rows(
    config: PredictConfig | DetectConfig | ExplainConfig,
    layout: Layout,
    tokenizer: PreTrainedTokenizerBase,
    predict_records: PredictRecords,
    write: Write,
    chunk: int | None = None,
    title: str = "predicting",
) -> int:
    """Read the rows of `config.input` in chunks and write them with their predictions.

    If the output is standard output, a chunk of standard input ends when no more input is available.

    Args:
        config: the input and how it is read.
        layout: the roles of the file's columns.
        tokenizer: finds the characters that become [UNK].
        predict_records: returns a prediction for each record of a chunk.
        write: called with the rows of each chunk.
        chunk: maximum number of rows in a chunk (default: CHUNK).
        title: title of the progress bar, before the name of the file.

    Returns:
        The number of rows.

    Raises:
        ElektronError: there is no such file, or it does not fit the layout.
    """
    source, chunk = config.input, chunk or CHUNK
    counter, unknown = UnknownCounter.of(tokenizer), Unknown()
    columns = PredictionColumns()
    waiting: list[Record] = []
    done = 0

    def flush() -> None:
        nonlocal done
        if not waiting:
            return
        is_first_chunk = not unknown.characters
        sample = waiting[:: max(1, len(waiting) // COUNTED)]
        unknown.add(counter.count(input_texts(layout, sample)))
        if is_first_chunk and unknown.fraction > MAX_FRACTION and source != STDIN:
            unknown.check(source, config.allow_unknown)
        write(columns.rows(waiting, predict_records(waiting)))
        done += len(waiting)
        waiting.clear()
        bar.update(done)

    with Progress(f"{title} {Path(source).name}", None, "rows") as bar:
        stdin: IO[bytes] | None = None
        if source == STDIN and config.output is None:
            stdin = BufferedReader(AvailableInput(sys.stdin.buffer, before_waiting=flush))
        for record in read_records([source], layout, config, False, stdin):
            waiting.append(record)
            if len(waiting) == chunk:
                flush()
        flush()
    unknown.check(source, allow=True)
    return done


class AvailableInput(RawIOBase):
    """A stream that calls a function before a read would block."""

    def __init__(self, stream: IO[bytes], before_waiting: Callable[[], None]) -> None:
        self.stream: Any = stream
        self.before_waiting = before_waiting
        try:
            stream.fileno()
            self.may_wait = True
        except OSError:  # an in-memory stream
            self.may_wait = False

    def readable(self) -> bool:
        """Always True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is available, up to the buffer's size; 0 at the end."""
        if self.may_wait and not select([self.stream], [], [], 0)[0]:
            self.before_waiting()
        data: bytes = self.stream.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)
