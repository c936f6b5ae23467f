"""Floating-point operations of a training step, computed from the sizes of the networks.

Only matrix products are counted, with two operations for each multiplication and addition, as in
`torch.utils.flop_counter` and in the papers. An encoder costs

    tokens · (2 · embedding · hidden  (where the widths differ)  +  layers · layer)

with, for hidden width h, feed-forward width f and rows of n tokens,

    layer = 8 h² + 4 h f + 4 n h                     elektron, electra, bert and its relatives
    layer = 8 h² + 6 h f + 4 n h                     modernbert, whose feed-forward is gated
    layer = 8 h² + 4 h f + 4 n h + 8 b h             deberta-v2: every token against 2 b positions, twice;
            and 8 b h² once per step and layer       for the two projections of those positions

A language-model head costs 2 e h + 2 e v at every position where it is applied (e embedding width, v vocabulary);
the detection head costs 2 h² + 2 h (token classifiers: 4 h; modernbert: 2 h² + 4 h) at every token.

A trained network costs three times its forward pass, because the backward pass costs twice the forward pass; a network
that is not trained costs its forward pass. Normalisation, activations, attention's softmax, embedding look-ups and the
optimizer are left out. Attention is counted over the whole row, as it is computed, although a packed row only uses the
blocks on its diagonal.
"""

from __future__ import annotations

from typing import Any

from elektron.models.families import sizes_of


def encoder_flops(config: Any, rows: int, length: int) -> int:
    """FLOPs of the encoder's forward pass over `rows` rows of `length` tokens."""
    sizes = sizes_of(config)
    hidden, feed_forward = sizes.hidden_size, sizes.intermediate_size
    matrices = 3 if config.model_type == "modernbert" else 2
    token = 8 * hidden**2 + 2 * matrices * hidden * feed_forward + 4 * length * hidden
    once = 0
    if config.model_type == "deberta-v2":
        buckets = getattr(config, "position_buckets", -1)
        span = 2 * (buckets if buckets > 0 else sizes.max_position_embeddings)
        kinds = len(config.pos_att_type or []) if config.relative_attention else 0
        token += kinds * 2 * span * hidden
        once = kinds * 2 * span * hidden**2
    projection = 2 * sizes.embedding_size * hidden if sizes.embedding_size != hidden else 0
    return rows * length * (projection + sizes.num_hidden_layers * token) + sizes.num_hidden_layers * once


def token_head_flops(config: Any) -> int:
    """FLOPs of the language-model head's forward pass at one position."""
    sizes = sizes_of(config)
    vocabulary: int = config.vocab_size
    return 2 * sizes.embedding_size * (sizes.hidden_size + vocabulary)


def replaced_head_flops(config: Any) -> int:
    """FLOPs of the detection head's forward pass at one position."""
    hidden = sizes_of(config).hidden_size
    match config.model_type:
        case "elektron" | "electra":
            return 2 * hidden**2 + 2 * hidden
        case "modernbert":
            return 2 * hidden**2 + 4 * hidden
    return 4 * hidden
