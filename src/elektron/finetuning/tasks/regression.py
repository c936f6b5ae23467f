"""Regression: a number for a text or a pair of texts, such as how similar two sentences are."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from elektron.errors import ElektronError
from elektron.finetuning.baselines import ridge_regression
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.inputs import Records
from elektron.finetuning.metrics.measure import Measure
from elektron.finetuning.metrics.regression import regression
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.roles import LAYOUTS, Layout
from elektron.finetuning.tasks.base import Baseline, Prediction, Predictions, Variation
from elektron.finetuning.tasks.classification import SentenceTask


@dataclass(kw_only=True)
class Regression(SentenceTask):
    """A number, trained with squared error.

    The network is trained on standardised numbers (minus the training mean, divided by their
    standard deviation), so that the learning rate fits any scale. After training, mean and spread go
    into the last layer, so that the model's logit is the number, in plain transformers too.
    """

    name: ClassVar[str] = "regression"
    layout: ClassVar[Layout] = LAYOUTS["regression"]
    metric: ClassVar[str] = "pearson"

    mean: float
    """Of the training numbers."""
    spread: float
    """Their standard deviation."""

    @classmethod
    def from_records(cls, records: Records, config: FinetuneConfig, encoder: Encoder) -> Self:
        numbers = np.array([number_of(record) for record in records])
        if len(set(numbers.tolist())) < 2:
            count, number = len(records), numbers[0]
            raise cls.nothing_to_learn(records, f"all {count} rows have the same number, {number:g}")
        return cls(
            mean=float(numbers.mean()),
            spread=float(numbers.std()),
            pairs="pair" in records[0].values,
            **cls.configured(config),
        )

    def finished(self, model: PreTrainedModel) -> Self:
        """Put mean and spread into the last layer."""
        last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        with torch.no_grad():
            last.weight.mul_(self.spread)
            last.bias.mul_(self.spread).add_(self.mean)
        return dataclasses.replace(self, mean=0.0, spread=1.0)

    def truth(self, record: Record) -> Prediction:
        return {"score": number_of(record)}

    def head_settings(self) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def target(self, record: Record) -> float:
        return (number_of(record) - self.mean) / self.spread

    def prediction(self, logits: NDArray[np.float32]) -> Prediction:
        return {"score": round(self.mean + self.spread * float(logits[0]), 6)}

    def measure(self, records: Records, predictions: Predictions) -> Measure:
        return regression(list(map(number_of, records)), [row["score"] for row in predictions])

    @property
    def compared(self) -> tuple[str, ...]:
        """Predictions may correlate with the truth and be far from it: their errors count too."""
        return ("pearson", "mse")

    def baselines(self, records: Records, train: Records) -> list[Baseline]:
        """The mean, and ridge regression on TF-IDF features."""
        mean = float(np.mean(list(map(number_of, records))))
        found = [Baseline(f"always {mean:.5g}", [{"score": mean}] * len(records))]
        learned = ridge_regression(train, list(map(number_of, train)), records)
        if learned is not None:
            found.append(Baseline(learned[0], [{"score": float(score)} for score in learned[1]]))
        return found

    def variation(self, records: Records, predictions: Predictions) -> Variation:
        scores = np.array([prediction["score"] for prediction in predictions])
        true = np.array(list(map(number_of, records)))
        summary = f"it predicts {scores.mean():.5g} for every text, give or take {scores.std():.2g}"
        return Variation(float(scores.std()), float(true.std()), summary)


def number_of(record: Record) -> float:
    """The label as a number.

    Raises:
        ElektronError: it is none.
    """
    value = record.values["label"]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ElektronError(f"{record.where}: {str(value)[:40]!r} is no number: is --label the right column?")
    return number
