"""How much a forward pass keeps for its backward pass, counted from sizes.

A token leaves behind, in numbers, for hidden width h, feed-forward width f and embedding width e,

    layers · layer  +  2 e + h.

What a matrix product reads is kept in its own precision, `narrow`; what normalisation and the stream
of hidden states read is kept in fp32, `wide`:

    layer               narrow           wide
    elektron            7 h + 2 f        4 h
    electra             6 h + 2 f        2 h
    deberta-v2          7 h + 2 f        2 h
    modernbert          8 h + 4 f        2 h        whose feed-forward is gated
    dropout, if any     2 h

and for attention with a heads over rows of n tokens

    in one kernel       n                a          the row's mask, and the sums of the softmax
    written out                          3 a n      scores, dropout's mask, and their product
    bf16 on a CPU       a n                         2 a n and a byte each with dropout; rows of up to 256 tokens
    deberta-v2          4 a b + 4 h b / n           and a n scores (3 a n with dropout), always written out

with b position buckets. A kernel that computes attention without writing the scores out takes a mask
everywhere, and dropout on GPUs only (`Storage.fused_dropout`).

A head that predicts tokens keeps h + 3 e and, in fp32, v log-probabilities at each position where it
is read (v the vocabulary); the head for replaced tokens 3 h at each token.

This is what a step keeps that runs as it is written. A compiled one computes some of it anew and keeps
less. The tests compare with what torch saves on a CPU, where it is within a quarter for every family,
objective and precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from elektron.models.attention import LONGEST_ROW
from elektron.models.families import sizes_of

WIDE = 4
"""Bytes of a number in fp32."""


@dataclass(frozen=True)
class Storage:
    """How a device keeps numbers."""

    narrow: int
    """Bytes of a number that a matrix product reads: 2 in bf16, 4 in fp32."""
    fused_dropout: bool
    """Whether attention with dropout is one kernel, that leaves no scores behind."""


class LayerWidths(NamedTuple):
    """How often one layer keeps its widths."""

    hidden: int
    wide_hidden: int
    feed_forward: int


LAYERS = {
    "elektron": LayerWidths(7, 4, 2),
    "electra": LayerWidths(6, 2, 2),
    "deberta-v2": LayerWidths(7, 2, 2),
    "modernbert": LayerWidths(8, 2, 4),
}
DROPOUT_HIDDEN = 2


def encoder_bytes(config: Any, rows: int, length: int, storage: Storage) -> int:
    """What the encoder that a configuration describes keeps of `rows` rows of `length` tokens."""
    sizes, widths = sizes_of(config), LAYERS[config.model_type]
    hidden = widths.hidden + (DROPOUT_HIDDEN if sizes.dropout else 0)
    layer = (
        storage.narrow * (hidden * sizes.hidden + widths.feed_forward * sizes.feed_forward)
        + WIDE * widths.wide_hidden * sizes.hidden
        + attention_bytes(config, length, storage)
    )
    ends = WIDE * (2 * sizes.embedding + sizes.hidden)
    return rows * length * (sizes.layers * layer + ends)


def attention_bytes(config: Any, length: int, storage: Storage) -> int:
    """What attention in one layer keeps of one token, beside its queries, keys, values and result."""
    sizes = sizes_of(config)
    scores = sizes.heads * length
    if config.model_type == "deberta-v2":
        buckets = config.position_buckets
        span = 2 * (buckets if buckets > 0 else sizes.max_positions)
        positions = 2 * span * (sizes.heads + sizes.hidden // length)
        return storage.narrow * positions + WIDE * scores * (3 if sizes.dropout else 1)
    if not storage.fused_dropout and storage.narrow < WIDE and length <= LONGEST_ROW:
        return scores * (2 * storage.narrow + 1 if sizes.dropout else storage.narrow)
    if sizes.dropout and not storage.fused_dropout:
        return WIDE * 3 * scores
    return storage.narrow * length + WIDE * sizes.heads


def token_head_bytes(config: Any, storage: Storage) -> int:
    """What the head that predicts tokens keeps of one position, log-probabilities included."""
    sizes = sizes_of(config)
    return storage.narrow * (sizes.hidden + 3 * sizes.embedding) + logits_bytes(config)


def logits_bytes(config: Any) -> int:
    """The scores of all tokens at one position, in fp32."""
    vocabulary: int = config.vocab_size
    return WIDE * vocabulary


def replaced_head_bytes(config: Any, storage: Storage) -> int:
    """What the head for replaced tokens keeps of one token."""
    return storage.narrow * 3 * sizes_of(config).hidden
