"""Packed rows: which tokens attend to each other, and how each family encodes them.

Documents of a row are encoded as if each stood alone: positions restart, and attention stays within a document.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel


class PackedPositions(NamedTuple):
    """The document, position and segment of every token of packed rows."""

    document_ids: Tensor
    """`(batch, length)`: the document of the row that a token belongs to, -1 for padding."""
    position_ids: Tensor
    """`(batch, length)`: positions, restarting with each document."""
    token_type_ids: Tensor
    """`(batch, length)`: 1 in the second segment of `paper` packing."""
    attention_mask: Tensor
    """`(batch, 1, length, length)`: whether two tokens belong to the same document; made once for both networks."""


def make_packed_positions(document_ids: Tensor, position_ids: Tensor, token_type_ids: Tensor) -> PackedPositions:
    """The positions of packed rows `(batch, length)`, with their attention mask."""
    same_document = document_ids[:, None, :, None] == document_ids[:, None, None, :]
    return PackedPositions(document_ids, position_ids, token_type_ids, same_document)


def first_position(config: Any) -> int:
    """The row of the table of positions that a text's first token reads.

    RoBERTa and its relatives have one for padding, at the padding token's id, and count from behind it.
    """
    match config.model_type:
        case "roberta" | "xlm-roberta" | "camembert":
            return int(config.pad_token_id) + 1
        case "mpnet":
            return 2  # its code has the 1 of its own padding token
    return 0


def mixes_documents(config: Any) -> bool:
    """Whether an encoder has a convolution, as some of `deberta-v2`, which does not keep to a document."""
    return (getattr(config, "conv_kernel_size", None) or 0) > 0


def with_segments(config: Any, packed: PackedPositions) -> dict[str, Tensor]:
    """`token_type_ids` for encoders that tell segments apart."""
    several = (getattr(config, "type_vocab_size", None) or 0) > 1
    return {"token_type_ids": packed.token_type_ids} if several else {}


def encode(encoder: PreTrainedModel, input_ids: Tensor, packed: PackedPositions) -> Tensor:
    """Hidden states `(batch, length, hidden_size)` of an encoder whose positions are absolute or rotary."""
    return encoder(
        input_ids,
        attention_mask=packed.attention_mask,
        position_ids=packed.position_ids + first_position(encoder.config),
        **with_segments(encoder.config, packed),
    ).last_hidden_state


def encode_mpnet(encoder: PreTrainedModel, input_ids: Tensor, packed: PackedPositions) -> Tensor:
    """`mpnet`, which adds its mask to the scores. Its relative positions within a document are those of the row."""
    lowest = torch.finfo(torch.float32).min
    return encode(encoder, input_ids, packed._replace(attention_mask=torch.where(packed.attention_mask, 0.0, lowest)))


def encode_deberta(encoder: PreTrainedModel, input_ids: Tensor, packed: PackedPositions) -> Tensor:
    """`deberta-v2`, whose embeddings take one mask and whose layers take another; its forward has one for both.

    Relative positions within a document are those of the row. The convolution that some have takes a mask of real
    tokens; their rows hold one document.
    """
    real = packed.document_ids >= 0
    mask = real.long() if mixes_documents(encoder.config) else packed.attention_mask
    embedded = encoder.embeddings(
        input_ids, position_ids=packed.position_ids, mask=real, **with_segments(encoder.config, packed)
    )
    return encoder.encoder(embedded, mask, output_hidden_states=False).last_hidden_state


def encode_modernbert(encoder: PreTrainedModel, input_ids: Tensor, packed: PackedPositions) -> Tensor:
    """`modernbert`, which would not narrow a given mask to its windows."""
    order = torch.arange(input_ids.shape[1], device=input_ids.device)
    near = (order[:, None] - order).abs() <= encoder.config.local_attention // 2
    return encoder(
        input_ids,
        attention_mask={"full_attention": packed.attention_mask, "sliding_attention": packed.attention_mask & near},
        position_ids=packed.position_ids,
    ).last_hidden_state
