"""Texts as a model reads them: token ids of one text or a pair, however long it is.

What is longer than the model reads is cut to its head, or to head and tail (Sun et al. 2019: the
end of a review often says what it comes to), or read whole in windows that overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

LongText = Literal["head", "head-tail", "windows"]

# Of head and tail, the share of the head (Sun et al. 2019 have 128 of 510 tokens; halves did as well here).
HEAD_SHARE = 0.5


def encode(
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    truncation: LongText,
    stride: int,
) -> list[dict[str, Any]]:
    """Inputs of each text, one or several, with `record`, the number of the text.

    Of a pair the longer text is cut first, at its end; `truncation` is for texts that stand alone.
    """
    if pairs is not None:
        return _inputs(tokenizer, list(texts), list(pairs), truncation=True, max_length=max_length)
    if truncation == "windows":
        return _windows(texts, tokenizer, max_length, stride)
    if truncation == "head-tail":
        return _head_and_tail(texts, tokenizer, max_length)
    return _inputs(tokenizer, list(texts), truncation=True, max_length=max_length)


def _inputs(
    tokenizer: PreTrainedTokenizerBase, *texts: list[str], **options: Any
) -> list[dict[str, Any]]:
    encoded = tokenizer(*texts, return_attention_mask=False, **options)
    samples = encoded.pop("overflow_to_sample_mapping", range(len(encoded["input_ids"])))
    return [
        {name: values[row] for name, values in encoded.items()} | {"record": int(record)}
        for row, record in enumerate(samples)
    ]


def _windows(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int, stride: int
) -> list[dict[str, Any]]:
    return _inputs(
        tokenizer,
        list(texts),
        truncation=True,
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
    )


def _head_and_tail(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[dict[str, Any]]:
    first, *last = tokenizer("")["input_ids"]  # [CLS] and [SEP]
    room = max_length - len([first, *last])
    head = round(HEAD_SHARE * room)
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    found = []
    for record, ids in enumerate(encoded):
        kept = ids if len(ids) <= room else ids[:head] + ids[head - room :]
        found.append({"input_ids": [first, *kept, *last], "record": record})
    return found
