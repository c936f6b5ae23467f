"""`Predictor`: records to predictions, for training, evaluation and prediction alike.

Rows are batched by length, so that there is little padding, and returned in their own order. A batch
has as many rows as fit a number of tokens with padding, which decides memory and speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elektron.device import Device
from elektron.finetuning.inputs import Batch, Features, Records
from elektron.finetuning.tasks.base import Outputs, Predictions, Task
from elektron.io.checksums import write_checksums
from elektron.progress import Progress

TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 32_768}
"""By type of device. On CPUs more is no faster, and slower where the activations leave the caches."""
LARGE_ENOUGH = 1 / 16
"""Fraction of these tokens from which on a batch ends before rows that are much shorter."""
SIMILAR = 0.8
"""Rows at least so long, relative to the longest of a batch, are padded to it."""


class Scored(NamedTuple):
    """Predictions for labelled records."""

    predictions: Predictions
    before_tuning: Predictions
    """Of the task before it chose its settings on these records, if it did."""
    loss: float
    """Mean over the features."""


@dataclass
class Predictor:
    """A model with its task and tokenizer, on a device."""

    task: Task
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    on: Device
    batch_size: int | None = None
    """Most rows in a batch; of long rows fewer fit."""

    def __post_init__(self) -> None:
        self.model.to(self.on.device)
        self.model.eval()

    def save(self, folder: Path) -> None:
        """Write the model, its tokenizer and its task, which plain transformers loads."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.task.save(folder)
        write_checksums(folder)

    def predict(self, records: Records, title: str | None = None) -> Predictions:
        """A prediction for each record, with a progress bar if there is a title."""
        if not records:
            return []
        features = self.task.features(records, self.tokenizer, labelled=False)
        return self.predict_features(records, features, title)

    def predict_features(self, records: Records, features: Features, title: str | None = None) -> Predictions:
        """As `predict`, of features that are there already."""
        outputs, _ = self._run(features, title, loss=False)
        return self.task.predictions(records, features, outputs)

    def score(self, records: Records, tune: bool = False) -> Scored:
        """Predictions for labelled records and their loss, of one pass over them.

        Args:
            records: labelled.
            tune: whether the task chooses its settings on them, such as a threshold.
        """
        features = self.task.features(records, self.tokenizer, labelled=True)
        outputs, loss = self._run(features, "evaluating")
        predictions = before = self.task.predictions(records, features, outputs)
        if tune and (tuned := self.task.tuned(records, before)) is not self.task:
            self.task = tuned
            predictions = tuned.predictions(records, features, outputs)
        return Scored(predictions, before, loss)

    def loss(self, features: Features, title: str | None = None) -> float:
        """The mean loss of labelled features."""
        return self._run(features, title, outputs=False)[1]

    def _run(
        self, features: Features, title: str | None, outputs: bool = True, loss: bool = True
    ) -> tuple[Outputs, float]:
        """What the task reads of the network's output for each feature, and the mean loss; each if it is wanted."""
        found: Outputs = [None] * len(features)
        total = 0.0
        with torch.no_grad(), self.on.autocast():
            for numbers, batch in self.batches(features, title):
                output = self.model(**batch) if loss else None
                if output is not None:
                    total += float(output.loss) * len(numbers)
                if outputs:
                    for number, each in zip(numbers, self.task.forward(self.model, batch, output), strict=True):
                        found[number] = each
        return found, total / len(features)

    def batches(self, features: Features, title: str | None = None) -> Iterator[tuple[list[int], Batch]]:
        """Numbers of features and their batch on the device, the longest first: what does not fit fails at once."""
        sizes = list(map(self.task.size, features))
        tokens = TOKENS_AT_ONCE[self.on.device.type]
        done = 0
        shown = title is not None
        with Progress(title or "", len(features), "inputs", shown=shown, brief=True) as bar:
            for numbers in batches_by_size(sizes, tokens, self.batch_size):
                batch = self.task.collate([features[number] for number in numbers], self.tokenizer)
                yield numbers, {name: tensor.to(self.on.device) for name, tensor in batch.items()}
                done += len(numbers)
                bar.update(done)


def batches_by_size(sizes: Sequence[int], tokens: int, most_rows: int | None) -> Iterator[list[int]]:
    """Numbers of rows in batches, the longest first.

    Args:
        sizes: tokens of each row.
        tokens: most in a batch with padding, unless a single row has more.
        most_rows: in a batch; None for as many as fit.
    """
    batch: list[int] = []
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        longest = sizes[batch[0]] if batch else 0
        if batch and (
            (len(batch) + 1) * longest > tokens
            or len(batch) == most_rows
            or (len(batch) * longest >= LARGE_ENOUGH * tokens and sizes[number] < SIMILAR * longest)
        ):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
