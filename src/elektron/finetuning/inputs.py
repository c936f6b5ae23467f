"""Turn texts into the inputs of an encoder: tokenize, truncate or split into windows, and pad into batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase

from elektron.finetuning.config import Truncation
from elektron.finetuning.readers.records import Record

Records = Sequence[Record]
Tokenizer: TypeAlias = PreTrainedTokenizerBase
Feature = dict[str, Any]
"""One row of a batch: `input_ids`, `labels` if they are known, and `record`, the index of its record.
Other entries, which a task adds for its predictions, are not passed to the model."""
Features = list[Feature]
Batch = dict[str, Tensor]

IGNORED_LABEL = -100
HEAD_FRACTION = 0.5
"""Fraction of the head in head and tail (128 of 510 tokens in Sun et al. 2019; one half did as well here)."""
WINDOWS = {"truncation": True, "return_overflowing_tokens": True}


def tokenize(tokenizer: Tokenizer, *texts: Sequence[Any], **options: Any) -> tuple[BatchEncoding, Features]:
    """The tokenizer's encoding, and a feature for each of its rows; a text in windows has several rows."""
    encoded = tokenizer(*map(list, texts), return_attention_mask=False, **options)
    records = encoded.pop("overflow_to_sample_mapping", range(len(encoded["input_ids"])))
    return encoded, [
        {name: values[row] for name, values in encoded.items()} | {"record": int(record)}
        for row, record in enumerate(records)
    ]


def encode(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    max_length: int,
    truncation: Truncation = "head",
    stride: int = 0,
) -> Features:
    """Features of texts or pairs of texts of any length.

    Pairs are truncated at the end of the longer text. `truncation` applies to single texts and keeps the
    head, head and tail (Sun et al. 2019: the end of a review often has its conclusion), or all of the
    text in windows that overlap by `stride` tokens.
    """
    if pairs is not None:
        return tokenize(tokenizer, texts, pairs, truncation=True, max_length=max_length)[1]
    if truncation == "windows":
        return tokenize(tokenizer, texts, **WINDOWS, max_length=max_length, stride=stride)[1]
    if truncation == "head":
        return tokenize(tokenizer, texts, truncation=True, max_length=max_length)[1]
    around = tokenizer("a", return_special_tokens_mask=True)
    ids, mask = around["input_ids"], around["special_tokens_mask"]
    first, last = ids[: mask.index(0)], ids[len(mask) - mask[::-1].index(0) :]  # [CLS] and [SEP]
    room = max_length - len(first) - len(last)
    head = round(HEAD_FRACTION * room)
    _, features = tokenize(tokenizer, texts, add_special_tokens=False, verbose=False)
    for feature in features:
        ids = feature["input_ids"]
        kept = ids if len(ids) <= room else ids[:head] + ids[head - room :]
        feature["input_ids"] = [*first, *kept, *last]
        feature.pop("token_type_ids", None)
    return features


def pad(features: Features, fills: dict[str, int]) -> Batch:
    """Tensors of some entries of features, padded on the right to the longest, and the attention mask.

    Args:
        features: their entries are lists of different lengths, `(length,)`, or numbers.
        fills: the padding value of each entry. Entries that the features do not have are left out.

    Returns:
        `(batch, length)` and `(batch,)` by name.
    """
    rows = [feature | {"attention_mask": [1] * len(feature["input_ids"])} for feature in features]
    batch = {}
    for name, fill in (fills | {"attention_mask": 0}).items():
        if name in rows[0]:
            values = [row[name] for row in rows]
            if isinstance(values[0], list):
                width = max(map(len, values))
                values = [value + [fill] * (width - len(value)) for value in values]
            batch[name] = torch.tensor(values)
    return batch
