"""The shape that every task has: what its files hold, what a model reads, what comes out, what is scored.

A task is what must be known of a model besides its weights: the names of its classes, how long
texts are read. It learns this from the training records (`learn`), is written beside the weights
as `task.json`, and goes with them wherever they are used. Training, scoring and prediction know
tasks only through this class.

The way of a row: `Record` → `features` (one, or several where a long text is read in windows) →
`collate` → `forward` → `predictions`, one for each record again → `measure`.
"""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elektron.configuration import validate
from elektron.errors import ElektronError
from elektron.finetuning.config import LEAST_LENGTH, DecodingConfig, FinetuneConfig
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.metrics.measure import Measure
from elektron.finetuning.readers.records import Layout, Record
from elektron.io.files import atomic_write
from elektron.models.attention import use_fast_attention
from elektron.models.loading import load_network

TASK_FILE = "task.json"
FORMAT = 2
IGNORED_LABEL = -100

Feature = dict[str, Any]
"""One row of a batch: `input_ids`, `labels` where they are known, and `record`, the number of the
record that it is of. What a task adds for its own decoding is not passed to the model."""
Output = Any
"""What `forward` gives for one feature: numpy arrays or token ids, on the CPU."""
Prediction = dict[str, Any]
"""What is added to a row: JSON-able, `label` and `score` and the like."""
Batch = dict[str, Tensor]


COLLAPSED = 0.02
"""A model has collapsed if its predictions vary by no more than this share of what the truth does."""


class Constant(NamedTuple):
    """Predictions that do not depend on the text."""

    name: str
    """Such as `always 'positive'`."""
    predictions: list[Prediction]


class Variation(NamedTuple):
    """How much predictions vary, and how much the truth does, in the same unit."""

    predicted: float
    true: float
    summary: str
    """Such as `it predicts 'positive' for every text`."""

    @property
    def collapsed(self) -> bool:
        """Whether the model predicts (nearly) the same everywhere, though the truth differs."""
        return self.true > 0 and self.predicted <= COLLAPSED * self.true


@dataclass(kw_only=True)
class Task(ABC):
    """A task with what it learned from its training records."""

    name: ClassVar[str]
    """Its word on the command line."""
    layout: ClassVar[Layout]
    figure: ClassVar[str]
    """The figure that choices go by; more is better."""
    keeps: ClassVar[Literal["best", "last"]] = "best"
    """Which epoch is kept where nothing is said."""

    max_length: int
    """Longest input in tokens."""
    columns: dict[str, str] = field(default_factory=dict)
    """By role, the names of columns that the training files were said to have."""

    def files(self) -> Layout:
        """What the files of this task hold; its training files' columns are found again by name."""
        return dataclasses.replace(
            self.layout,
            roles=tuple(
                dataclasses.replace(role, guesses=(self.columns[role.name], *role.guesses))
                if role.name in self.columns
                else role
                for role in self.layout.roles
            ),
        )

    @classmethod
    @abstractmethod
    def learn(cls, records: Sequence[Record], config: FinetuneConfig, encoder: Encoder) -> Self:
        """The task that these training records pose.

        `config` is resolved: `recipe.py` has filled in what was None. Raises ElektronError for
        records that nothing can be learned from.
        """

    @abstractmethod
    def check(self, records: Sequence[Record]) -> None:
        """Refuse labelled records that are not of this task, such as ones with an unknown label.

        Raises:
            ElektronError: names the first record and what is wrong with it.
        """

    @abstractmethod
    def new_model(self, encoder: Encoder, dropout: float | None) -> PreTrainedModel:
        """The encoder under a new head; weights that are new come from torch's global generator."""

    @abstractmethod
    def load_model(self, folder: str) -> PreTrainedModel:
        """The model that was saved for this task."""

    @abstractmethod
    def features(
        self, records: Sequence[Record], tokenizer: PreTrainedTokenizerBase, labelled: bool
    ) -> list[Feature]:
        """What the model reads, with `labels` if `labelled`, in the order of the records."""

    def size(self, feature: Feature) -> int:
        """Tokens that the network reads of a feature; those of a batch are padded to the largest."""
        return len(feature["input_ids"])

    @abstractmethod
    def collate(self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """A batch, padded to the longest of its features."""

    @abstractmethod
    def forward(self, model: PreTrainedModel, batch: Batch) -> list[Output]:
        """What the model says of each feature of a batch that is on its device; no gradients."""

    @abstractmethod
    def predictions(
        self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[Output]
    ) -> list[Prediction]:
        """One for each record, from the outputs of its features."""

    @abstractmethod
    def measure(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> Measure:
        """The figures of predictions for labelled records."""

    def tuned(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> Self:
        """The task with settings that are chosen on evaluation records, such as a threshold.

        What it predicts from the same outputs may then be different. Most tasks have none.
        """
        return self

    def finished(self, model: PreTrainedModel) -> Self:
        """Called once after training; may change both, so that the model alone says what it means."""
        return self

    def figures(
        self, records: Sequence[Record], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """Figures of the whole that are not resampled, such as per-class ones; none by default."""
        return {}

    def details(
        self, records: Sequence[Record], predictions: Sequence[Prediction]
    ) -> dict[str, Any]:
        """What the report shows beside figures: a confusion matrix, figures by class, pairs of numbers."""
        return {}

    def notes(self, measure: Measure) -> dict[str, str]:
        """What is said beside the figures of a measure, such as the signatures of scorers."""
        return {}

    @property
    def compared(self) -> tuple[str, ...]:
        """The figures that should be better than those of a constant prediction."""
        return (self.figure,)

    def constant(self, records: Sequence[Record], train: Sequence[Record]) -> Constant | None:
        """The best predictions for labelled records that do not depend on the text; None if there are none.

        Args:
            records: what the predictions are for and chosen on: no other constant gets more.
            train: where a text that is written for all of them is taken from.
        """
        return None

    @abstractmethod
    def variation(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> Variation:
        """How much the predictions for labelled records vary, and how much the truth does."""

    def decoded_by(self, decoding: DecodingConfig) -> Self:
        """The task with these settings of text generation; only tasks that generate have any."""
        if decoding != DecodingConfig():
            raise ElektronError(f"--decoding.… has no effect on {self.name}: it generates no text")
        return self

    def save(self, folder: Path) -> None:
        """Write `task.json` into a model's folder."""
        content = {"task": self.name, "format": FORMAT} | dataclasses.asdict(self)
        atomic_write(folder / TASK_FILE, json.dumps(content, indent=1, ensure_ascii=False))

    @classmethod
    def load(cls, content: dict[str, Any], folder: str) -> Self:
        """The task in the content of a `task.json` that lay in `folder`.

        Raises:
            ElektronError: a value is missing, or of no use.
        """
        return cls(**cls.fields_in(content))

    @classmethod
    def fields_in(cls, content: dict[str, Any]) -> dict[str, Any]:
        """The fields of the task in the content of a `task.json`, each of its type and finite."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        found = validate(cls, {name: value for name, value in content.items() if name in fields})
        for name, its in fields.items():
            value = found.get(name, 0)
            if name not in content and its.default is its.default_factory is dataclasses.MISSING:
                raise ElektronError(f"{name} is missing")
            if isinstance(value, float) and not isfinite(value):
                raise ElektronError(f"{name} must be finite, got {value}")
            if name.endswith("length") and value < (LEAST_LENGTH if name == "max_length" else 1):
                raise ElektronError(f"{name} is too small: {value}")
        if not 0 <= found.get("stride", 0) < found["max_length"]:
            raise ElektronError(f"stride must be from 0 to below max_length, got {found['stride']}")
        labels = found.get("labels", [])
        if len(set(labels)) < len(labels):
            raise ElektronError("labels are there twice")
        return found


@dataclass(kw_only=True)
class EncoderTask(Task):
    """A task whose model is an encoder with one of transformers' heads."""

    auto_class: ClassVar[Any]
    """Such as AutoModelForSequenceClassification."""

    @abstractmethod
    def head_settings(self) -> dict[str, Any]:
        """What the model's configuration says of the head: `num_labels`, `id2label` …"""

    def new_model(self, encoder: Encoder, dropout: float | None) -> PreTrainedModel:
        """The encoder under a new head."""
        config = encoder.config_for(self.head_settings(), dropout)
        model: PreTrainedModel = self.auto_class.from_config(config, dtype=torch.float32)
        encoder.fill(model.base_model)
        return use_fast_attention(model)

    def load_model(self, folder: str) -> PreTrainedModel:
        """The model of a folder or hub name."""
        model: PreTrainedModel = load_network(self.auto_class, folder)
        return model

    def collate(self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Pad inputs on the right to the longest, and stack the labels."""
        batch = pad_inputs(features, tokenizer)
        if "labels" in features[0]:
            batch["labels"] = torch.tensor([feature["labels"] for feature in features])
        return batch

    def forward(self, model: PreTrainedModel, batch: Batch) -> list[Output]:
        """The logits of each feature."""
        return list(model(**batch).logits.float().cpu().numpy())


def pad_inputs(features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase) -> Batch:
    """`input_ids`, `attention_mask` and, where the features have them, `token_type_ids`: `(batch, length)`."""
    width = max(len(feature["input_ids"]) for feature in features)
    fills = {"input_ids": tokenizer.pad_token_id, "attention_mask": 0, "token_type_ids": 0}
    rows = [feature | {"attention_mask": [1] * len(feature["input_ids"])} for feature in features]
    return {
        name: torch.tensor([row[name] + [fill] * (width - len(row[name])) for row in rows])
        for name, fill in fills.items()
        if name in rows[0]
    }


def variation_of_categories(predicted: Sequence[str], true: Sequence[str], unit: str) -> Variation:
    """Variation as the share of values other than the commonest; `unit` is what each value is of."""
    value, count = Counter(predicted).most_common(1)[0]
    share = count / len(predicted)
    rows = f"every {unit}" if count == len(predicted) else f"{100 * share:.1f} % of the {unit}s"
    _, commonest = Counter(true).most_common(1)[0]
    summary = f"it predicts {value[:60]!r} for {rows}"
    return Variation(1 - share, 1 - commonest / len(true), summary)
