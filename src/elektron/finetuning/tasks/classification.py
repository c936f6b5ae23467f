"""Classification and regression: a class, several labels or a number for a text or a pair of texts."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from elektron.configuration import NotNegative
from elektron.errors import ElektronError
from elektron.finetuning.baselines import logistic_regression, ridge_regression
from elektron.finetuning.config import FinetuneConfig, Truncation
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.inputs import Features, Records, Tokenizer, encode
from elektron.finetuning.metrics.classification import multi_label, single_label
from elektron.finetuning.metrics.measure import Measure
from elektron.finetuning.metrics.regression import regression
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.roles import Layout
from elektron.finetuning.readers.values import class_name
from elektron.finetuning.tasks.base import Baseline, LabelledTask, Outputs, Prediction, Predictions, Task, Variation

HAS_LABEL = 0.5
"""Labels with at least this probability are predicted, if a text may have several labels."""


@dataclass(kw_only=True)
class SentenceTask(Task):
    """A task whose model computes one row of logits for a text or a pair of texts."""

    auto_class: ClassVar[Any] = AutoModelForSequenceClassification

    pairs: bool | None
    """Whether rows are pairs of texts; None if that is not known, and depends on the records."""
    truncation: Truncation
    """What is read of texts longer than `max_length`."""
    stride: NotNegative[int]
    """Tokens by which windows overlap."""

    @property
    def had_column(self) -> dict[str, bool | None]:
        return {"pair": self.pairs}

    @abstractmethod
    def target(self, record: Record) -> Any:
        """What the loss compares the logits with."""

    @abstractmethod
    def prediction(self, logits: NDArray[np.float32]) -> Prediction:
        """The prediction of one row of logits."""

    def features(self, records: Records, tokenizer: Tokenizer, labelled: bool) -> Features:
        """Inputs of each text; every window of a long one has the label of the whole."""
        texts = [str(record.values["text"]) for record in records]
        pairs = None
        if self.pairs or (self.pairs is None and "pair" in records[0].values):
            pairs = [str(record.values["pair"]) for record in records]
        features = encode(
            tokenizer, texts, pairs, max_length=self.max_length, truncation=self.truncation, stride=self.stride
        )
        if labelled:
            targets = list(map(self.target, records))
            for feature in features:
                feature["labels"] = targets[feature["record"]]
        return features

    def predictions(self, records: Records, features: Features, outputs: Outputs) -> Predictions:
        """One prediction for each record, from the logits averaged over the windows of its text."""
        logits: list[Outputs] = [[] for _ in records]
        for feature, output in zip(features, outputs, strict=True):
            logits[feature["record"]].append(output)
        return [self.prediction(np.mean(windows, axis=0)) for windows in logits]


@dataclass(kw_only=True)
class Classification(SentenceTask, LabelledTask):
    """Predicts one label, or several labels, for a text or a pair of texts."""

    name: ClassVar[str] = "classification"

    several: bool = False
    """Whether a text may have any number of labels."""
    label_separator: str | None = None
    """Separator between the labels in the training files, if they are one text."""

    @property
    def metric(self) -> str:  # type: ignore[override]
        """Micro F1 if a text may have several labels, because few rows have all of them right; else accuracy."""
        return "f1" if self.several else "accuracy"

    def files(self) -> Layout:
        return dataclasses.replace(super().files(), label_separator=self.label_separator)

    @classmethod
    def from_records(cls, records: Records, config: FinetuneConfig, encoder: Encoder) -> Self:
        several = any(isinstance(record.values["label"], list) for record in records)
        counts = Counter(name for record in records for name in label_names(record))
        if len(counts) < 2:
            label = next(iter(counts), "none")
            raise cls.nothing_to_learn(records, f"all {len(records)} rows have the same label, {label!r}")
        if len(counts) > 50 and len(counts) > len(records) / 2:
            raise ElektronError(
                f"{records[0].where}: {len(counts)} different labels in {len(records)} rows, such as "
                f"{next(iter(counts))!r}: is --label the right column?"
            )
        if several and config.label_smoothing:
            raise ElektronError("--label-smoothing does not apply if a text has several labels")
        return cls(
            labels=list(dict.fromkeys([*records[0].classes, *sorted(counts, key=numbers_first)])),
            several=several,
            pairs="pair" in records[0].values,
            **cls.configured(config),
        )

    @cached_property
    def label2id(self) -> dict[str, int]:
        """The id of each class by its normalized name (`class_name`); other models may write it differently."""
        return {class_name(name): index for index, name in enumerate(self.labels)}

    def label_ids(self, record: Record) -> list[int]:
        """The ids of a record's labels."""
        names = label_names(record)
        for name in names:
            if name not in self.label2id:
                raise self.unknown(record, "label", name)
        return [self.label2id[name] for name in names]

    def truth(self, record: Record) -> Prediction:
        names = [self.labels[index] for index in self.label_ids(record)]
        if not self.several and len(names) != 1:
            raise ElektronError(f"{record.where}: {len(names)} labels, but the model predicts one label per text")
        return {"labels": names} if self.several else {"label": names[0]}

    def head_settings(self) -> dict[str, Any]:
        kind = "multi" if self.several else "single"
        return super().head_settings() | {"problem_type": f"{kind}_label_classification"}

    def target(self, record: Record) -> int | list[float]:
        """The id of the class; with several labels, 1.0 for each label that the text has and 0.0 for the others."""
        ids = self.label_ids(record)
        return [float(index in ids) for index in range(len(self.labels))] if self.several else ids[0]

    def prediction(self, logits: NDArray[np.float32]) -> Prediction:
        """`label` and `score`, or `labels` and their `scores`."""
        if self.several:
            scores = torch.from_numpy(logits).sigmoid().numpy()
            ids = np.flatnonzero(scores >= HAS_LABEL)
            return {
                "labels": [self.labels[index] for index in ids],
                "scores": [round(float(scores[index]), 6) for index in ids],
            }
        index, score = likeliest(logits)
        return {"label": self.labels[index], "score": score}

    def measure(self, records: Records, predictions: Predictions) -> Measure:
        if self.several:
            true, predicted = (
                np.array([[label in row["labels"] for label in self.labels] for row in rows])
                for rows in (map(self.truth, records), predictions)
            )
            return multi_label(true, predicted, self.labels)
        truth = np.array([self.label_ids(record)[0] for record in records])
        labels = np.array([self.labels.index(prediction["label"]) for prediction in predictions])
        return single_label(truth, labels, self.labels)

    @property
    def compared(self) -> tuple[str, ...]:
        return ("f1_micro",) if self.several else ("accuracy",)

    def baselines(self, records: Records, train: Records) -> list[Baseline]:
        """The most common label, or the most common labels with the highest micro F1; logistic regression."""
        counts = Counter(self.labels[index] for record in records for index in self.label_ids(record))
        names = [name for name, _ in counts.most_common()]
        if not self.several:
            baselines = [Baseline(f"always {names[0]!r}", [{"label": names[0], "score": 1.0}] * len(records))]
            labels = [self.truth(record)["label"] for record in train]
            if learned := logistic_regression(train, labels, records):
                baselines.append(Baseline(learned[0], [{"label": str(name)} for name in learned[1]]))
            return baselines
        right = np.cumsum([counts[name] for name in names])
        predicted = len(records) * np.arange(1, len(names) + 1)
        best = int(np.argmax(right / (predicted + counts.total()))) + 1 if names else 0
        constant = {"labels": names[:best], "scores": [1.0] * best}
        described = ", ".join(map(repr, names[:best])) or "no label"
        baselines = [Baseline(f"always {described}", [constant] * len(records))]
        targets = np.array([self.target(record) for record in train], dtype=np.bool_)
        if learned := logistic_regression(train, targets, records):
            rows = [[self.labels[index] for index in np.flatnonzero(row)] for row in learned[1]]
            baselines.append(Baseline(learned[0], [{"labels": labels} for labels in rows]))
        return baselines

    def outcomes(self, prediction: Prediction) -> list[str]:
        if self.several:
            return [", ".join(sorted(prediction["labels"])) or "no label"]
        return [prediction["label"]]


@dataclass(kw_only=True)
class Regression(SentenceTask):
    """Predicts a number for a text or a pair of texts, trained with squared error.

    The network is trained on standardized numbers (minus the training mean, divided by their standard deviation),
    so that the learning rate fits any scale. After training, the weights of the last layer are changed so that the
    model's logit is the number itself, also in transformers.
    """

    name: ClassVar[str] = "regression"
    metric: ClassVar[str] = "pearson"

    mean: float
    """Mean of the training numbers; 0 once it is part of the last layer, see `finished`."""
    spread: float
    """Standard deviation of the training numbers; 1 once it is part of the last layer."""

    @classmethod
    def from_records(cls, records: Records, config: FinetuneConfig, encoder: Encoder) -> Self:
        numbers = np.array([numeric_label(record) for record in records])
        if len(set(numbers.tolist())) < 2:
            count, number = len(records), numbers[0]
            raise cls.nothing_to_learn(records, f"all {count} rows have the same number, {number:g}")
        return cls(
            mean=float(numbers.mean()),
            spread=float(numbers.std()),
            pairs="pair" in records[0].values,
            **cls.configured(config),
        )

    def load_model(self, folder: str) -> PreTrainedModel:
        model = super().load_model(folder)
        last_layer(model).__class__ = LinearInFp32
        return model

    def finished(self, model: PreTrainedModel) -> Self:
        """Make mean and spread part of the last layer."""
        last = last_layer(model)
        last.__class__ = LinearInFp32
        with torch.no_grad():
            last.weight.mul_(self.spread)
            last.bias.mul_(self.spread).add_(self.mean)
        return dataclasses.replace(self, mean=0.0, spread=1.0)

    def truth(self, record: Record) -> Prediction:
        return {"score": numeric_label(record)}

    def head_settings(self) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def target(self, record: Record) -> float:
        return (numeric_label(record) - self.mean) / self.spread

    def prediction(self, logits: NDArray[np.float32]) -> Prediction:
        return {"score": float(f"{self.mean + self.spread * float(logits[0]):.7g}")}

    def measure(self, records: Records, predictions: Predictions) -> Measure:
        return regression(list(map(numeric_label, records)), [row["score"] for row in predictions])

    @property
    def compared(self) -> tuple[str, ...]:
        """Correlation and error, because predictions that correlate with the truth may still be far from it."""
        return ("pearson", "mse")

    def baselines(self, records: Records, train: Records) -> list[Baseline]:
        """The mean, and ridge regression on TF-IDF features."""
        mean = float(np.mean(list(map(numeric_label, records))))
        baselines = [Baseline(f"always {mean:.5g}", [{"score": mean}] * len(records))]
        if learned := ridge_regression(train, list(map(numeric_label, train)), records):
            baselines.append(Baseline(learned[0], [{"score": float(score)} for score in learned[1]]))
        return baselines

    def variation(self, records: Records, predictions: Predictions) -> Variation:
        scores = np.array([prediction["score"] for prediction in predictions])
        true = np.array(list(map(numeric_label, records)))
        summary = f"it predicts {scores.mean():.5g} for every text, ± {scores.std():.2g}"
        return Variation(float(scores.std()), float(true.std()), summary)


class LinearInFp32(nn.Linear):
    """A layer computed in fp32 also under autocast: bf16 would round a bias of 2,013.7 to 2,016."""

    def forward(self, input: Tensor) -> Tensor:
        """`(…, in_features)` to `(…, out_features)`."""
        if not torch.is_autocast_enabled(input.device.type):
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def last_layer(model: PreTrainedModel) -> nn.Linear:
    """The layer whose output is the predicted number."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


def label_names(record: Record) -> list[str]:
    """The labels of a record as text: one, or all of a list."""
    value = record.values["label"]
    values = value if isinstance(value, list) else [value]
    return [class_name(as_name(item)) for item in values]


def as_name(value: Any) -> str:
    """A label as text; a whole number such as 1.0 is written 1."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def numbers_first(name: str) -> tuple[float, str]:
    """Sort key: numbers by their size, then words by the alphabet."""
    try:
        return (float(name), name)
    except ValueError:
        return (float("inf"), name)


def likeliest(logits: NDArray[np.float32]) -> tuple[int, float]:
    """The index of the highest of `(classes,)` logits, and its probability."""
    scores = torch.from_numpy(logits).double().softmax(0)
    best = int(scores.argmax())
    return best, round(float(scores[best]), 6)


def numeric_label(record: Record) -> float:
    """The label as a number.

    Raises:
        ElektronError: it is not a finite number.
    """
    value = record.values["label"]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ElektronError(f"{record.where}: {str(value)[:40]!r} is not a number: is --label the right column?")
    return number
