"""Token classification: named entities, parts of speech, any tag a token.

A word is read as its pieces; the first of them bears the word's tag, the others are not looked at
(Devlin et al. 2019). A sentence longer than the model reads is cut into parts that overlap, and
each word's tag is taken from the part in which most context surrounds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerBase

from elektron.errors import ElektronError, did_you_mean
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.metrics.measure import Measure
from elektron.finetuning.metrics.tagging import Tags
from elektron.finetuning.metrics.writing import tokens as words_and_symbols
from elektron.finetuning.readers.records import Layout, Record, Role
from elektron.finetuning.tasks.base import (
    IGNORED_LABEL,
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

TAG_COLUMNS = (
    *("tags", "ner_tags", "labels", "tag", "ner_tag", "ner", "label"),
    *("entities", "spans", "pos_tags", "pos"),
)
SENTENCE_COLUMNS = (
    *("sentence #", "sentence_id", "sent_id", "sentence id", "sentence_idx", "sentence_number"),
    *("sentence_no", "sentence_nr", "sent_no", "sentence"),
)


@dataclass(kw_only=True)
class TokenClassification(EncoderTask):
    """The tag of every token."""

    name: ClassVar[str] = "token-classification"
    layout: ClassVar[Layout] = Layout(
        (
            Role("tokens", ("tokens", "words", "token", "word", "text", "sentence")),
            Role("tags", TAG_COLUMNS, "labelled"),
            Role("sentence", SENTENCE_COLUMNS, "never"),
        ),
        shape="tagged",
    )
    figure: ClassVar[str] = "f1"
    auto_class: ClassVar[Any] = AutoModelForTokenClassification

    labels: list[str]
    """The tags in the order of the logits."""
    stride: int
    """Tokens by which the parts of a long sentence overlap."""

    @classmethod
    def learn(cls, records: Sequence[Record], config: FinetuneConfig, encoder: Encoder) -> Self:
        """The tags that occur.

        Raises:
            ElektronError: there is one only.
        """
        counts = Counter(tag for record in records for tag in record.values["tags"])
        if len(counts) < 2:
            raise ElektronError(
                f"{records[0].where.partition(',')[0]}: all tokens have the same tag, "
                f"{next(iter(counts), 'none')!r}: there is nothing to tell apart"
            )
        assert config.max_length is not None
        assert config.stride is not None
        return cls(labels=sorted(counts), max_length=config.max_length, stride=config.stride)

    def check(self, records: Sequence[Record]) -> None:
        """Refuse tags that training never had, and tokens without as many tags."""
        known = set(self.labels)
        for record in records:
            tokens, tags = tokens_of(record), record.values["tags"]
            if len(tokens) != len(tags):
                raise ElektronError(
                    f"{record.where}: {len(tokens)} tokens and {len(tags)} tags: "
                    "they must be as many"
                )
            for tag in tags:
                if tag not in known:
                    near = did_you_mean(tag, self.labels)
                    raise ElektronError(
                        f"{record.where}: the tag {tag!r} is none of the training data's"
                        f"{near or ': ' + ', '.join(self.labels[:10])}"
                    )

    def head_settings(self) -> dict[str, Any]:
        """Names of the tags."""
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {name: number for number, name in enumerate(self.labels)},
        }

    def features(
        self, records: Sequence[Record], tokenizer: PreTrainedTokenizerBase, labelled: bool
    ) -> list[Feature]:
        """Pieces of the words, with `words`, the number of the word that each piece begins or None."""
        numbers = {tag: number for number, tag in enumerate(self.labels)}
        encoded = tokenizer(
            [tokens_of(record) for record in records],
            is_split_into_words=True,
            truncation=True,
            max_length=self.max_length,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_attention_mask=False,
        )
        found: list[Feature] = []
        for row, record in enumerate(encoded.pop("overflow_to_sample_mapping")):
            feature = {name: values[row] for name, values in encoded.items()}
            feature |= {"record": int(record), "words": first_pieces(encoded.word_ids(row))}
            if labelled:
                tags = records[record].values["tags"]
                feature["labels"] = [
                    IGNORED_LABEL if word is None else numbers[tags[word]]
                    for word in feature["words"]
                ]
            found.append(feature)
        return found

    def collate(self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Pad inputs and labels to the longest."""
        batch = pad_inputs(features, tokenizer)
        if "labels" in features[0]:
            width = batch["input_ids"].shape[1]
            batch["labels"] = torch.tensor(
                [
                    feature["labels"] + [IGNORED_LABEL] * (width - len(feature["labels"]))
                    for feature in features
                ]
            )
        return batch

    def predictions(
        self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[Output]
    ) -> list[Prediction]:
        """`tags`, as many as tokens, and for text without tokens of its own the tokens.

        A word that the model could not read, such as one of blanks only, has the tag of most words.
        """
        best: list[dict[int, tuple[int, str]]] = [{} for _ in records]
        for feature, logits in zip(features, outputs, strict=True):
            length = len(feature["words"])
            for place, word in enumerate(feature["words"]):
                if word is None:
                    continue
                context = min(place, length - place)
                tags = best[feature["record"]]
                if word not in tags or context > tags[word][0]:
                    tags[word] = (context, self.labels[int(logits[place].argmax())])
        unread = "O" if "O" in self.labels else self.labels[0]
        found: list[Prediction] = []
        for record, tags in zip(records, best, strict=True):
            tokens = tokens_of(record)
            prediction: Prediction = {
                "tags": [tags.get(word, (0, unread))[1] for word in range(len(tokens))]
            }
            if isinstance(record.values["tokens"], str):
                prediction = {"tokens": tokens} | prediction
            found.append(prediction)
        return found

    def measure(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> Measure:
        """Entity precision, recall and F1, strict; accuracy over tokens."""
        return Tags(
            [record.values["tags"] for record in records],
            [prediction["tags"] for prediction in predictions],
        )

    def details(
        self, records: Sequence[Record], predictions: Sequence[Prediction]
    ) -> dict[str, Any]:
        """Figures by type of entity."""
        measure = self.measure(records, predictions)
        assert isinstance(measure, Tags)
        return {"per_class": measure.per_type()}

    def constant(self, records: Sequence[Record], train: Sequence[Record]) -> Constant:
        """Always the commonest tag."""
        counts = Counter(tag for record in records for tag in record.values["tags"])
        tag = counts.most_common(1)[0][0] if counts else self.labels[0]
        predictions = [{"tags": [tag] * len(record.values["tags"])} for record in records]
        return Constant(f"always {tag!r}", predictions)

    def variation(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> Variation:
        """By tokens."""
        return variation_of_categories(
            [tag for prediction in predictions for tag in prediction["tags"]],
            [tag for record in records for tag in record.values["tags"]],
            unit="token",
        )


def tokens_of(record: Record) -> list[str]:
    """The tokens of a record: its own, or those of a running text."""
    tokens = record.values["tokens"]
    return words_and_symbols(tokens) if isinstance(tokens, str) else [str(t) for t in tokens]


def first_pieces(words: Sequence[int | None]) -> list[int | None]:
    """Of the word that each piece is of, those that begin one: `[None, 0, 0, 1]` → `[None, 0, None, 1]`."""
    return [
        word if place == 0 or word != words[place - 1] else None for place, word in enumerate(words)
    ]
