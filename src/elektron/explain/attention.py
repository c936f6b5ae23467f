"""Attention weights by layer and head, between words.

They show which positions a head mixes, not what the answer depends on: the values that are mixed, the other layers and
the residual stream are not in them (Jain and Wallace 2019; Wiegreffe and Pinter 2019).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from elektron.errors import ElektronError
from elektron.explain.reading import Reading

SPECIAL = "special tokens"


def with_attention_weights(model: PreTrainedModel) -> PreTrainedModel:
    """Have a model compute attention step by step: fused kernels have no weights."""
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module._can_set_attn_implementation():
            module.set_attn_implementation("eager")
    return model


@torch.no_grad()
def attention_between_words(model: PreTrainedModel, reading: Reading) -> NDArray[np.float32]:
    """Attention from word to word, `(layers, heads, words + 1, words + 1)`; the last is all special tokens.

    A word gives the mean of its pieces' attention, and receives the sum: each row adds up to 1.

    Raises:
        ElektronError: the model has no attention weights.
    """
    layers = getattr(model(**reading.inputs, output_attentions=True), "attentions", None)
    if not layers or layers[0] is None:
        raise ElektronError(
            f"models of type {model.config.model_type} do not give their attention weights: use "
            "--method integrated-gradients"
        )
    weights = torch.stack([layer[0] for layer in layers]).float().cpu()
    length = weights.shape[-1]
    belongs = torch.zeros(length, len(reading.words) + 1)
    belongs[:, -1] = 1
    for number, word in enumerate(reading.words):
        belongs[list(word.positions), number] = 1
        belongs[list(word.positions), -1] = 0
    giving = belongs / belongs.sum(0).clamp(min=1)
    return (giving.T @ weights @ belongs).numpy()


def received(attention: NDArray[np.float32]) -> NDArray[np.float32]:
    """What words and special tokens receive from the words, on average: `(layers, heads, words + 1)`."""
    return attention[:, :, :-1].sum(2) / max(1, attention.shape[-1] - 1)
