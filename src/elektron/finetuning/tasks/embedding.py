"""Sentence embeddings: one vector per text, pooled from the encoder's last hidden states.

The encoder is trained on pairs (a text and one that belongs to it), triplets (with a third text, which does
not) or pairs with a similarity score, with the losses that sentence-transformers uses for them. The saved
folder loads as `SentenceTransformer(DIR)`; family `elektron` needs `trust_remote_code=True` there. The pooling is the
mean over tokens. A released sentence-transformers model keeps its pooling, prompts and maximum length.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from elektron.errors import ElektronError
from elektron.finetuning.baselines import sampled_rows, tf_idf
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.inputs import Batch, Feature, Features, Records, Tokenizer, encode, pad
from elektron.finetuning.metrics.embedding import ranks, retrieval, similarity
from elektron.finetuning.metrics.measure import Measure
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.values import is_empty
from elektron.finetuning.tasks.base import Baseline, Outputs, Prediction, Predictions, Task, Variation
from elektron.finetuning.tasks.classification import numeric_label
from elektron.hub import optional_file
from elektron.io.files import MALFORMED, read_json, read_text, unreadable
from elektron.models.attention import use_fast_attention
from elektron.models.heads import mean_of_tokens
from elektron.models.loading import load_bare_encoder

SCALE = 20.0
"""Factor of the cosines in both losses (an inverse temperature), as in sentence-transformers."""
TEXTS = ("text", "pair", "negative")
POOLING, NORMALIZE = "1_Pooling", "2_Normalize"
LENGTH_FILE, PROMPTS_FILE = "sentence_bert_config.json", "config_sentence_transformers.json"
Pooling = Literal["mean", "cls"]


@dataclass(kw_only=True)
class SentenceSettings:
    """What a sentence-transformers model does before and after its encoder."""

    pooling: Pooling = "mean"
    """How a text's vector is made from its tokens' hidden states: their `mean`, or that of the first token, `cls`."""
    normalize: bool = False
    """Whether vectors have length 1."""
    lowercase: bool = False
    """Whether texts are lowercased before they are tokenized."""
    prompts: dict[str, str] = field(default_factory=dict)
    """Prefixes of texts, by name, such as `query`."""
    default_prompt_name: str | None = None
    """Name of the prompt that every text is prefixed with."""

    def prepared(self, text: str) -> str:
        """The text that is tokenized."""
        text = self.prompts.get(self.default_prompt_name or "", "") + text
        return text.lower() if self.lowercase else text


class SentenceEncoder(PreTrainedModel):
    """An encoder with pooling over tokens; saved as the encoder alone, with the files of sentence-transformers.

    Args:
        encoder: an encoder without a head.
        settings: what is done before and after the encoder.
        max_length: longest text in tokens that `SentenceTransformer` reads.
    """

    base_model_prefix = "encoder"
    config_class = PreTrainedConfig
    # The encoder has already checked that it supports the attention implementation.
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True

    def __init__(self, encoder: PreTrainedModel, settings: SentenceSettings, max_length: int) -> None:
        super().__init__(encoder.config)
        self.encoder = use_fast_attention(encoder)
        self.settings = settings
        self.max_length = max_length

    def forward(self, labels: Tensor | None = None, **inputs: Tensor) -> SequenceClassifierOutput:
        """Embeddings as `logits`, `(texts, batch, hidden)`, and the loss if there are labels.

        `texts` is the number of texts in a record, from 1 to 3.

        Args:
            labels: scores or numbers of texts, see `embedding_loss`.
            inputs: `input_ids`, `attention_mask` …, each `(texts, batch, length)`.
        """
        rows = {name: tensor.flatten(0, 1) for name, tensor in inputs.items()}
        states = self.encoder(**rows).last_hidden_state.float()
        is_cls = self.settings.pooling == "cls"
        pooled = states[:, 0] if is_cls else mean_of_tokens(states, rows["attention_mask"])
        if self.settings.normalize:
            pooled = F.normalize(pooled, dim=-1)
        embeddings = pooled.unflatten(0, inputs["attention_mask"].shape[:2])
        loss = None if labels is None else embedding_loss(embeddings, labels)
        return SequenceClassifierOutput(loss=loss, logits=embeddings)

    def save_pretrained(self, save_directory: Any, **options: Any) -> None:
        """Write the encoder, and the configuration files that `SentenceTransformer` reads."""
        self.encoder.save_pretrained(save_directory, **options)
        folder, settings = Path(save_directory), self.settings
        (folder / POOLING).mkdir(exist_ok=True)
        parts = {"Transformer": "", "Pooling": POOLING} | ({"Normalize": NORMALIZE} if settings.normalize else {})
        files: dict[str, Any] = {
            "modules.json": [
                {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{name}"}
                for place, (name, path) in enumerate(parts.items())
            ],
            LENGTH_FILE: {"max_seq_length": self.max_length, "do_lower_case": settings.lowercase},
            PROMPTS_FILE: {
                "prompts": settings.prompts,
                "default_prompt_name": settings.default_prompt_name,
                "similarity_fn_name": "cosine",
            },
            f"{POOLING}/config.json": {
                "word_embedding_dimension": self.config.hidden_size,
                "pooling_mode_cls_token": settings.pooling == "cls",
                "pooling_mode_mean_tokens": settings.pooling == "mean",
            },
        }
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")


def embedding_loss(embeddings: Tensor, labels: Tensor) -> Tensor:
    """The loss of a batch.

    With scores, CoSENT (Su 2022): log(1 + Σ exp(20 (cos_j - cos_i))) over all i, j with score_i > score_j.
    Without scores, cross-entropy over the cosines of each text with the second texts and negatives of the whole
    batch, where the target is its own second text (in-batch negatives, Henderson et al. 2017). Texts equal to the
    target and second texts of rows with the same first text are not negatives.

    Args:
        embeddings: `(2 or 3, batch, hidden)`.
        labels: the scores as floats `(batch,)`, or integers `(2 or 3, batch)` that are equal for equal texts.
    """
    first, *others = F.normalize(embeddings, dim=-1)
    if not labels.is_floating_point():
        logits = SCALE * first @ torch.cat(others).T
        is_positive = labels[1][:, None] == labels[1:].flatten()
        is_positive[:, : len(first)] |= labels[0][:, None] == labels[0]
        logits = logits.masked_fill(is_positive.fill_diagonal_(False), -torch.inf)
        return F.cross_entropy(logits, torch.arange(len(first), device=logits.device))
    cosine = SCALE * (first * others[0]).sum(dim=-1)
    differences = cosine[None, :] - cosine[:, None]
    higher = labels[:, None] > labels[None, :]
    terms = differences.masked_fill(~higher, -torch.inf).flatten()
    return torch.logsumexp(F.pad(terms, (1, 0)), dim=0)


@dataclass(kw_only=True)
class Embedding(SentenceSettings, Task):
    """Computes a vector for each text, so that the cosine of two vectors says how similar the texts are."""

    name: ClassVar[str] = "embedding"
    auto_class: ClassVar[Any] = AutoModel
    network_outputs: ClassVar[tuple[str, ...]] = ("last_hidden_state",)
    group_by_length: ClassVar[bool] = False  # the texts of a row are compared with those of the others in its batch

    scored: bool | None
    """Whether pairs have similarity scores; None if that is not known, and depends on the records."""

    @property
    def metric(self) -> str:  # type: ignore[override]
        """Rank correlation with the scores, or the mean reciprocal rank of the right text."""
        return "mrr" if self.scored is False else "spearman"

    @property
    def had_column(self) -> dict[str, bool | None]:
        return {"label": self.scored}

    def has_scores(self, records: Records) -> bool:
        """Whether pairs have scores; if that is not known yet, `scored` is set from these records."""
        if self.scored is None:
            self.scored = "label" in records[0].values
        return self.scored

    @classmethod
    def from_records(cls, records: Records, config: FinetuneConfig, encoder: Encoder) -> Self:
        refuse_mixed_columns(records)
        scored = "label" in records[0].values
        if scored and len(set(map(numeric_label, records))) < 2:
            raise cls.nothing_to_learn(records, f"all {len(records)} rows have the same score")
        settings = sentence_settings(encoder.name) if encoder.pretrained else {}
        return cls(scored=scored, **settings | cls.configured(config))

    def truth(self, record: Record) -> Prediction:
        """The score of a pair; empty if pairs have no scores."""
        return {"score": numeric_label(record)} if self.has_scores([record]) else {}

    def check(self, records: Records) -> None:
        """Raise ElektronError for a record that has other columns than the first, or no number as its score."""
        refuse_mixed_columns(records)
        super().check(records)

    def features(self, records: Records, tokenizer: Tokenizer, labelled: bool) -> Features:
        """One feature per record, whose `texts` are the inputs of its text, its second text and its negative."""
        roles = [role for role in TEXTS if has_value(records[0], role) and (labelled or role != "negative")]
        columns = [
            encode(
                tokenizer,
                [self.prepared(str(record.values[role])) for record in records],
                max_length=self.max_length,
            )
            for role in roles
        ]
        scored = labelled and self.has_scores(records)
        features: Features = []
        for index, texts in enumerate(zip(*columns, strict=True)):
            longest = max((row["input_ids"] for row in texts), key=len)
            features.append({"record": index, "texts": texts, "input_ids": longest})
            if labelled:
                features[-1]["labels"] = numeric_label(records[index]) if scored else None
        return features

    def size(self, feature: Feature) -> int:
        """Number of tokens of all texts of a record, with padding."""
        return len(feature["texts"]) * len(feature["input_ids"])

    def collate(self, features: Features, tokenizer: Tokenizer) -> Batch:
        """Inputs `(texts, batch, length)`: all first texts, all second ones, all negatives."""
        texts = list(zip(*(feature["texts"] for feature in features), strict=True))
        rows = [row for column in texts for row in column]
        flat = pad(rows, {"input_ids": tokenizer.pad_token_id, "token_type_ids": 0})
        batch = {name: tensor.unflatten(0, (len(texts), -1)) for name, tensor in flat.items()}
        if "labels" in features[0]:
            scores = [feature["labels"] for feature in features]
            if None in scores:
                numbers: dict[tuple[int, ...], int] = {}
                of_texts = [numbers.setdefault(tuple(row["input_ids"]), len(numbers)) for row in rows]
                batch["labels"] = torch.tensor(of_texts).view(len(texts), -1)
            else:
                batch["labels"] = torch.tensor(scores)
        return batch

    def new_model(self, encoder: Encoder, dropout: float | None) -> PreTrainedModel:
        """The encoder, with no new weights."""
        model = AutoModel.from_config(encoder.config_for({}, dropout), dtype=torch.float32)
        encoder.load_into(model)
        return self.add_pooling(model)

    def load_model(self, folder: str) -> PreTrainedModel:
        return self.add_pooling(load_bare_encoder(folder)[0])

    def add_pooling(self, encoder: PreTrainedModel) -> SentenceEncoder:
        """The encoder with the task's pooling."""
        return SentenceEncoder(encoder, self, self.max_length)

    def forward(self, model: PreTrainedModel, batch: Batch, output: Any = None) -> Outputs:
        """The embeddings of each record, `(texts, hidden)`."""
        output = model(**batch) if output is None else output
        return list(output.logits.transpose(0, 1).cpu().numpy())

    def predictions(self, records: Records, features: Features, outputs: Outputs) -> Predictions:
        """For a single text its `embedding`; for a pair the cosine as `score`, and `rank` if pairs have no scores.

        The rank is that of the right text among all second texts of these records, by cosine, from 1.
        """
        if "pair" not in records[0].values:
            return [{"embedding": [float(value) for value in output[0]]} for output in outputs]
        first, second = (unit(np.stack([output[i] for output in outputs])) for i in (0, 1))
        return self._of_pairs(records, (first * second).sum(axis=1), first, second)

    def _of_pairs(self, records: Records, cosines: NDArray[np.float32], first: Any, second: Any) -> Predictions:
        """Predictions from the cosines of the pairs and the unit vectors, `(rows, hidden)`, dense or sparse."""
        predictions: Predictions = [{"score": round(float(score), 6)} for score in cosines]
        if not self.has_scores(records):
            texts = [str(record.values["pair"]) for record in records]
            for prediction, rank in zip(predictions, ranks(first, second, texts), strict=True):
                prediction["rank"] = rank
        return predictions

    def measure(self, records: Records, predictions: Predictions) -> Measure:
        """Correlation of cosines with scores; or mean reciprocal rank, recall at 1 and at 10."""
        if self.has_scores(records):
            scores = [prediction["score"] for prediction in predictions]
            return similarity(list(map(numeric_label, records)), scores)
        return retrieval([prediction["rank"] for prediction in predictions])

    def baselines(self, records: Records, train: Records) -> list[Baseline]:
        """TF-IDF vectors in place of embeddings; none is constant, because texts with the same vector have no order."""
        source = train or records
        vectorizer = tf_idf([str(source[row].values[role]) for row in sampled_rows(source) for role in TEXTS[:2]])
        if vectorizer is None:
            return []
        first, second = (vectorizer.transform([str(record.values[role]) for record in records]) for role in TEXTS[:2])
        cosines = np.asarray(first.multiply(second).sum(axis=1)).ravel()
        return [Baseline("cosine of TF-IDF vectors", self._of_pairs(records, cosines, first, second))]

    def variation(self, records: Records, predictions: Predictions) -> Variation:
        """Standard deviation of the cosines, and of the scores relative to their range."""
        cosines = np.array([prediction["score"] for prediction in predictions])
        summary = f"it gives a cosine of {cosines.mean():.3g} to every pair, ± {cosines.std():.2g}"
        true = 0.0
        if self.has_scores(records):
            scores = np.array(list(map(numeric_label, records)))
            true = float(scores.std() / max(np.ptp(scores), 1e-9))
        return Variation(float(cosines.std()), true, summary)


def sentence_settings(model: str) -> dict[str, Any]:
    """The fields of `SentenceSettings` and `max_length` of a sentence-transformers model; empty for other encoders.

    Args:
        model: folder or hub name.

    Raises:
        ElektronError: it has another pooling or further layers, or its files are damaged.
    """
    file = optional_file(model, "modules.json")
    if file is None:
        return {}
    try:
        paths = {str(module["type"]).rpartition(".")[2]: str(module["path"]) for module in json.loads(read_text(file))}
        settings_file = optional_file(model, "config.json", paths["Pooling"])
        if settings_file is None:
            raise ValueError(f"there is no {paths['Pooling']}/config.json")
        settings = read_json(settings_file)
        bert, prompting, tokenizer = (
            {} if path is None else read_json(path)
            for path in (optional_file(model, name) for name in (LENGTH_FILE, PROMPTS_FILE, "tokenizer_config.json"))
        )
    except (OSError, *MALFORMED) as error:
        raise unreadable(file, error, "fetch the model again") from error
    if further := paths.keys() - {"Transformer", "Pooling", "Normalize"}:
        raise ElektronError(f"{model}: its embeddings pass through a layer {min(further)}, which is not supported")
    modes = settings.get("pooling_mode") or [  # older versions have a flag for each
        name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for name, value in settings.items()
        if name.startswith("pooling_mode_") and value
    ]
    match [modes] if isinstance(modes, str) else modes:
        case [("mean" | "cls") as mode]:
            length = bert.get("max_seq_length") or tokenizer.get("model_max_length")
            return {
                "pooling": mode,
                "normalize": "Normalize" in paths,
                "lowercase": bool(bert.get("do_lower_case")),
                "prompts": prompting.get("prompts") or {},
                "default_prompt_name": prompting.get("default_prompt_name"),
            } | ({"max_length": length} if length else {})
    raise ElektronError(f"{model}: its pooling is {modes}: only mean and cls are supported")


def refuse_mixed_columns(records: Records) -> None:
    """Raise ElektronError if some records have a negative or a score and others have none."""
    for role in ("negative", "label"):
        for record in records:
            has = has_value(record, role)
            if has != has_value(records[0], role):
                raise ElektronError(
                    f"{record.where}: it {'has' if has else 'lacks'} a {role}, unlike {records[0].where}: all rows "
                    "must have one, or none"
                )


def has_value(record: Record, role: str) -> bool:
    """Whether a record has a column of a role, and a value in it."""
    return not is_empty(record.values.get(role))


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale vectors, `(rows, hidden)`, to length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
