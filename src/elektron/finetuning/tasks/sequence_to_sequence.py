"""Text to text: translation, summaries, replies. A pretrained encoder with a new decoder that attends to it.

The model is transformers' `EncoderDecoderModel`; the decoder is `ElectraForCausalLM` with the encoder's hidden size.
The decoder's output matrix is tied to its embedding. Pieces (subword tokens) that both vocabularies have start with
the encoder's embedding, even if it is random, so that words to be copied have similar vectors in both networks.
"""

from __future__ import annotations

import dataclasses
import logging
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from transformers import ElectraConfig, EncoderDecoderConfig, EncoderDecoderModel, GenerationConfig, PreTrainedModel

from elektron.configuration import Size
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning.baselines import evenly_spaced
from elektron.finetuning.config import DecodingConfig, FinetuneConfig, Truncation
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.inputs import IGNORED_LABEL, Batch, Features, Records, Tokenizer, encode, pad
from elektron.finetuning.metrics.measure import Measure
from elektron.finetuning.metrics.text import ROUGE, by_line, rouge, summarization, translation
from elektron.finetuning.metrics.writing import is_chinese, is_plain_latin, words
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.base import Baseline, Outputs, Prediction, Predictions, Task
from elektron.finetuning.tasks.target_vocabulary import (
    end_token_id,
    shared_pieces,
    start_token_id,
    train_target_tokenizer,
)
from elektron.hub import load_tokenizer_files
from elektron.models.attention import use_fast_attention

log = logging.getLogger(__name__)

# A warning about checkpoints of 2021, which EncoderDecoderModel repeats whenever it computes a loss.
warnings.filterwarnings("ignore", message="Version v4.12.0 introduces a better way to train")

TARGET_TOKENIZER = "target_tokenizer"
LENGTH_QUANTILE = 0.999
"""By default, outputs may be as long as this quantile of the lengths of the training targets."""
CANDIDATES, SHORTLIST, REFERENCES = 2000, 20, 100
"""For `most_typical`: the number of candidate texts, of candidates that are compared by ROUGE-L, and of the texts that
these are compared with."""


@dataclass(kw_only=True)
class SequenceToSequence(Task):
    """Generates a text from a text."""

    auto_class: ClassVar[Any] = EncoderDecoderModel
    default_decoding: ClassVar[DecodingConfig]

    truncation: Truncation
    """What is read of texts longer than `max_length`."""
    max_target_length: Size
    """Longest target in tokens, including the end token; the number of positions of the decoder."""
    decoder_layers: int
    """Number of layers of the new decoder."""
    chinese: bool
    """Whether the targets are in Chinese, for which metrics count characters as words."""
    decoding: DecodingConfig
    """Decoding settings, none of which is None."""
    target_tokenizer: InitVar[Tokenizer]

    def __post_init__(self, target_tokenizer: Tokenizer) -> None:
        self.tokenizer = target_tokenizer

    @classmethod
    def from_records(cls, records: Records, config: FinetuneConfig, encoder: Encoder) -> Self:
        """Make the task: the vocabulary, the language and the lengths of the targets.

        Raises:
            ElektronError: `truncation` is `windows`, or the target tokenizer or the decoding settings cannot be used.
        """
        if config.truncation == "windows":
            raise ElektronError(f"--truncation windows does not work for {cls.name}: choose head or head-tail")
        targets = [target_texts(record)[0] for record in records]
        if several := sum(len(target_texts(record)) > 1 for record in records):
            log.info(
                f"{several:,} of {len(records):,} training rows have several targets: the first is trained on; metrics "
                "of other rows compare with all"
            )
        if config.target_tokenizer is None:
            tokenizer = train_target_tokenizer(targets, config.target_vocab_size)
        else:
            tokenizer = load_tokenizer(config.target_tokenizer, needed=("pad",))
            end_token_id(tokenizer)
        assert config.max_target_length is not None
        lengths = np.array(list(map(len, token_ids(targets, tokenizer)))) + 1
        shortened = np.minimum(lengths, config.max_target_length)
        longest = int(np.ceil(np.quantile(shortened, LENGTH_QUANTILE)))
        decoding = dataclasses.replace(cls.default_decoding, max_length=longest)
        fields = cls.configured(config) | {"decoding": decoding}
        task = cls(chinese=is_chinese(targets), target_tokenizer=tokenizer, **fields)
        return task.with_decoding(config.decoding)

    def truth(self, record: Record) -> Prediction:
        source, targets = str(record.values["source"]), target_texts(record)
        for role, texts in (("source", [source]), ("target", targets)):
            if not texts or not all(text.strip() for text in texts):
                raise ElektronError(f"{record.where}: the {role} is empty")
        return {"text": targets[0]}

    def new_model(self, encoder: Encoder, dropout: float | None) -> PreTrainedModel:
        model = new_encoder_decoder(encoder, self.tokenizer, self.decoder_layers, self.max_target_length, dropout)
        model.generation_config = self.generation()
        return model

    def load_model(self, folder: str) -> PreTrainedModel:
        """The model of a folder or hub name, with the task's decoding settings instead of its own."""
        model = super().load_model(folder)
        model.generation_config = self.generation()
        return model

    def features(self, records: Records, tokenizer: Tokenizer, labelled: bool) -> Features:
        """Token ids of the sources, and of the targets with an end token.

        The decoder's inputs are the labels shifted to the right.
        """
        sources = [str(record.values["source"]) for record in records]
        features = encode(tokenizer, sources, max_length=self.max_length, truncation=self.truncation)
        if labelled:
            start, end = start_token_id(self.tokenizer), end_token_id(self.tokenizer)
            targets = [target_texts(record)[0] for record in records]
            for feature, ids in zip(features, token_ids(targets, self.tokenizer), strict=True):
                feature["labels"] = [*ids, end][: self.max_target_length]
                feature["decoder_input_ids"] = [start, *feature["labels"][:-1]]
        return features

    def collate(self, features: Features, tokenizer: Tokenizer) -> Batch:
        fills = {"input_ids": tokenizer.pad_token_id, "labels": IGNORED_LABEL}
        return pad(features, fills | {"decoder_input_ids": self.tokenizer.pad_token_id})

    @torch.no_grad()
    def forward(self, model: PreTrainedModel, batch: Batch, output: Any = None) -> Outputs:
        """Token ids of the text that the model generates for each feature.

        The seed of sampling is computed from the batch, so that metrics are reproducible.
        """
        source = {name: batch[name] for name in ("input_ids", "attention_mask")}
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices, enabled=bool(self.decoding.sample)):
            if self.decoding.sample:
                torch.manual_seed(zlib.crc32(source["input_ids"].cpu().numpy().tobytes()))
            generated = model.generate(**source, generation_config=self.generation())
        end = end_token_id(self.tokenizer)
        rows = (row[1:] for row in generated.tolist())
        return [row[: row.index(end)] if end in row else row for row in rows]

    def predictions(self, records: Records, features: Features, outputs: Outputs) -> Predictions:
        texts = self.tokenizer.batch_decode(list(outputs), skip_special_tokens=True)
        return [{"text": text.strip()} for text in texts]

    def measure(self, records: Records, predictions: Predictions) -> Measure:
        return summarization(list(map(target_texts, records)), [row["text"] for row in predictions])

    def baselines(self, records: Records, train: Records) -> list[Baseline]:
        """The training target that is most similar to others by ROUGE-L, and a copy of (a part of) the source."""
        text = most_typical([target_texts(record)[0] for record in train or records])
        name, copies = self.copied(records, train or records)
        return [
            Baseline(f"always {text[:60]!r}", [{"text": text}] * len(records)),
            Baseline(name, [{"text": copy} for copy in copies]),
        ]

    def copied(self, records: Records, train: Records) -> tuple[str, list[str]]:
        """Name and predictions of the baseline that copies from the sources."""
        return "a copy of the source", [str(record.values["source"]) for record in records]

    def outcomes(self, prediction: Prediction) -> list[str]:
        return [prediction["text"]]

    def with_decoding(self, decoding: DecodingConfig) -> Self:
        """The task with these settings in place of its own, where they are not None.

        Raises:
            ElektronError: they contradict one another, or the decoder has too few positions.
        """
        given = {name: value for name, value in vars(decoding).items() if value is not None}
        if given.get("sample"):
            if given.setdefault("beams", 1) > 1:
                raise ElektronError("--decoding.sample and --decoding.beams cannot be used together")
        elif "beams" in given:
            given.setdefault("sample", False)
        merged = dataclasses.replace(self.decoding, **given)
        for name in ("temperature", "top_p"):
            if name in given and not merged.sample:
                raise ElektronError(f"--decoding.{name.replace('_', '-')} has no effect without --decoding.sample true")
        check_output_length(merged, self.max_target_length)
        return dataclasses.replace(self, decoding=merged, target_tokenizer=self.tokenizer)

    def generation(self) -> GenerationConfig:
        """The decoding settings as transformers' configuration."""
        decoding, tokenizer = self.decoding, self.tokenizer
        end = end_token_id(tokenizer)
        settings: dict[str, Any] = {}
        if decoding.beams != 1:
            settings |= {"length_penalty": decoding.length_penalty, "early_stopping": True}
        if decoding.sample:
            settings |= {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
        return GenerationConfig(
            num_beams=decoding.beams,
            do_sample=decoding.sample,
            no_repeat_ngram_size=decoding.no_repeat_ngram,
            min_new_tokens=1,
            max_new_tokens=decoding.max_length,
            suppress_tokens=sorted({*tokenizer.all_special_ids} - {end}),
            decoder_start_token_id=start_token_id(tokenizer),
            eos_token_id=end,
            pad_token_id=tokenizer.pad_token_id,
            **settings,
        )

    def save(self, folder: Path) -> None:
        super().save(folder)
        self.tokenizer.save_pretrained(folder / TARGET_TOKENIZER)

    @classmethod
    def load(cls, content: dict[str, Any], folder: str, **parts: Any) -> Self:
        task = super().load(content, folder, target_tokenizer=load_tokenizer_files(folder, TARGET_TOKENIZER))
        if None in vars(task.decoding).values():
            raise ElektronError("settings of decoding are missing")
        check_output_length(task.decoding, task.max_target_length)
        return task


BEAMS = DecodingConfig(beams=4, length_penalty=1.0, no_repeat_ngram=0, sample=False, temperature=1.0, top_p=1.0)


@dataclass(kw_only=True)
class Translation(SequenceToSequence):
    """Generates a translation into another language."""

    name: ClassVar[str] = "translation"
    metric: ClassVar[str] = "bleu"
    default_decoding: ClassVar[DecodingConfig] = BEAMS

    def measure(self, records: Records, predictions: Predictions) -> Measure:
        references = list(map(target_texts, records))
        return translation(references, [row["text"] for row in predictions], self.chinese)


@dataclass(kw_only=True)
class Summarization(SequenceToSequence):
    """Generates a summary."""

    name: ClassVar[str] = "summarization"
    metric: ClassVar[str] = "rougeL"
    default_decoding: ClassVar[DecodingConfig] = dataclasses.replace(BEAMS, no_repeat_ngram=3)

    def copied(self, records: Records, train: Records) -> tuple[str, list[str]]:
        """The lead: first sentences or lines, of at least the median number of words of the training targets."""
        median = np.median([len(words(target_texts(record)[0])) for record in train])
        leads = [lead(str(record.values["source"]), int(median)) for record in records]
        return "the first sentences of the source", leads


@dataclass(kw_only=True)
class Generation(SequenceToSequence):
    """Generates a text that follows the source, such as a reply.

    Tokens are sampled, because beam search finds the likeliest reply, which is "Yes." or similar for any source.
    """

    name: ClassVar[str] = "generation"
    metric: ClassVar[str] = "rougeL"
    default_decoding: ClassVar[DecodingConfig] = dataclasses.replace(
        BEAMS, beams=1, no_repeat_ngram=3, sample=True, temperature=0.7, top_p=0.9
    )


def check_output_length(decoding: DecodingConfig, positions: int) -> None:
    """Raise ElektronError if outputs may be longer than the number of positions of the decoder."""
    assert decoding.max_length is not None
    if decoding.max_length > positions:
        raise ElektronError(
            f"--decoding.max-length must be from 1 to {positions}, the positions of the decoder, "
            f"got {decoding.max_length}"
        )


def new_encoder_decoder(
    encoder: Encoder, target_tokenizer: Tokenizer, layers: int, positions: int, dropout: float | None
) -> EncoderDecoderModel:
    """The encoder with a decoder of `layers` layers for outputs of up to `positions` tokens.

    `dropout` is for both; None leaves the encoder's unchanged and gives the decoder 0.1.
    """
    width = encoder.config.hidden_size
    decoder = ElectraConfig(
        vocab_size=len(target_tokenizer),
        embedding_size=getattr(encoder.config, "embedding_size", None) or width,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=encoder.config.num_attention_heads,
        intermediate_size=getattr(encoder.config, "intermediate_size", None) or 4 * width,
        max_position_embeddings=positions,
        type_vocab_size=1,
        hidden_dropout_prob=0.1 if dropout is None else dropout,
        attention_probs_dropout_prob=0.1 if dropout is None else dropout,
        pad_token_id=target_tokenizer.pad_token_id,
        bos_token_id=start_token_id(target_tokenizer),
        eos_token_id=end_token_id(target_tokenizer),
        is_decoder=True,
        add_cross_attention=True,
    )
    config = EncoderDecoderConfig.from_encoder_decoder_configs(
        encoder.config_for({}, dropout),
        decoder,
        decoder_start_token_id=decoder.bos_token_id,
        eos_token_id=decoder.eos_token_id,
        pad_token_id=decoder.pad_token_id,
    )
    config.vocab_size = decoder.vocab_size
    model = EncoderDecoderModel(config)
    encoder.load_into(model.encoder)
    copy_embeddings(model, target_tokenizer, encoder.tokenizer)
    return use_fast_attention(model)


@torch.no_grad()
def copy_embeddings(model: EncoderDecoderModel, target_tokenizer: Tokenizer, source_tokenizer: Tokenizer) -> None:
    """Copy the encoder's embeddings of shared pieces into the decoder.

    They are scaled to the root mean square of the decoder's random embeddings. All of these models normalize
    embeddings, so that only the direction matters.
    """
    source = model.encoder.get_input_embeddings().weight
    target = model.decoder.get_input_embeddings().weight
    shared = shared_pieces(target_tokenizer, source_tokenizer)
    if not shared or source.shape[1] != target.shape[1]:
        return
    vectors = source[list(shared.values())]
    size = model.config.decoder.initializer_range
    target[list(shared)] = vectors * (size / vectors.square().mean().sqrt())
    log.info("%d of %d embeddings of the output start from the encoder's", len(shared), len(target))


def target_texts(record: Record) -> list[str]:
    """The correct texts of a record, one or several."""
    value = record.values["target"]
    return [str(text) for text in value] if isinstance(value, list) else [str(value)]


def lead(text: str, count: int) -> str:
    """The first sentences or lines of a text: at least one, until they have `count` words."""
    sentences = by_line(text).split("\n")
    lengths = np.cumsum([len(words(sentence)) for sentence in sentences])
    return "\n".join(sentences[: int(np.searchsorted(lengths, count)) + 1])


def token_ids(texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """The token ids of each text, without special tokens."""
    return tokenizer(list(texts), add_special_tokens=False, verbose=False).input_ids


def most_typical(texts: Sequence[str]) -> str:
    """The text with the highest mean ROUGE-L to others, among evenly spaced candidates.

    Only the candidates that share most words with the others are compared by ROUGE-L, which is slow.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    candidates, references = (
        [texts[index] for index in evenly_spaced(len(texts), limit)] for limit in (CANDIDATES, REFERENCES)
    )
    vectorizer = CountVectorizer(analyzer=lambda text: words(text.lower()) or [text], binary=True)
    first, second = vectorizer.fit_transform(candidates), vectorizer.transform(references)
    sizes = np.asarray(first.sum(axis=1)) + np.asarray(second.sum(axis=1)).T
    overlap = (2 * (first @ second.T).toarray() / np.maximum(sizes, 1)).mean(axis=1)
    shortlist = [candidates[index] for index in np.argsort(-overlap, kind="stable")[:SHORTLIST]]
    english, column = is_plain_latin(references), ROUGE.index("rougeL")
    of_each = [[text] for text in references]
    means = [rouge(of_each, [text] * len(of_each), english)[:, column].mean() for text in shortlist]
    return shortlist[int(np.argmax(means))]
