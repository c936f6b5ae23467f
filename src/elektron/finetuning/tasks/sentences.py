"""What classification and regression share: a text or a pair in, one row of logits out."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.inputs import LongText, encode
from elektron.finetuning.readers.records import Layout, Record, Role
from elektron.finetuning.tasks.base import EncoderTask, Feature, Output, Prediction

FIRST = (
    "text",
    "text_a",
    "text1",
    "sentence",
    "sentence1",
    "sentence_a",
    "question1",
    "review",
    "content",
)
SECOND = (
    "pair",
    "text_b",
    "text2",
    "sentence2",
    "sentence_b",
    "question2",
    "hypothesis",
    "text_pair",
)
TEXT = Role("text", (*FIRST, "#1 String", "premise"))
PAIR = Role("pair", (*SECOND, "#2 String"), "together")


@dataclass(kw_only=True)
class SentenceTask(EncoderTask):
    """Something is said of a text, or of two texts together."""

    pairs: bool | None
    """Whether two texts are judged together; None: where the records have two."""
    truncation: LongText
    """What is read of texts longer than `max_length`."""
    stride: int
    """Tokens by which windows overlap."""

    def files(self) -> Layout:
        """Two texts are needed where training had two, and one where it had one."""
        return with_or_without(super().files(), "pair", self.pairs)

    @staticmethod
    def reading(records: Sequence[Record], config: FinetuneConfig) -> dict[str, Any]:
        """How texts are read, from the resolved configuration and what the records have."""
        return {
            "max_length": config.max_length,
            "truncation": config.truncation,
            "stride": config.stride,
            "pairs": "pair" in records[0].values,
        }

    @abstractmethod
    def target(self, record: Record) -> Any:
        """What the loss compares the logits with."""

    @abstractmethod
    def prediction(self, logits: NDArray[np.float32]) -> Prediction:
        """What one row of logits says."""

    def features(
        self, records: Sequence[Record], tokenizer: PreTrainedTokenizerBase, labelled: bool
    ) -> list[Feature]:
        """Inputs of each text; every window of a long one bears the label of the whole."""
        texts = [str(record.values["text"]) for record in records]
        pairs = None
        if self.pairs or (self.pairs is None and "pair" in records[0].values):
            pairs = [str(record.values["pair"]) for record in records]
        found = encode(texts, pairs, tokenizer, self.max_length, self.truncation, self.stride)
        if labelled:
            targets = [self.target(record) for record in records]
            for feature in found:
                feature["labels"] = targets[feature["record"]]
        return found

    def predictions(
        self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[Output]
    ) -> list[Prediction]:
        """From the logits, averaged over the windows of a text."""
        sums: list[Any] = [0.0] * len(records)
        counts = [0] * len(records)
        for feature, logits in zip(features, outputs, strict=True):
            sums[feature["record"]] = sums[feature["record"]] + logits
            counts[feature["record"]] += 1
        return [self.prediction(total / count) for total, count in zip(sums, counts, strict=True)]


def with_or_without(layout: Layout, name: str, there: bool | None) -> Layout:
    """A layout in which a role is needed, or is left out; where that is not known, as it was."""
    roles = [
        dataclasses.replace(role, needed="always") if role.name == name and there else role
        for role in layout.roles
        if role.name != name or there is not False
    ]
    return dataclasses.replace(layout, roles=tuple(roles))
