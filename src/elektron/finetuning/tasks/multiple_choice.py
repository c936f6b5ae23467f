"""Multiple choice: which of several texts goes with a text, such as the ending of a story."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from transformers import AutoModelForMultipleChoice, PreTrainedTokenizerBase

from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.inputs import encode
from elektron.finetuning.metrics.classification import Classes
from elektron.finetuning.metrics.measure import Measure
from elektron.finetuning.readers.columns import KEY, TEXT
from elektron.finetuning.readers.records import Layout, Record, Role
from elektron.finetuning.tasks.base import (
    Batch,
    Constant,
    EncoderTask,
    Feature,
    Output,
    Prediction,
    Variation,
    pad_inputs,
    variation_of_categories,
)
from elektron.finetuning.tasks.classification import as_name, softmax
from elektron.finetuning.tasks.sentences import with_or_without

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(kw_only=True)
class MultipleChoice(EncoderTask):
    """The number of the choice that fits; choices count from 0, as transformers' own data sets do."""

    name: ClassVar[str] = "multiple-choice"
    layout: ClassVar[Layout] = Layout(
        (
            Role("text", ("text", "question", "context", "sent1", "ctx", "premise")),
            Role("choices", ("choices", "endings", "options")),
            Role("label", ("label", "answer", "answerKey"), "labelled"),
            Role("context", ("article", "passage", "context", "paragraph", "story"), "together"),
        )
    )
    figure: ClassVar[str] = "accuracy"
    auto_class: ClassVar[Any] = AutoModelForMultipleChoice

    passages: bool | None = None
    """Whether there is a passage that the text asks about; None: where the records have one."""

    def files(self) -> Layout:
        """A passage is needed where training had one, and not read where it had none."""
        return with_or_without(super().files(), "context", self.passages)

    @classmethod
    def learn(cls, records: Sequence[Record], config: FinetuneConfig, encoder: Encoder) -> Self:
        """How long texts are read, and whether there are passages.

        Raises:
            ElektronError: the right choice is always in the same place.
        """
        if len({right_choice(record) for record in records}) < 2:
            raise ElektronError(
                f"{records[0].where.partition(',')[0]}: in all {len(records)} training rows choice "
                f"{records[0].values['label']!r} is right: there is nothing to tell apart"
            )
        assert config.max_length is not None
        return cls(max_length=config.max_length, passages="context" in records[0].values)

    def check(self, records: Sequence[Record]) -> None:
        """Refuse a label that is none of the choices."""
        for record in records:
            right_choice(record)

    def head_settings(self) -> dict[str, Any]:
        """The head has one score a choice, whatever their number."""
        return {}

    def features(
        self, records: Sequence[Record], tokenizer: PreTrainedTokenizerBase, labelled: bool
    ) -> list[Feature]:
        """One feature a record, `choices` the inputs of its text with each choice.

        Where there is a passage, it is read with the text and the choice together.
        """
        texts, choices = [], []
        for record in records:
            text, passage = str(record.values["text"]), record.values.get("context")
            for choice in choices_of(record):
                texts.append(text if passage is None else str(passage))
                choices.append(choice if passage is None else f"{text} {choice}")
        inputs = iter(encode(texts, choices, tokenizer, self.max_length, "head", 0))
        found: list[Feature] = []
        for number, record in enumerate(records):
            rows = [next(inputs) for _ in choices_of(record)]
            longest = max(rows, key=lambda row: len(row["input_ids"]))
            feature = {"record": number, "choices": rows, "input_ids": longest["input_ids"]}
            if labelled:
                feature["labels"] = right_choice(record)
            found.append(feature)
        return found

    def size(self, feature: Feature) -> int:
        """All choices are read."""
        return len(feature["choices"]) * len(feature["input_ids"])

    def collate(self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Inputs `(batch, choices, length)`; where a record has fewer choices, the first fills up."""
        most = max(len(feature["choices"]) for feature in features)
        rows = [
            row
            for feature in features
            for row in feature["choices"]
            + feature["choices"][:1] * (most - len(feature["choices"]))
        ]
        batch = {
            name: tensor.view(len(features), most, -1)
            for name, tensor in pad_inputs(rows, tokenizer).items()
        }
        if "labels" in features[0]:
            batch["labels"] = torch.tensor([feature["labels"] for feature in features])
        return batch

    def predictions(
        self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[Output]
    ) -> list[Prediction]:
        """`label`, the number of the choice, its `choice` and `score`."""
        found: list[Prediction] = []
        for record, logits in zip(records, outputs, strict=True):
            choices = choices_of(record)
            scores = softmax(logits[: len(choices)])
            best = int(scores.argmax())
            found.append(
                {"label": best, "choice": choices[best], "score": round(float(scores[best]), 6)}
            )
        return found

    def measure(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> Measure:
        """Accuracy; the figures by class treat the place of the right choice as the class."""
        most = max(len(choices_of(record)) for record in records)
        return Classes(
            np.array([right_choice(record) for record in records]),
            np.array([prediction["label"] for prediction in predictions]),
            [str(place) for place in range(most)],
        )

    def constant(self, records: Sequence[Record], train: Sequence[Record]) -> Constant:
        """Always the place that is right most often."""
        place, _ = Counter(map(right_choice, records)).most_common(1)[0]
        return Constant(f"always choice {place}", [{"label": place, "score": 1.0}] * len(records))

    def variation(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> Variation:
        """By the place of the choice."""
        return variation_of_categories(
            [f"choice {prediction['label']}" for prediction in predictions],
            [f"choice {right_choice(record)}" for record in records],
            unit="row",
        )


def choices_of(record: Record) -> list[str]:
    """The choices as text.

    Raises:
        ElektronError: there are fewer than two.
    """
    choices = record.values["choices"]
    if isinstance(choices, dict):
        choices = choices[TEXT]
    if not isinstance(choices, list) or len(choices) < 2:
        raise ElektronError(
            f"{record.where}: there must be two choices or more: --choices names a column with a "
            "list, or several columns with commas between them"
        )
    return [str(choice) for choice in choices]


def right_choice(record: Record) -> int:
    """The number of the right choice, from 0; a letter or the choice itself will do too, or its key if there are keys.

    Raises:
        ElektronError: the label is none of them, or says two things.
    """
    choices, label = choices_of(record), as_name(record.values["label"])
    given = record.values["choices"]
    if isinstance(given, dict):
        if label in given[KEY]:
            return given[KEY].index(label)
    elif label.isdecimal() and int(label) < len(choices):
        if label in choices and choices[int(label)] != label:
            raise ElektronError(
                f"{record.where}: the label {label!r} is the number of one choice and the text of "
                "another: give letters"
            )
        return int(label)
    if label in choices:
        return choices.index(label)
    if not isinstance(given, dict) and len(label) == 1 and label.upper() in LETTERS[: len(choices)]:
        return LETTERS.index(label.upper())
    raise ElektronError(
        f"{record.where}: the label {label!r} is none of the {len(choices)} choices: "
        "give its number from 0, its letter or its text, or its key where choices have keys"
    )
