"""`Predictor`: run a model on records and return predictions; used in training, evaluation and prediction.

Batches have features of similar length, so that there is little padding, and predictions are returned in the order of
the records. The number of tokens in a batch, including padding, is limited, because it determines memory and speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elektron.accelerator import Accelerator
from elektron.finetuning.inputs import Batch, Features, Records
from elektron.finetuning.tasks.base import Outputs, Predictions, Task
from elektron.io.checksums import write_checksums
from elektron.progress import Progress

MAX_BATCH_TOKENS = {"cpu": 4096, "cuda": 32_768}
"""Most tokens in a batch, by type of device. On CPUs more are not faster, and slower once activations exceed caches."""
MIN_FILL = 1 / 16
"""A batch with at least this fraction of `MAX_BATCH_TOKENS` gets no much shorter rows, see `MIN_LENGTH_RATIO`."""
MIN_LENGTH_RATIO = 0.8
"""A row is much shorter if its length is below this fraction of the longest row in the batch."""


class Scored(NamedTuple):
    """Predictions for labelled records."""

    predictions: Predictions
    before_tuning: Predictions
    """Predictions before the task chose settings, such as a threshold, on these records; the same if it chose none."""
    loss: float
    """Mean loss over the features."""


@dataclass
class Predictor:
    """A model with its task and tokenizer, on a device."""

    task: Task
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    accelerator: Accelerator
    batch_size: int | None = None
    """Most rows in a batch; batches of long rows have fewer. None for as many as `MAX_BATCH_TOKENS` allows."""

    def __post_init__(self) -> None:
        self.model.to(self.accelerator.device)
        self.model.eval()

    def save(self, folder: Path) -> None:
        """Write the model, its tokenizer and its task; transformers can load the folder."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.task.save(folder)
        write_checksums(folder)

    def predict(self, records: Records, title: str | None = None, features: Features | None = None) -> Predictions:
        """A prediction for each record, with a progress bar if there is a title; `features` avoids computing them."""
        if not records:
            return []
        features = features or self.task.features(records, self.tokenizer, labelled=False)
        outputs, _ = self._run(features, title, loss=False)
        return self.task.predictions(records, features, outputs)

    def score(self, records: Records, tune: bool = False) -> Scored:
        """Predictions for labelled records and their loss, in one pass over the records.

        Args:
            records: labelled records.
            tune: whether the task chooses settings, such as a threshold, on these records.
        """
        features = self.task.features(records, self.tokenizer, labelled=True)
        outputs, loss = self._run(features, "evaluating")
        predictions = before = self.task.predictions(records, features, outputs)
        if tune and (tuned := self.task.tuned(records, before)) is not self.task:
            self.task = tuned
            predictions = tuned.predictions(records, features, outputs)
        return Scored(predictions, before, loss)

    def loss(self, features: Features) -> float:
        """The mean loss of labelled features."""
        return self._run(features, "evaluating", outputs=False)[1]

    def _run(
        self, features: Features, title: str | None, outputs: bool = True, loss: bool = True
    ) -> tuple[Outputs, float]:
        """The result of `Task.forward` for each feature if `outputs`, and the mean loss if `loss`."""
        results: Outputs = [None] * len(features)
        total = 0.0
        with torch.no_grad(), self.accelerator.autocast():
            for indices, batch in self.batches(features, title):
                output = self.model(**batch) if loss else None
                if output is not None:
                    total += float(output.loss) * len(indices)
                if outputs:
                    for index, result in zip(indices, self.task.forward(self.model, batch, output), strict=True):
                        results[index] = result
        return results, total / len(features)

    def batches(self, features: Features, title: str | None = None) -> Iterator[tuple[list[int], Batch]]:
        """Indices of features and their batch on the device; the longest come first, to run out of memory early."""
        sizes = list(map(self.task.size, features))
        tokens = MAX_BATCH_TOKENS[self.accelerator.device.type]
        done = 0
        with Progress(title or "", len(features), "inputs", shown=title is not None, brief=True) as bar:
            for indices in batches_by_size(sizes, tokens, self.batch_size):
                batch = self.task.collate([features[index] for index in indices], self.tokenizer)
                yield indices, {name: tensor.to(self.accelerator.device) for name, tensor in batch.items()}
                done += len(indices)
                bar.update(done)


def batches_by_size(sizes: Sequence[int], max_tokens: int, max_rows: int | None) -> Iterator[list[int]]:
    """Group rows into batches of indices, the longest rows first.

    Args:
        sizes: number of tokens of each row.
        max_tokens: most tokens in a batch including padding, unless a single row has more.
        max_rows: most rows in a batch; None for as many as fit.
    """
    batch: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        longest = sizes[batch[0]] if batch else 0
        if batch and (
            (len(batch) + 1) * longest > max_tokens
            or len(batch) == max_rows
            or (len(batch) * longest >= MIN_FILL * max_tokens and sizes[index] < MIN_LENGTH_RATIO * longest)
        ):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
