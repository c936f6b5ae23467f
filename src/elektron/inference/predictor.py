"""Records in, predictions out: the one way in which training, scoring and prediction use a model.

Rows are read in the order of their length, so that a batch is padded little, and handed back in
their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elektron.device import Device
from elektron.finetuning.files.records import Record
from elektron.finetuning.tasks.base import Batch, Feature, Output, Prediction, Task

ROWS_AT_ONCE = 64


@dataclass
class Predictor:
    """A model with its task and tokenizer, on a device."""

    task: Task
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    on: Device
    batch: int = ROWS_AT_ONCE
    """Rows that pass through the network at once."""

    def __post_init__(self) -> None:
        self.model.to(self.on.device)
        self.model.eval()

    def predict(
        self, records: Sequence[Record], progress: Callable[[int], None] | None = None
    ) -> list[Prediction]:
        """A prediction for each record; `progress` is told how many features are done."""
        if not records:
            return []
        return self.predict_features(
            records, self.task.features(records, self.tokenizer, labelled=False), progress
        )

    def predict_features(
        self,
        records: Sequence[Record],
        features: Sequence[Feature],
        progress: Callable[[int], None] | None = None,
    ) -> list[Prediction]:
        """The same where the records' features are at hand."""
        outputs: list[Output] = [None] * len(features)
        done = 0
        with torch.no_grad(), self.on.autocast():
            for numbers, batch in self.batches(features):
                for number, output in zip(
                    numbers, self.task.forward(self.model, batch), strict=True
                ):
                    outputs[number] = output
                done += len(numbers)
                if progress is not None:
                    progress(done)
        return self.task.predictions(records, features, outputs)

    @torch.no_grad()
    def loss(self, features: Sequence[Feature]) -> float:
        """The mean loss of labelled features."""
        total = 0.0
        with self.on.autocast():
            for numbers, batch in self.batches(features):
                total += float(self.model(**batch).loss) * len(numbers)
        return total / len(features)

    def batches(self, features: Sequence[Feature]) -> Iterator[tuple[list[int], Batch]]:
        """Numbers of features and their batch on the device, the longest first: what does not fit fails at once."""
        order = sorted(range(len(features)), key=lambda number: -len(features[number]["input_ids"]))
        for first in range(0, len(order), self.batch):
            numbers = order[first : first + self.batch]
            batch = self.task.collate([features[number] for number in numbers], self.tokenizer)
            yield numbers, {name: tensor.to(self.on.device) for name, tensor in batch.items()}
