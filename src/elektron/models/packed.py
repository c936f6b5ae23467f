"""Packed rows: which tokens attend to each other, and how each family encodes them.

Documents of a row are encoded as if each stood alone: positions restart, and attention stays within a document.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from elektron.errors import ElektronError


class PackedPositions(NamedTuple):
    """The document, position and segment of every token of packed rows."""

    document_ids: Tensor
    """`(batch, length)`: the number of the token's document within its row, -1 for padding."""
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
    """The position id of a text's first token.

    In RoBERTa and its relatives, padding has the padding token's id as its position, and texts start at the next one.
    """
    match config.model_type:
        case "roberta" | "xlm-roberta" | "camembert":
            if config.pad_token_id is None:
                raise ElektronError(f"a {config.model_type} needs a pad_token_id in its config.json: usually 1")
            return int(config.pad_token_id) + 1
        case "mpnet":
            return 2  # transformers' code for mpnet fixes the padding id at 1
    return 0


def mixes_documents(config: Any) -> bool:
    """Whether an encoder has a convolution, which mixes the documents of a row, as some of `deberta-v2` do."""
    return (getattr(config, "conv_kernel_size", None) or 0) > 0


def with_segments(config: Any, packed: PackedPositions) -> dict[str, Tensor]:
    """The argument `token_type_ids`, for encoders that have several segments."""
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
    """As `encode`, for `mpnet`, which adds its mask to the attention scores.

    Relative positions need no change: packing does not affect distances within a document.
    """
    lowest = torch.finfo(torch.float32).min
    return encode(encoder, input_ids, packed._replace(attention_mask=torch.where(packed.attention_mask, 0.0, lowest)))


def encode_deberta(encoder: PreTrainedModel, input_ids: Tensor, packed: PackedPositions) -> Tensor:
    """As `encode`, for `deberta-v2`, whose embeddings and layers are called separately.

    They need different masks, and its `forward` takes only one for both. Relative positions need no change, as for
    `mpnet`. The convolution that some checkpoints have needs a mask of real tokens; rows then hold one document.
    """
    real = packed.document_ids >= 0
    mask = real.long() if mixes_documents(encoder.config) else packed.attention_mask
    embedded = encoder.embeddings(
        input_ids, position_ids=packed.position_ids, mask=real, **with_segments(encoder.config, packed)
    )
    return encoder.encoder(embedded, mask, output_hidden_states=False).last_hidden_state


def encode_modernbert(encoder: PreTrainedModel, input_ids: Tensor, packed: PackedPositions) -> Tensor:
    """As `encode`, for `modernbert`, which does not apply its sliding window to a 4-D mask."""
    order = torch.arange(input_ids.shape[1], device=input_ids.device)
    near = (order[:, None] - order).abs() <= encoder.config.local_attention // 2
    return encoder(
        input_ids,
        attention_mask={"full_attention": packed.attention_mask, "sliding_attention": packed.attention_mask & near},
        position_ids=packed.position_ids,
    ).last_hidden_state
