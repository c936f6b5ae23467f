"""Text in, text out: translation, summaries, replies. An encoder reads, a new decoder writes."""

from __future__ import annotations

import dataclasses
import logging
import zlib
from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor
from transformers import (
    EncoderDecoderModel,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from elektron.configuration import from_dict
from elektron.corpus.vocabulary import load_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning.config import DecodingConfig, FinetuneConfig
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.inputs import LongText, encode
from elektron.finetuning.metrics.measure import Measure
from elektron.finetuning.metrics.text import Summaries, Translations, is_chinese
from elektron.finetuning.metrics.writing import words
from elektron.finetuning.readers.records import Layout, Record, Role
from elektron.finetuning.tasks.base import (
    IGNORED_LABEL,
    Batch,
    Constant,
    Feature,
    Output,
    Prediction,
    Task,
    Variation,
    pad_inputs,
    variation_of_categories,
)
from elektron.finetuning.tasks.decoder import new_encoder_decoder
from elektron.finetuning.tasks.target_vocabulary import (
    end_token_id,
    learn_vocabulary,
    start_token_id,
)
from elektron.hub import load_tokenizer_files
from elektron.models.loading import load_network

log = logging.getLogger(__name__)

SOURCES = ("source", "src", "document", "dialogue", "article", "text", "question", "input", "en")
TARGETS = (
    *("target", "tgt", "summary", "highlights", "title", "answer", "response", "output", "de"),
    "summary1,summary2,summary3",
)
LAYOUT = Layout(
    (Role("source", SOURCES), Role("target", TARGETS, "labelled", several=True)), shape="parallel"
)

TARGET_TOKENIZER = "target_tokenizer"
DECODER_LAYERS = 3
LONGEST_TARGET = 256
# Outputs may be as long as all but one in a thousand of the training targets.
LONG_ENOUGH = 0.999
# The best constant summary is sought among so many training targets, of which so many are compared
# by ROUGE-L with so many others.
CANDIDATES, SHORTLIST, JURY = 2000, 20, 100


@dataclass(kw_only=True)
class SequenceToSequence(Task):
    """A text is written for a text."""

    layout: ClassVar[Layout] = LAYOUT
    keeps: ClassVar[Literal["best", "last"]] = "last"
    usual_decoding: ClassVar[DecodingConfig]
    """Where nothing else is asked for."""

    truncation: LongText
    """What is read of texts longer than `max_length`."""
    max_target_length: int
    """Longest target in tokens, its end token included: as many as the decoder has positions."""
    decoder_layers: int
    """Of the new decoder."""
    chinese: bool
    """Whether the targets are in Chinese, where characters are scored as words."""
    decoding: DecodingConfig
    """Of which nothing is None."""
    target_tokenizer: InitVar[PreTrainedTokenizerBase]

    def __post_init__(self, target_tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = target_tokenizer

    @classmethod
    def learn(cls, records: Sequence[Record], config: FinetuneConfig, encoder: Encoder) -> Self:
        """The vocabulary, the language and the lengths of the targets.

        Raises:
            ElektronError: long texts are to be read in windows, or the output's tokenizer or the
                decoding settings are of no use.
        """
        if config.truncation == "windows":
            raise ElektronError(
                f"--truncation windows is of no use for {cls.name}: head or head-tail"
            )
        targets = [target_texts(record)[0] for record in records]
        if several := sum(len(target_texts(record)) > 1 for record in records):
            log.info(
                "%s of %s training rows have several targets: the first is learned, figures of "
                "other rows compare with all",
                f"{several:,}",
                f"{len(records):,}",
            )
        tokenizer = (
            learn_vocabulary(targets, config.target_vocab_size)
            if config.target_tokenizer is None
            else load_target_tokenizer(config.target_tokenizer)
        )
        lengths = np.array(list(map(len, token_ids(targets, tokenizer)))) + 1
        longest = config.max_target_length or min(int(lengths.max()), LONGEST_TARGET)
        usual_length = int(np.ceil(np.quantile(np.minimum(lengths, longest), LONG_ENOUGH)))
        task = cls(
            max_length=config.max_length or encoder.longest_input,
            truncation=config.truncation or "head",
            max_target_length=longest,
            decoder_layers=config.decoder_layers or DECODER_LAYERS,
            chinese=is_chinese(targets),
            decoding=dataclasses.replace(cls.usual_decoding, max_length=usual_length),
            target_tokenizer=tokenizer,
        )
        return task.decoded_by(config.decoding)

    def check(self, records: Sequence[Record]) -> None:
        """Refuse records that have nothing to read or to write."""
        for record in records:
            for role, texts in (
                ("source", [record.values["source"]]),
                ("target", target_texts(record)),
            ):
                if not texts or not all(str(text).strip() for text in texts):
                    raise ElektronError(f"{record.where}: the {role} is empty")

    def new_model(self, encoder: Encoder, dropout: float | None) -> PreTrainedModel:
        """The encoder with a new decoder."""
        model = new_encoder_decoder(
            encoder, self.tokenizer, self.decoder_layers, self.max_target_length, dropout
        )
        model.generation_config = self.generation()
        return model

    def load_model(self, folder: str) -> PreTrainedModel:
        """The model of a folder or hub name.

        What it says of decoding itself is put aside: transformers would mix it with what is asked for.
        """
        model: PreTrainedModel = load_network(EncoderDecoderModel, folder)
        model.generation_config = self.generation()
        return model

    def features(
        self, records: Sequence[Record], tokenizer: PreTrainedTokenizerBase, labelled: bool
    ) -> list[Feature]:
        """Token ids of the sources, and of the targets with an end token."""
        sources = [str(record.values["source"]) for record in records]
        found = encode(sources, None, tokenizer, self.max_length, self.truncation, stride=0)
        if labelled:
            end = end_token_id(self.tokenizer)
            targets = [target_texts(record)[0] for record in records]
            for feature, ids in zip(found, token_ids(targets, self.tokenizer), strict=True):
                feature["labels"] = [*ids, end][: self.max_target_length]
        return found

    def collate(self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Sources and labels, padded; the decoder reads the labels one place to the right."""
        batch = pad_inputs(features, tokenizer)
        batch.pop("token_type_ids", None)
        if "labels" in features[0]:
            width = max(len(feature["labels"]) for feature in features)
            start, pad = start_token_id(self.tokenizer), self.tokenizer.pad_token_id
            batch["labels"] = padded([f["labels"] for f in features], width, IGNORED_LABEL)
            batch["decoder_input_ids"] = padded(
                [[start, *f["labels"][:-1]] for f in features], width, pad
            )
        return batch

    @torch.no_grad()
    def forward(self, model: PreTrainedModel, batch: Batch) -> list[Output]:
        """Token ids of the text that the model writes for each feature.

        Samples are a function of the model, the settings and the batch, so that figures can be had again.
        """
        source = {name: batch[name] for name in ("input_ids", "attention_mask")}
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices, enabled=bool(self.decoding.sample)):
            if self.decoding.sample:
                torch.manual_seed(seed_of(source["input_ids"]))
            written = model.generate(**source, generation_config=self.generation())
        end = end_token_id(self.tokenizer)
        return [until(row[1:], end) for row in written.tolist()]

    def predictions(
        self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[Output]
    ) -> list[Prediction]:
        """The text of each record."""
        texts = self.tokenizer.batch_decode(list(outputs), skip_special_tokens=True)
        return [{"text": text.strip()} for text in texts]

    def notes(self, measure: Measure) -> dict[str, str]:
        """The signatures of BLEU and its kin."""
        return dict(measure.signatures)  # type: ignore[attr-defined]

    def constant(self, records: Sequence[Record], train: Sequence[Record]) -> Constant:
        """Always the training target that is most like other training targets, by ROUGE-L."""
        text = most_typical([target_texts(record)[0] for record in train])
        return Constant(f"always {text[:60]!r}", [{"text": text}] * len(records))

    def variation(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> Variation:
        """By whole texts."""
        return variation_of_categories(
            [prediction["text"] for prediction in predictions],
            [target_texts(record)[0] for record in records],
            unit="text",
        )

    def decoded_by(self, decoding: DecodingConfig) -> Self:
        """The task with these settings in place of its own, where they are given.

        Raises:
            ElektronError: they contradict one another, or ask for more than the decoder can.
        """
        given = {name: value for name, value in vars(decoding).items() if value is not None}
        if given.get("sample"):
            if given.setdefault("beams", 1) > 1:
                raise ElektronError("--decoding.sample draws token by token: give no beams with it")
        elif "beams" in given:
            given.setdefault("sample", False)
        merged = dataclasses.replace(self.decoding, **given)
        refuse_impossible(merged, self.max_target_length)
        return dataclasses.replace(self, decoding=merged, target_tokenizer=self.tokenizer)

    def generation(self) -> GenerationConfig:
        """The decoding settings in transformers' words."""
        decoding, tokenizer = self.decoding, self.tokenizer
        start, end = start_token_id(tokenizer), end_token_id(tokenizer)
        never = {*tokenizer.all_special_ids} - {end}
        beams: dict[str, Any] = (
            {"length_penalty": decoding.length_penalty, "early_stopping": True}
            if decoding.beams != 1
            else {}
        )
        sampling: dict[str, Any] = (
            {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
            if decoding.sample
            else {}
        )
        return GenerationConfig(
            num_beams=decoding.beams,
            do_sample=decoding.sample,
            no_repeat_ngram_size=decoding.no_repeat_ngram,
            min_new_tokens=1,
            max_new_tokens=decoding.max_length,
            suppress_tokens=sorted(never),
            decoder_start_token_id=start,
            eos_token_id=end,
            pad_token_id=tokenizer.pad_token_id,
            **beams,
            **sampling,
        )

    def save(self, folder: Path) -> None:
        """Write `task.json`, and the output's tokenizer in a folder of its own."""
        super().save(folder)
        self.tokenizer.save_pretrained(folder / TARGET_TOKENIZER)

    @classmethod
    def load(cls, content: dict[str, Any], folder: str) -> Self:
        """The task in the content of a `task.json` that lay in `folder`, with its tokenizer."""
        decoding = content.get("decoding")
        if not isinstance(decoding, dict):
            raise ElektronError("decoding must be a group of settings")
        fields = cls.fields_in(content | {"decoding": None})
        fields["decoding"] = from_dict(DecodingConfig, decoding)
        refuse_impossible(fields["decoding"], fields["max_target_length"])
        tokenizer = load_tokenizer_files(folder, TARGET_TOKENIZER)
        return cls(**fields, target_tokenizer=tokenizer)


@dataclass(kw_only=True)
class Translation(SequenceToSequence):
    """The same in another language."""

    name: ClassVar[str] = "translation"
    figure: ClassVar[str] = "bleu"
    usual_decoding: ClassVar[DecodingConfig] = DecodingConfig(
        beams=4, length_penalty=1.0, no_repeat_ngram=0, sample=False, temperature=1.0, top_p=1.0
    )

    def measure(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> Measure:
        """BLEU and chrF."""
        references = list(map(target_texts, records))
        return Translations(references, written_texts(predictions), self.chinese)


@dataclass(kw_only=True)
class WritingTask(SequenceToSequence):
    """Something that may be written in many ways: figures compare words with the targets'."""

    figure: ClassVar[str] = "rougeL"

    def measure(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> Measure:
        """ROUGE, BLEU and how various the outputs are."""
        return Summaries(list(map(target_texts, records)), written_texts(predictions))


@dataclass(kw_only=True)
class Summarization(WritingTask):
    """The same in few words."""

    name: ClassVar[str] = "summarization"
    usual_decoding: ClassVar[DecodingConfig] = DecodingConfig(
        beams=4, length_penalty=1.0, no_repeat_ngram=3, sample=False, temperature=1.0, top_p=1.0
    )


@dataclass(kw_only=True)
class Generation(WritingTask):
    """What comes next: a reply, a next turn.

    Tokens are drawn: the likeliest reply to anything is "Yes." and its kin, and beams find it.
    """

    name: ClassVar[str] = "generation"
    usual_decoding: ClassVar[DecodingConfig] = DecodingConfig(
        beams=1, length_penalty=1.0, no_repeat_ngram=3, sample=True, temperature=0.7, top_p=0.9
    )


def load_target_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of an output that somebody else made.

    Raises:
        ElektronError: there is none, or it cannot end or pad an output.
    """
    tokenizer = load_tokenizer(name, needed=("pad",))
    end_token_id(tokenizer)
    return tokenizer


def refuse_impossible(decoding: DecodingConfig, positions: int) -> None:
    """Raise ElektronError for settings that no text can be generated by."""
    wrong = {
        "beams": (decoding.beams, "above 0", lambda value: value >= 1),
        "no-repeat-ngram": (decoding.no_repeat_ngram, "0 or above", lambda value: value >= 0),
        "temperature": (decoding.temperature, "above 0", lambda value: value > 0),
        "top-p": (decoding.top_p, "above 0 and at most 1", lambda value: 0 < value <= 1),
        "max-length": (
            decoding.max_length,
            f"from 1 to {positions}, the positions of the decoder",
            lambda value: 1 <= value <= positions,
        ),
    }
    for name, (value, range_, fits) in wrong.items():
        if not fits(value):
            raise ElektronError(f"--decoding.{name} must be {range_}, got {value}")


def target_texts(record: Record) -> list[str]:
    """The text that should come out, or all of a list of which any would do."""
    value = record.values["target"]
    return [str(text) for text in value] if isinstance(value, list) else [str(value)]


def written_texts(predictions: Sequence[Prediction]) -> list[str]:
    """What was written for each record."""
    return [str(prediction["text"]) for prediction in predictions]


def token_ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The pieces of each text, without special tokens."""
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)[
        "input_ids"
    ]
    return ids


def padded(rows: Sequence[Sequence[int]], width: int, fill: int) -> Tensor:
    """`(rows, width)`, filled up on the right."""
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])


def until(ids: list[int], end: int) -> list[int]:
    """What stands before the end token."""
    return ids[: ids.index(end)] if end in ids else ids


def seed_of(input_ids: Tensor) -> int:
    """A seed of its own for every batch."""
    return zlib.crc32(input_ids.cpu().numpy().tobytes())


def most_typical(texts: Sequence[str]) -> str:
    """Of some of the texts, spread evenly, the one with the highest mean ROUGE-L to others.

    Those that share the most words with the others are compared by ROUGE-L, which takes longer.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    candidates, jury = spread(texts, CANDIDATES), spread(texts, JURY)
    counter = CountVectorizer(analyzer=lambda text: words(text.lower()) or [text], binary=True)
    ours, theirs = counter.fit_transform(candidates), counter.transform(jury)
    sizes = np.asarray(ours.sum(axis=1)) + np.asarray(theirs.sum(axis=1)).T
    likeness = (2 * (ours @ theirs.T).toarray() / np.maximum(sizes, 1)).mean(axis=1)
    shortlist = [candidates[index] for index in np.argsort(-likeness, kind="stable")[:SHORTLIST]]
    references = [[text] for text in jury]
    means = [Summaries(references, [text] * len(jury))()["rougeL"] for text in shortlist]
    return shortlist[int(np.argmax(means))]


def spread(texts: Sequence[str], count: int) -> list[str]:
    """At most `count` of the texts, at even distances."""
    chosen = np.linspace(0, len(texts) - 1, min(count, len(texts))).astype(int)
    return [texts[index] for index in chosen]
