"""Records in, predictions out: the one way in which training, scoring and prediction use a model.

Rows are read in the order of their length, so that a batch is padded little, and handed back in
their own. A batch has as many rows as a number of tokens allows, padding counted: what a network
needs in memory goes by tokens, and so does what it can do at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elektron.device import Device
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.base import Batch, Feature, Output, Prediction, Task
from elektron.progress import Progress

TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 32_768}
"""By type of device. On CPUs more is no faster, and slower where the activations leave the caches."""

ENOUGH = 1 / 16
"""Of these tokens: a batch that has so many is large enough to end where rows become much shorter."""
SIMILAR = 0.8
"""Rows at least so long, compared with the longest of a batch, are padded to it."""


@dataclass
class Predictor:
    """A model with its task and tokenizer, on a device."""

    task: Task
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    on: Device
    batch_size: int | None = None
    """Most rows that pass through the network at once; long rows are fewer."""

    def __post_init__(self) -> None:
        self.model.to(self.on.device)
        self.model.eval()

    def predict(self, records: Sequence[Record], title: str | None = None) -> list[Prediction]:
        """A prediction for each record, with a progress bar under a title if there is one."""
        if not records:
            return []
        return self.predict_features(
            records, self.task.features(records, self.tokenizer, labelled=False), title
        )

    def predict_features(
        self,
        records: Sequence[Record],
        features: Sequence[Feature],
        title: str | None = None,
    ) -> list[Prediction]:
        """The same where the records' features are at hand."""
        outputs: list[Output] = [None] * len(features)
        done = 0
        with torch.no_grad(), self.on.autocast(), self._progress(title, len(features)) as bar:
            for numbers, batch in self.batches(features):
                for number, output in zip(
                    numbers, self.task.forward(self.model, batch), strict=True
                ):
                    outputs[number] = output
                done += len(numbers)
                bar.update(done)
        return self.task.predictions(records, features, outputs)

    @torch.no_grad()
    def loss(self, features: Sequence[Feature], title: str | None = None) -> float:
        """The mean loss of labelled features."""
        total, done = 0.0, 0
        with self.on.autocast(), self._progress(title, len(features)) as bar:
            for numbers, batch in self.batches(features):
                total += float(self.model(**batch).loss) * len(numbers)
                done += len(numbers)
                bar.update(done)
        return total / len(features)

    @staticmethod
    def _progress(title: str | None, total: int) -> Progress:
        return Progress(title or "", total, "inputs", shown=title is not None, brief=True)

    def batches(self, features: Sequence[Feature]) -> Iterator[tuple[list[int], Batch]]:
        """Numbers of features and their batch on the device, the longest first: what does not fit fails at once."""
        sizes = list(map(self.task.size, features))
        for numbers in batches_by_size(sizes, TOKENS_AT_ONCE[self.on.device.type], self.batch_size):
            batch = self.task.collate([features[number] for number in numbers], self.tokenizer)
            yield numbers, {name: tensor.to(self.on.device) for name, tensor in batch.items()}


def batches_by_size(
    sizes: Sequence[int], tokens: int, most_rows: int | None
) -> Iterator[list[int]]:
    """Numbers of rows in batches, the longest first.

    Args:
        sizes: tokens of each row.
        tokens: most that a batch has, padding counted, unless a single row has more.
        most_rows: of a batch; None for as many as there is room for.
    """
    enough = tokens * ENOUGH
    batch: list[int] = []
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        longest = sizes[batch[0]] if batch else 0
        if batch and (
            (len(batch) + 1) * longest > tokens
            or len(batch) == most_rows
            or (len(batch) * longest >= enough and sizes[number] < SIMILAR * longest)
        ):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
