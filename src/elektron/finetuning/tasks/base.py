"""`Task`: the interface of all tasks, from the records of files to metrics.

A task holds what must be known about a model besides its weights, such as the names of classes and the
longest input. It is made from the training records (`from_records`) and saved beside the weights as
`task.json`. Training, evaluation and prediction use tasks only through this class.

Record → `features` (one, or several if a long text is split into windows) → `collate` → `forward`
→ `predictions` (one for each record) → `measure`.
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
from elektron.finetuning.readers.roles import LAYOUTS, Layout
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
"""The columns that are added to a row, such as `label` and `score`; values can be written as JSON."""
Predictions = list[Prediction]
Outputs = list[Output]


class Baseline(NamedTuple):
    """Predictions of a simple method, with which the model's are compared."""

    name: str
    """Name in reports, such as `always 'positive'`."""
    predictions: Predictions


class Variation(NamedTuple):
    """How much the predictions vary over the rows, and how much the true values do, in the same unit."""

    predicted: float
    true: float
    summary: str
    """A description of the predictions, such as `it predicts 'positive' for every text`."""

    @property
    def collapsed(self) -> bool:
        """Whether the model predicts (nearly) the same everywhere, though the truth differs."""
        return self.true > 0 and self.predicted <= COLLAPSED * self.true


@dataclass(kw_only=True)
class Task(ABC):
    """A task, with what it has learned from the training records. Its model is an encoder with a transformers head."""

    name: ClassVar[str]
    """Name of the task on the command line."""
    metric: ClassVar[str]
    """Name of the metric that decides which model is best; higher is better."""
    auto_class: ClassVar[Any]
    """Class of the model, such as AutoModelForSequenceClassification."""
    unit: ClassVar[str] = "text"
    """What each of the `outcomes` belongs to, for messages: a text, token, question or row."""
    network_outputs: ClassVar[tuple[str, ...]] = ("logits",)
    """Names of the network's outputs that `forward` reads; an exported network has only these."""
    group_by_length: ClassVar[bool] = True
    """Whether training batches have texts of similar length, so that there is little padding."""

    max_length: MaxLength
    """Longest input in tokens."""
    columns: dict[str, str] = field(default_factory=dict)
    """Names of the columns in the training files, by role."""

    # Records

    @classmethod
    @abstractmethod
    def from_records(cls, records: Records, config: FinetuneConfig, encoder: Encoder) -> Self:
        """Make the task from training records.

        Args:
            records: labelled records, at least one.
            config: a resolved configuration: settings that `recipe.resolve` fills in are not None.
            encoder: the encoder of the model.

        Raises:
            ElektronError: nothing can be learned from the records.
        """

    @classmethod
    def configured(cls, config: FinetuneConfig) -> dict[str, Any]:
        """Values of the fields that the task has in common with the resolved configuration."""
        return {f.name: getattr(config, f.name) for f in dataclasses.fields(cls) if hasattr(config, f.name)}

    @staticmethod
    def nothing_to_learn(records: Records, why: str) -> ElektronError:
        """The error for training records that are all the same; it names their file."""
        file = records[0].where.partition(",")[0]
        return ElektronError(f"{file}: {why}: there is nothing to learn")

    @property
    def had_column(self) -> dict[str, bool | None]:
        """For each role, whether the training files had a column of it; None if that is not known."""
        return {}

    def files(self) -> Layout:
        """The layout of files for this task; the column names of the training files are tried first.

        A column that the training files had is required; one that they did not have is not read.
        """
        layout, roles = LAYOUTS[self.name], []
        for role in layout.roles:
            had = self.had_column.get(role.name)
            if had is False:
                continue
            changes: dict[str, Any] = {}
            if role.name in self.columns:
                changes["names"] = (self.columns[role.name], *role.names)
            if had:
                changes["needed"] = "labelled" if role.name == "label" else "always"
            roles.append(dataclasses.replace(role, **changes))
        return dataclasses.replace(layout, roles=tuple(roles))

    @abstractmethod
    def truth(self, record: Record) -> Prediction:
        """The right prediction for a labelled record, as far as metrics need it.

        Raises:
            ElektronError: the record does not fit the task, for example because its label is unknown.
        """

    def check(self, records: Records) -> None:
        """Raise ElektronError for the first labelled record that does not fit the task or has other columns."""
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
        """The features of the records, in their order, with `labels` if `labelled`."""

    def size(self, feature: Feature) -> int:
        """Number of tokens of a feature, without padding."""
        return len(feature["input_ids"])

    def collate(self, features: Features, tokenizer: Tokenizer) -> Batch:
        """A batch, padded to the longest of its features."""
        pad_id = tokenizer.pad_token_id
        return pad(features, {"input_ids": pad_id, "token_type_ids": 0, "labels": IGNORED_LABEL})

    # The model

    def head_settings(self) -> dict[str, Any]:
        """Settings of the head in the model's configuration: `num_labels`, `id2label` …"""
        return {}

    def new_model(self, encoder: Encoder, dropout: float | None) -> PreTrainedModel:
        """The encoder with a new head, whose weights are drawn from torch's global generator."""
        config = encoder.config_for(self.head_settings(), dropout)
        model = self.auto_class.from_config(config, dtype=torch.float32)
        encoder.load_into(model.base_model)
        return use_fast_attention(model)

    def load_model(self, folder: str) -> PreTrainedModel:
        """The model of a folder or hub name."""
        return load_network(self.auto_class, folder)

    def forward(self, model: PreTrainedModel, batch: Batch, output: Any = None) -> Outputs:
        """Compute what `predictions` needs for each feature of a batch: the logits, unless a subclass says otherwise.

        Args:
            model: a model of the task.
            batch: a batch of `collate`, on the model's device.
            output: the model's output for this batch, if it has been computed already.
        """
        output = model(**batch) if output is None else output
        return list(output.logits.float().cpu().numpy())

    def finished(self, model: PreTrainedModel) -> Self:
        """Called once after training; may change task and model, so that the model's outputs need no conversion."""
        return self

    # Predictions and metrics

    @abstractmethod
    def predictions(self, records: Records, features: Features, outputs: Outputs) -> Predictions:
        """One prediction for each record, from the outputs of its features."""

    @abstractmethod
    def measure(self, records: Records, predictions: Predictions) -> Measure:
        """The metrics of predictions for labelled records."""

    def tuned(self, records: Records, predictions: Predictions) -> Self:
        """The task with settings, such as a threshold, chosen on evaluation records; most tasks have none.

        The new task may make different predictions from the same outputs.
        """
        return self

    @property
    def compared(self) -> tuple[str, ...]:
        """The metrics that should be better than those of the baselines."""
        return (self.metric,)

    @abstractmethod
    def baselines(self, records: Records, train: Records) -> list[Baseline]:
        """Predictions for labelled records by simple methods, which a model should be better than.

        The first is the best one that does not depend on the text, if there is one.

        Args:
            records: records to predict. The constant prediction is chosen on them, so that no other is better.
            train: training records, from which the other methods learn; empty if they are not known.
        """

    def outcomes(self, prediction: Prediction) -> list[str]:
        """The categories in a prediction or a `truth`, which are counted."""
        raise NotImplementedError

    def variation(self, records: Records, predictions: Predictions) -> Variation:
        """The fractions of predicted and of true outcomes other than the most common one."""
        predicted = Counter(each for row in predictions for each in self.outcomes(row))
        true = Counter(each for record in records for each in self.outcomes(self.truth(record)))
        value, count = predicted.most_common(1)[0]
        fraction = count / predicted.total()
        rows = f"{100 * fraction:.1f} % of the {self.unit}s" if fraction < 1 else f"every {self.unit}"
        summary = f"it predicts {value[:60]!r} for {rows}"
        return Variation(1 - fraction, 1 - max(true.values()) / true.total(), summary)

    def with_decoding(self, decoding: DecodingConfig) -> Self:
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
        """Load the task of a model from the content of `task.json`.

        Args:
            content: content of `task.json`.
            folder: folder or hub name of the model.
            parts: fields that a task saves in other files, such as a tokenizer.

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
        """The error for a label that the training data does not have; `what` is `label` or `tag`."""
        some = ", ".join(self.labels[:10]) + (" …" if len(self.labels) > 10 else "")
        return ElektronError(
            f"{record.where}: the {what} {name!r} is not one of the {what}s of the training data"
            f"{did_you_mean(name, self.labels) or f': {some}'}"
        )
