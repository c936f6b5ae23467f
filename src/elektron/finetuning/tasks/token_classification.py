"""Token classification: one tag per token, such as named entities or parts of speech.

The first piece of a word has the word's tag, the others are ignored (Devlin et al. 2019). A sentence
longer than the model reads is split into windows that overlap, and each word's tag is taken from the
window in which it has most context on both sides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from transformers import AutoModelForTokenClassification, BatchEncoding

from elektron.configuration import NotNegative
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.inputs import IGNORED_LABEL, WINDOWS, Features, Records, Tokenizer, tokenize
from elektron.finetuning.metrics.measure import Measure
from elektron.finetuning.metrics.tagging import tagging
from elektron.finetuning.metrics.writing import TOKEN
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.base import Baseline, LabelledTask, Outputs, Prediction, Predictions


@dataclass(kw_only=True)
class TokenClassification(LabelledTask):
    """Predicts a tag for each token."""

    name: ClassVar[str] = "token-classification"
    metric: ClassVar[str] = "f1"
    auto_class: ClassVar[Any] = AutoModelForTokenClassification
    unit: ClassVar[str] = "token"

    stride: NotNegative[int]
    """Tokens by which the windows of a long sentence overlap."""

    @classmethod
    def from_records(cls, records: Records, config: FinetuneConfig, encoder: Encoder) -> Self:
        tags = sorted({tag for record in records for tag in record.values["tags"]})
        if len(tags) < 2:
            tag = next(iter(tags), "none")
            raise cls.nothing_to_learn(records, f"all tokens have the same tag, {tag!r}")
        classes = records[0].classes if set(tags) <= set(records[0].classes) else tags
        return cls(labels=list(classes), **cls.configured(config))

    def truth(self, record: Record) -> Prediction:
        return {"tags": record.values["tags"]}

    def check(self, records: Records) -> None:
        """Raise ElektronError for a tag that training data lacks, or if there are not as many tags as tokens."""
        labels = set(self.labels)
        for record in records:
            tokens, tags = tokens_of(record), record.values["tags"]
            if len(tokens) != len(tags):
                raise ElektronError(
                    f"{record.where}: {len(tokens)} tokens and {len(tags)} tags: there must be as many tags as tokens"
                )
            for tag in tags:
                if tag not in labels:
                    raise self.unknown(record, "tag", tag)

    def encoded(self, records: Records, tokenizer: Tokenizer) -> tuple[BatchEncoding, Features]:
        """The tokenizer's encoding of the windows of all records, and a feature for each window."""
        # Byte-level BPE, as in RoBERTa, recognizes the beginning of a word by the space before it.
        before = " " if splits_by_space(tokenizer) else ""
        return tokenize(
            tokenizer,
            [[token if token[:1].isspace() else before + token for token in tokens_of(record)] for record in records],
            is_split_into_words=True,
            max_length=self.max_length,
            stride=self.stride,
            **WINDOWS,
        )

    def features(self, records: Records, tokenizer: Tokenizer, labelled: bool) -> Features:
        """One feature per window; `words` has the index of the word that each piece begins, or None."""
        label2id = {tag: index for index, tag in enumerate(self.labels)}
        encoded, features = self.encoded(records, tokenizer)
        for row, feature in enumerate(features):
            feature["words"] = first_pieces(encoded.word_ids(row))
            if labelled:
                tags = records[feature["record"]].values["tags"]
                feature["labels"] = [
                    IGNORED_LABEL if word is None else label2id[tags[word]] for word in feature["words"]
                ]
        return features

    def predictions(self, records: Records, features: Features, outputs: Outputs) -> Predictions:
        """`tags`, one per token, and `tokens` if the record has a text and no tokens.

        A word that the tokenizer drops, such as one of blanks only, is tagged O, or with the first tag if O is no tag.
        """
        best: list[dict[int, tuple[int, str]]] = [{} for _ in records]
        for feature, logits in zip(features, outputs, strict=True):
            tags, length = best[feature["record"]], len(feature["words"])
            for position, word in enumerate(feature["words"]):
                context = min(position, length - 1 - position)
                if word is not None and (word not in tags or context > tags[word][0]):
                    tags[word] = (context, self.labels[int(logits[position].argmax())])
        unread = "O" if "O" in self.labels else self.labels[0]
        predictions: Predictions = []
        for record, tags in zip(records, best, strict=True):
            tokens = tokens_of(record)
            split_text = {"tokens": tokens} if isinstance(record.values["tokens"], str) else {}
            predicted = [tags.get(word, (0, unread))[1] for word in range(len(tokens))]
            predictions.append(split_text | {"tags": predicted})
        return predictions

    def measure(self, records: Records, predictions: Predictions) -> Measure:
        """Strict precision, recall and F1 of entities, and by type; accuracy over tokens."""
        truth = [record.values["tags"] for record in records]
        return tagging(truth, [prediction["tags"] for prediction in predictions])

    def baselines(self, records: Records, train: Records) -> list[Baseline]:
        """The most common tag of all; the most common training tag of each token, or of all tokens if it is unknown."""
        tags = Counter(tag for record in records for tag in record.values["tags"])
        tag = tags.most_common(1)[0][0] if tags else self.labels[0]
        constant = Baseline(f"always {tag!r}", [{"tags": [tag] * len(record.values["tags"])} for record in records])
        if not train:
            return [constant]
        by_token: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for record in train:
            for token, tag in zip(tokens_of(record), record.values["tags"], strict=True):
                by_token[token][tag] += 1
        (most_common, _), *_ = sum(by_token.values(), Counter()).most_common(1)
        best = {token: counts.most_common(1)[0][0] for token, counts in by_token.items()}
        predictions = [{"tags": [best.get(token, most_common) for token in tokens_of(record)]} for record in records]
        return [constant, Baseline("the most common tag of each token", predictions)]

    def outcomes(self, prediction: Prediction) -> list[str]:
        return prediction["tags"]


def splits_by_space(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer splits a word differently if a space is before it, even with `is_split_into_words`."""
    first, second = (tokenizer([[word]], is_split_into_words=True)["input_ids"] for word in ("a", " a"))
    return bool(first != second)


def tokens_of(record: Record) -> list[str]:
    """The tokens of a record: its own, or the words and symbols of a text."""
    tokens = record.values["tokens"]
    return TOKEN.findall(tokens) if isinstance(tokens, str) else [str(t) for t in tokens]


def first_pieces(words: Sequence[int | None]) -> list[int | None]:
    """The word of each piece if it is the first piece of the word, else None: `[0, 0, 1]` → `[0, None, 1]`."""
    return [word if place == 0 or word != words[place - 1] else None for place, word in enumerate(words)]
