"""`Task`: what all tasks have in common, from the records of files to metrics.

A task holds what must be known of a model besides its weights: names of classes, how long texts
are read. It learns this from the training records (`learn`), and is saved beside the weights as
`task.json`. Training, evaluation and prediction know tasks only through this class.

Record → `features` (one, or several where a long text is read in windows) → `collate` → `forward`
→ `predictions`, one for each record again → `measure`.
"""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from transformers import PreTrainedModel

from elektron.configuration import from_dict
from elektron.errors import ElektronError, did_you_mean
from elektron.finetuning.config import DecodingConfig, FinetuneConfig, MaxLength
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.inputs import IGNORED_LABEL, Batch, Feature, Features, Records, Tokenizer, pad
from elektron.finetuning.metrics.measure import Measure
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.roles import Layout
from elektron.io.files import atomic_write
from elektron.models.attention import use_fast_attention
from elektron.models.loading import load_network

TASK_FILE = "task.json"
FORMAT = 2
COLLAPSED = 0.02
"""A model has collapsed if its predictions vary by no more than this fraction of the truth's variation."""

Output = Any
"""What `forward` returns for one feature: numpy arrays or token ids, on the CPU."""
Prediction = dict[str, Any]
"""What is added to a row: JSON-able, such as `label` and `score`."""
Predictions = list[Prediction]
Outputs = list[Output]


class Baseline(NamedTuple):
    """Predictions of a simple method, with which the model's are compared."""

    name: str
    """Such as `always 'positive'`."""
    predictions: Predictions


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
    """A task with what it learned from its training records; an encoder with one of transformers' heads."""

    name: ClassVar[str]
    """On the command line."""
    layout: ClassVar[Layout]
    metric: ClassVar[str]
    """Decides which model is best; more is better."""
    auto_class: ClassVar[Any]
    """Such as AutoModelForSequenceClassification."""
    unit: ClassVar[str] = "text"
    """What one of the `outcomes` is of."""
    network_outputs: ClassVar[tuple[str, ...]] = ("logits",)
    """Names of what `forward` reads of the network's output; an exported network has these only."""

    max_length: MaxLength
    """Longest input in tokens."""
    columns: dict[str, str] = field(default_factory=dict)
    """By role, the names of the training files' columns."""

    # Records

    @classmethod
    @abstractmethod
    def from_records(cls, records: Records, config: FinetuneConfig, encoder: Encoder) -> Self:
        """The task of these training records.

        Args:
            records: labelled, at least one.
            config: resolved: what `recipe.resolve` fills in is not None.
            encoder: of the model.

        Raises:
            ElektronError: nothing can be learned from them.
        """

    @classmethod
    def configured(cls, config: FinetuneConfig) -> dict[str, Any]:
        """The fields that the task has in common with the resolved configuration."""
        names = [field.name for field in dataclasses.fields(cls)]
        return {name: getattr(config, name) for name in names if hasattr(config, name)}

    @staticmethod
    def nothing_to_learn(records: Records, why: str) -> ElektronError:
        """The error for training records that are all the same; it names their file."""
        file = records[0].where.partition(",")[0]
        return ElektronError(f"{file}: {why}: there is nothing to learn")

    @property
    def had_column(self) -> dict[str, bool | None]:
        """By role, whether the training files had such a column; None where that is not known."""
        return {}

    def files(self) -> Layout:
        """What the files of this task contain: columns called as in the training files come first.

        A column that training had is required; one that it did not have is not read.
        """
        roles = []
        for role in self.layout.roles:
            had = self.had_column.get(role.name)
            if had is False:
                continue
            changes: dict[str, Any] = {}
            if role.name in self.columns:
                changes["names"] = (self.columns[role.name], *role.names)
            if had:
                changes["needed"] = "labelled" if role.name == "label" else "always"
            roles.append(dataclasses.replace(role, **changes))
        return dataclasses.replace(self.layout, roles=tuple(roles))

    @abstractmethod
    def truth(self, record: Record) -> Prediction:
        """The right prediction for a labelled record, as far as metrics need it.

        Raises:
            ElektronError: the record is not of this task, such as one with an unknown label.
        """

    def check(self, records: Records) -> None:
        """Raise ElektronError for the first labelled record that is not of this task, or has other columns."""
        for record in records:
            for role, had in self.had_column.items():
                if had is not None and had != (role in record.values):
                    advice = f"drop or rename its column {record.names.get(role, role)!r}"
                    if had:
                        advice = f"give its column with --{role}, --eval-columns or --test-columns"
                    difference = f"it {'lacks' if had else 'has'} a {role}, unlike the training rows"
                    raise ElektronError(f"{record.where}: {difference}: {advice}")
            self.truth(record)

    # Inputs

    @abstractmethod
    def features(self, records: Records, tokenizer: Tokenizer, labelled: bool) -> Features:
        """What the model reads, with `labels` if `labelled`, in the order of the records."""

    def size(self, feature: Feature) -> int:
        """Tokens of a feature, without padding."""
        return len(feature["input_ids"])

    def collate(self, features: Features, tokenizer: Tokenizer) -> Batch:
        """A batch, padded to the longest of its features."""
        pad_id = tokenizer.pad_token_id
        return pad(features, {"input_ids": pad_id, "token_type_ids": 0, "labels": IGNORED_LABEL})

    # The model

    def head_settings(self) -> dict[str, Any]:
        """What the model's configuration says of the head: `num_labels`, `id2label` …"""
        return {}

    def new_model(self, encoder: Encoder, dropout: float | None) -> PreTrainedModel:
        """The encoder under a new head; new weights come from torch's global generator."""
        config = encoder.config_for(self.head_settings(), dropout)
        model: PreTrainedModel = self.auto_class.from_config(config, dtype=torch.float32)
        encoder.load_into(model.base_model)
        return use_fast_attention(model)

    def load_model(self, folder: str) -> PreTrainedModel:
        """The model of a folder or hub name."""
        model: PreTrainedModel = load_network(self.auto_class, folder)
        return model

    def forward(self, model: PreTrainedModel, batch: Batch, output: Any = None) -> Outputs:
        """For each feature of a batch on the model's device what `predictions` needs: logits.

        Args:
            model: of the task.
            batch: as `collate` makes it.
            output: of the model for this batch, where it has been run already.
        """
        output = model(**batch) if output is None else output
        return list(output.logits.float().cpu().numpy())

    def finished(self, model: PreTrainedModel) -> Self:
        """Called once after training; may change both, so that the model's outputs need no task."""
        return self

    # Predictions and metrics

    @abstractmethod
    def predictions(self, records: Records, features: Features, outputs: Outputs) -> Predictions:
        """One for each record, from the outputs of its features."""

    @abstractmethod
    def measure(self, records: Records, predictions: Predictions) -> Measure:
        """The metrics of predictions for labelled records."""

    def tuned(self, records: Records, predictions: Predictions) -> Self:
        """The task with settings chosen on evaluation records, such as a threshold; most have none.

        Its predictions from the same outputs may then be different.
        """
        return self

    @property
    def compared(self) -> tuple[str, ...]:
        """The metrics that should be better than those of the baselines."""
        return (self.metric,)

    @abstractmethod
    def baselines(self, records: Records, train: Records) -> list[Baseline]:
        """Predictions for labelled records by simple methods, which a model should be better than.

        The first is the best one that does not depend on the text, if there is any.

        Args:
            records: what is predicted; the constant prediction is chosen on them: no other is better.
            train: training records, from which the other methods learn; none where they are not known.
        """

    def outcomes(self, prediction: Prediction) -> list[str]:
        """A prediction, or a truth, as categories to be counted."""
        raise NotImplementedError

    def variation(self, records: Records, predictions: Predictions) -> Variation:
        """The fractions of predicted and of true outcomes other than the most common one."""
        predicted = Counter(each for row in predictions for each in self.outcomes(row))
        true = Counter(each for record in records for each in self.outcomes(self.truth(record)))
        (value, count), (_, most) = predicted.most_common(1)[0], true.most_common(1)[0]
        fraction = count / predicted.total()
        rows = f"{100 * fraction:.1f} % of the {self.unit}s" if fraction < 1 else f"every {self.unit}"
        summary = f"it predicts {value[:60]!r} for {rows}"
        return Variation(1 - fraction, 1 - most / true.total(), summary)

    def decoded_by(self, decoding: DecodingConfig) -> Self:
        """The task with these settings of text generation; only tasks that generate have any."""
        if decoding != DecodingConfig():
            raise ElektronError(f"--decoding.… has no effect on {self.name}: it generates no text")
        return self

    # task.json

    def save(self, folder: Path) -> None:
        """Write `task.json` into a model's folder."""
        content = {"task": self.name, "format": FORMAT} | dataclasses.asdict(self)
        atomic_write(folder / TASK_FILE, json.dumps(content, indent=1, ensure_ascii=False))

    @classmethod
    def load(cls, content: dict[str, Any], folder: str, **parts: Any) -> Self:
        """The task in the content of the `task.json` of `folder`.

        Args:
            content: of the file.
            folder: of the model.
            parts: what a task keeps in files of its own.

        Raises:
            ElektronError: a value is missing or invalid.
        """
        names = {each.name for each in dataclasses.fields(cls)}
        task = from_dict(cls, {name: value for name, value in content.items() if name in names}, **parts)
        stride, labels = getattr(task, "stride", 0), getattr(task, "labels", [])
        if stride >= task.max_length:
            raise ElektronError(f"stride must be below max_length, got {stride}")
        if len(set(labels)) < len(labels):
            raise ElektronError("labels has duplicates")
        return task


@dataclass(kw_only=True)
class LabelledTask(Task):
    """A task with named classes."""

    labels: list[str]
    """Names of the classes in the order of the logits."""

    def head_settings(self) -> dict[str, Any]:
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {name: number for number, name in enumerate(self.labels)},
        }

    def unknown(self, record: Record, what: str, name: str) -> ElektronError:
        """The error for a label (`what` it is called) that the training data does not have."""
        some = ", ".join(self.labels[:10]) + (" …" if len(self.labels) > 10 else "")
        return ElektronError(
            f"{record.where}: the {what} {name!r} is none of the training data's"
            f"{did_you_mean(name, self.labels) or f': {some}'}"
        )
