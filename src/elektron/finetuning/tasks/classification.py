"""Text classification: one label of two or many, or several at once, for a text or a pair of texts."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification

from elektron.errors import ElektronError, did_you_mean
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.metrics.classification import Classes, LabelSets
from elektron.finetuning.metrics.measure import Measure
from elektron.finetuning.readers.labels import class_name
from elektron.finetuning.readers.records import Layout, Record, Role
from elektron.finetuning.tasks.base import (
    Constant,
    Prediction,
    Variation,
    variation_of_categories,
)
from elektron.finetuning.tasks.sentences import PAIR, TEXT, SentenceTask

LABELS = (
    "label",
    "labels",
    "gold_label",
    "class",
    "category",
    "sentiment",
    "topic",
    "target",
    "Quality",
)

# From this probability on a label is among those of a text that may have several.
HAS_LABEL = 0.5


@dataclass(kw_only=True)
class Classification(SentenceTask):
    """Which label, or which labels, a text or a pair of texts has."""

    name: ClassVar[str] = "classification"
    layout: ClassVar[Layout] = Layout((TEXT, PAIR, Role("label", LABELS, "labelled", several=True)))
    figure: ClassVar[str] = "accuracy"
    auto_class: ClassVar[Any] = AutoModelForSequenceClassification

    labels: list[str]
    """Names of the classes in the order of the logits."""
    several: bool = False
    """Whether a text may have any number of labels."""
    label_separator: str | None = None
    """What stands between them in the training files, if they are one text."""

    def files(self) -> Layout:
        """Labels are told apart as in the training files."""
        return dataclasses.replace(super().files(), label_separator=self.label_separator)

    @classmethod
    def learn(cls, records: Sequence[Record], config: FinetuneConfig, encoder: Encoder) -> Self:
        """The labels that occur.

        Raises:
            ElektronError: there is one only, or so many that they must be something else.
        """
        several = any(isinstance(record.values["label"], list) for record in records)
        counts = Counter(name for record in records for name in label_names(record))
        if len(counts) < 2:
            only = next(iter(counts), "none")
            raise ElektronError(
                f"{records[0].where.partition(',')[0]}: all {len(records)} training rows have the "
                f"same label, {only!r}: there is nothing to tell apart"
            )
        if len(counts) > 50 and len(counts) > len(records) / 2:
            raise ElektronError(
                f"{records[0].where.partition(',')[0]}: {len(counts)} different labels in "
                f"{len(records)} rows, such as {next(iter(counts))!r}: is --label the right column?"
            )
        if several and config.label_smoothing:
            raise ElektronError("--label-smoothing has no meaning where a text has several labels")
        return cls(
            labels=sorted(counts, key=in_order),
            several=several,
            label_separator=config.label_separator,
            **cls.reading(records, config),
        )

    def check(self, records: Sequence[Record]) -> None:
        """Refuse a label that training never had."""
        numbers = self.numbers
        for record in records:
            for name in label_names(record):
                if name not in numbers:
                    near = did_you_mean(name, self.labels)
                    some = ", ".join(self.labels[:10]) + (" …" if len(self.labels) > 10 else "")
                    raise ElektronError(
                        f"{record.where}: the label {name!r} is none of the training data's"
                        f"{near or f': {some}'}"
                    )

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each class by its name as files are read, whichever way a model of others writes it."""
        return {class_name(name): number for number, name in enumerate(self.labels)}

    def head_settings(self) -> dict[str, Any]:
        """Names of the classes, and whether they exclude one another."""
        kind = "multi" if self.several else "single"
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {name: number for number, name in enumerate(self.labels)},
            "problem_type": f"{kind}_label_classification",
        }

    def target(self, record: Record) -> int | list[float]:
        """The number of the class, or a 1 for each that the text has."""
        names = label_names(record)
        if self.several:
            return [float(name in names) for name in self.numbers]
        return self.numbers[names[0]]

    def prediction(self, logits: NDArray[np.float32]) -> Prediction:
        """`label` and `score`, or `labels` and their `scores`."""
        if self.several:
            scores = 1 / (1 + np.exp(-logits))
            has = scores >= HAS_LABEL
            return {
                "labels": [name for name, yes in zip(self.labels, has, strict=True) if yes],
                "scores": [round(float(score), 6) for score in scores[has]],
            }
        scores = softmax(logits)
        best = int(scores.argmax())
        return {"label": self.labels[best], "score": round(float(scores[best]), 6)}

    def measure(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> Measure:
        """Accuracy, precision, recall, F1 and MCC."""
        if self.several:
            return LabelSets(
                self._sets([label_names(record) for record in records]),
                self._sets([prediction["labels"] for prediction in predictions]),
                self.labels,
            )
        return Classes(
            np.array([self.numbers[label_names(record)[0]] for record in records]),
            np.array([self.labels.index(prediction["label"]) for prediction in predictions]),
            self.labels,
        )

    def details(
        self, records: Sequence[Record], predictions: Sequence[Prediction]
    ) -> dict[str, Any]:
        """Figures by class and, where classes exclude one another, who was taken for whom."""
        measure = self.measure(records, predictions)
        assert isinstance(measure, Classes | LabelSets)
        found: dict[str, Any] = {"per_class": measure.per_class()}
        if isinstance(measure, Classes):
            found["confusion"] = {"labels": self.labels, "counts": measure.confusion().tolist()}
        return found

    @property
    def compared(self) -> tuple[str, ...]:
        """Micro F1 where there are several labels: few rows have all of them right by chance or otherwise."""
        return ("f1_micro",) if self.several else ("accuracy",)

    def constant(self, records: Sequence[Record], train: Sequence[Record]) -> Constant:
        """Always the commonest label; of several, as many as give the highest micro F1."""
        counts = Counter(name for record in records for name in label_names(record))
        labels = [name for name, _ in counts.most_common()]
        if not self.several:
            prediction: Prediction = {"label": labels[0], "score": 1.0}
            return Constant(f"always {labels[0]!r}", [prediction] * len(records))
        found = np.cumsum([counts[name] for name in labels])
        predicted = len(records) * np.arange(1, len(labels) + 1)
        best = int(np.argmax(found / (predicted + counts.total()))) + 1 if labels else 0
        said = ", ".join(map(repr, labels[:best])) or "no label"
        prediction = {"labels": labels[:best], "scores": [1.0] * best}
        return Constant(f"always {said}", [prediction] * len(records))

    def variation(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> Variation:
        """By labels, or sets of labels."""
        predicted = [p["labels"] if self.several else [p["label"]] for p in predictions]
        return variation_of_categories(
            [", ".join(sorted(names)) or "no label" for names in predicted],
            [", ".join(sorted(label_names(record))) or "no label" for record in records],
            unit="text",
        )

    def _sets(self, names: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
        return np.array([[class_name(label) in row for label in self.labels] for row in names])


def label_names(record: Record) -> list[str]:
    """The labels of a record as text: one, or all of a list."""
    value = record.values["label"]
    values = value if isinstance(value, list) else [value]
    return [class_name(as_name(item)) for item in values]


def as_name(value: Any) -> str:
    """A label as text; whole numbers that a column holds as 1.0 are written 1."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def in_order(name: str) -> tuple[float, str]:
    """Numbers by their size, then words by the alphabet."""
    try:
        return (float(name), name)
    except ValueError:
        return (float("inf"), name)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities of one row of logits."""
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return powers / powers.sum()
