"""`elektron predict`: rows in, the same rows with what the model says of them out, in their order.

Rows are taken a chunk at a time, so that memory does not grow with their number, and within a chunk
in the order of their length, so that little is padded. From standard input to standard output a chunk
is what has arrived: whoever sends a line and waits gets its answer.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from io import BufferedReader, RawIOBase
from pathlib import Path
from select import select
from typing import IO, TYPE_CHECKING, Any

from elektron.corpus.unknown import TOO_MUCH, Unknown, UnknownCounter
from elektron.errors import ElektronError
from elektron.finetuning.prediction_columns import Beside, Row
from elektron.finetuning.predictor import Predictor
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import Record, input_texts
from elektron.finetuning.readers.roles import QUESTIONS, Layout
from elektron.finetuning.tasks.base import Prediction
from elektron.inference.config import PredictConfig
from elektron.inference.models import load_predictor
from elektron.inference.output import Writer, writing
from elektron.progress import Progress

if TYPE_CHECKING:
    from elektron.inference.passages import OpenBook

log = logging.getLogger(__name__)

Say = Callable[[Sequence[Record]], list[Prediction]]

CHUNK = 1024
"""Rows."""
COUNTED = 64
"""Rows of a chunk, at least, in which lost characters are counted."""


def predict(config: PredictConfig) -> int:
    """Write a prediction for each row of the input; how many there were.

    Raises:
        ElektronError: there is no such model or file, or the file is not one for the model.
    """
    if config.input != "-" and config.output is not None:
        refuse_same_file(Path(config.input), config.output)
    with writing(config.output) as writer:
        return answer(config, writer)


def predictions(config: PredictConfig) -> list[Row]:
    """Each row of the input with its prediction, in Python's memory; `config.output` is left alone.

    Raises:
        ElektronError: as in `predict`.
    """
    collected = Collected()
    answer(config, collected)
    return collected.rows


class Collected:
    """A writer into memory."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Append."""
        self.rows += rows

    def close(self) -> None:
        """Nothing is open."""


def answer(config: PredictConfig, writer: Writer) -> int:
    """Let a writer have a prediction for each row of the input; how many there were."""
    predictor = load_predictor(
        config.model, config.task, config.decoding, config.batch_size, config.precision
    )
    say: Say
    if config.documents:
        layout, say = QUESTIONS, open_book(predictor, config).predictions
    else:
        layout, say = predictor.task.files(), predictor.predict
    unknown = UnknownText(predictor, layout, config)
    with Progress(f"predicting {config.input}", None, "rows") as bar:
        answers = Answers(unknown.counted(say), writer, bar.update)
        stdin: IO[bytes] = sys.stdin.buffer
        if config.output is None:
            stdin = BufferedReader(Arriving(stdin, before_waiting=answers.give))
        answers.take(read_records([config.input], layout, config, False, stdin))
    unknown.found.check(config.input, allow=True)
    return answers.given


class UnknownText:
    """Counts the characters of the input that become [UNK], and refuses a file whose first rows have too many."""

    def __init__(self, predictor: Predictor, layout: Layout, config: PredictConfig) -> None:
        self.counter = UnknownCounter.of(predictor.tokenizer)
        self.layout = layout
        self.config = config
        self.found = Unknown()

    def counted(self, say: Say) -> Say:
        """The same function, which counts the rows that it is given."""

        def counted(records: Sequence[Record]) -> list[Prediction]:
            may_refuse = not self.found.characters and not self.config.allow_unknown
            some = records[:: max(1, len(records) // COUNTED)]
            self.found.add(self.counter.count(input_texts(self.layout, some)))
            if may_refuse and self.found.fraction > TOO_MUCH and self.config.input != "-":
                self.found.check(self.config.input, allow=False)
            return say(records)

        return counted


class Answers:
    """Rows that wait until they are enough for the network, and are then written with what it says."""

    def __init__(self, say: Say, writer: Writer, progress: Callable[[int], None]) -> None:
        self.say = say
        self.writer = writer
        self.progress = progress
        self.beside = Beside()
        self.waiting: list[Record] = []
        self.given = 0
        """Rows that are answered."""

    def take(self, records: Iterable[Record]) -> None:
        """Answer all of these, a chunk at a time."""
        for record in records:
            self.waiting.append(record)
            if len(self.waiting) == CHUNK:
                self.give()
        self.give()

    def give(self) -> None:
        """Answer what waits, if anything does."""
        if not self.waiting:
            return
        records, self.waiting = self.waiting, []
        self.writer.write(self.beside.rows(records, self.say(records)))
        self.given += len(records)
        self.progress(self.given)


class Arriving(RawIOBase):
    """A stream of which what has arrived is read at once; before it waits for more, it says so."""

    def __init__(self, stream: IO[bytes], before_waiting: Callable[[], None]) -> None:
        self.stream: Any = stream
        self.before_waiting = before_waiting
        self.may_wait = has_descriptor(stream)

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what there is, up to the buffer's size; 0 at the end."""
        if self.may_wait and not select([self.stream], [], [], 0)[0]:
            self.before_waiting()
        found: bytes = self.stream.read1(len(buffer))
        buffer[: len(found)] = found
        return len(found)


def has_descriptor(stream: IO[bytes]) -> bool:
    """Whether it is a file, pipe or terminal of the system, and nothing that lies in memory."""
    try:
        stream.fileno()
    except OSError:
        return False
    return True


def open_book(predictor: Predictor, config: PredictConfig) -> OpenBook:
    """Answers from documents.

    Raises:
        ElektronError: the model answers no questions.
    """
    from elektron.inference.passages import OpenBook, Passages

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
