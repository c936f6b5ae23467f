"""Multiple choice: which of several texts belongs to a text, such as the ending of a story."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from transformers import AutoModelForMultipleChoice

from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.inputs import Batch, Features, Records, Tokenizer, encode
from elektron.finetuning.metrics.classification import single_label
from elektron.finetuning.metrics.measure import Measure
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.base import Baseline, Outputs, Prediction, Predictions, Task
from elektron.finetuning.tasks.classification import as_name, likeliest

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(kw_only=True)
class MultipleChoice(Task):
    """Predicts the number of the right choice, from 0."""

    name: ClassVar[str] = "multiple-choice"
    metric: ClassVar[str] = "accuracy"
    auto_class: ClassVar[Any] = AutoModelForMultipleChoice
    unit: ClassVar[str] = "row"

    passages: bool | None = None
    """Whether rows have a passage that the text is about; None if that is not known, and depends on the records."""

    @property
    def had_column(self) -> dict[str, bool | None]:
        return {"context": self.passages}

    @classmethod
    def from_records(cls, records: Records, config: FinetuneConfig, encoder: Encoder) -> Self:
        if len(set(map(right_choice, records))) < 2:
            label = records[0].values["label"]
            raise cls.nothing_to_learn(records, f"choice {label!r} is correct in all {len(records)} rows")
        return cls(passages="context" in records[0].values, **cls.configured(config))

    def truth(self, record: Record) -> Prediction:
        return {"label": right_choice(record)}

    def features(self, records: Records, tokenizer: Tokenizer, labelled: bool) -> Features:
        """One feature per record, whose `choices` are the inputs of its text with each choice.

        With a passage, the first segment is the passage and the second is text and choice.
        """
        texts, choices = [], []
        for record in records:
            text, passage = str(record.values["text"]), record.values.get("context")
            for choice in choices_of(record):
                texts.append(text if passage is None else str(passage))
                choices.append(choice if passage is None else f"{text} {choice}")
        inputs = iter(encode(tokenizer, texts, choices, max_length=self.max_length))
        features: Features = []
        for index, record in enumerate(records):
            rows = [next(inputs) for _ in choices_of(record)]
            longest = max((row["input_ids"] for row in rows), key=len)
            features.append({"record": index, "choices": rows, "input_ids": longest})
            if labelled:
                features[-1]["labels"] = right_choice(record)
        return features

    def size(self, feature: dict[str, Any]) -> int:
        return len(feature["choices"]) * len(feature["input_ids"])

    def collate(self, features: Features, tokenizer: Tokenizer) -> Batch:
        """Inputs `(batch, choices, length)`; where a record has fewer choices, a wrong one is repeated."""
        width = max(len(feature["choices"]) for feature in features)
        rows = []
        for feature in features:
            choices = feature["choices"]
            wrong = 1 if feature.get("labels") == 0 else 0
            rows += choices + [choices[wrong]] * (width - len(choices))
        batch = super().collate(rows, tokenizer)
        batch = {name: tensor.view(len(features), width, -1) for name, tensor in batch.items()}
        if "labels" in features[0]:
            batch["labels"] = torch.tensor([feature["labels"] for feature in features])
        return batch

    def predictions(self, records: Records, features: Features, outputs: Outputs) -> Predictions:
        """`label`, the number of the choice; `choice`, its text; `score`, its probability."""
        predictions: Predictions = []
        for record, logits in zip(records, outputs, strict=True):
            choices = choices_of(record)
            best, score = likeliest(logits[: len(choices)])
            predictions.append({"label": best, "choice": choices[best], "score": score})
        return predictions

    def measure(self, records: Records, predictions: Predictions) -> Measure:
        """Accuracy, and other metrics in which the number of the right choice is the class."""
        count = max(len(choices_of(record)) for record in records)
        truth = np.array([right_choice(record) for record in records])
        predicted = np.array([prediction["label"] for prediction in predictions])
        measure = single_label(truth, predicted, [str(index) for index in range(count)])
        return dataclasses.replace(measure, details={})

    def baselines(self, records: Records, train: Records) -> list[Baseline]:
        choice, _ = Counter(map(right_choice, records)).most_common(1)[0]
        return [Baseline(f"always choice {choice}", [{"label": choice, "score": 1.0}] * len(records))]

    def outcomes(self, prediction: Prediction) -> list[str]:
        return [f"choice {prediction['label']}"]


def choices_of(record: Record) -> list[str]:
    """The choices as text.

    Raises:
        ElektronError: there are fewer than two.
    """
    choices = record.values["choices"]
    if isinstance(choices, dict):
        choices = choices["text"]
    if not isinstance(choices, list) or len(choices) < 2:
        raise ElektronError(
            f"{record.where}: there must be two choices or more: --choices names a column with a "
            "list, or several columns with commas between them"
        )
    return [str(choice) for choice in choices]


def right_choice(record: Record) -> int:
    """The number of the right choice, from 0.

    The label may also be its letter or its text, or its key where choices have keys, or the name of its column.

    Raises:
        ElektronError: the label is none of them, or is ambiguous.
    """
    choices, label = choices_of(record), as_name(record.values["label"])
    value = record.values["choices"]
    if isinstance(value, dict):
        if label in value["label"]:
            return value["label"].index(label)
    elif label.isdecimal() and int(label) < len(choices):
        if label in choices and choices[int(label)] != label:
            raise ElektronError(
                f"{record.where}: the label {label!r} is the number of one choice and the text of another: give letters"
            )
        return int(label)
    columns = record.names.get("choices", "").split(",")
    if len(columns) > 1 and label in columns:
        return columns.index(label)
    if label in choices:
        return choices.index(label)
    if not isinstance(value, dict) and len(label) == 1 and label.upper() in LETTERS[: len(choices)]:
        return LETTERS.index(label.upper())
    raise ElektronError(
        f"{record.where}: the label {label!r} is none of the {len(choices)} choices: "
        "give its number from 0, its letter or its text, or its key if choices have keys"
    )
