"""The importance of words: integrated gradients of an answer, through captum, or attention weights.

**Integrated gradients** (Sundararajan et al. 2017): the path leads from a baseline to the text in the space of the
encoder's input: what its embedding module puts out, with positions and normalisation. In the baseline every word is
[MASK] and special tokens stay: as many words, at the same places, of which nothing is known. Padding would say less
well what is meant: its embedding is not trained, and some families leave padding out of positions or attention.

**Attention** shows which positions a head mixes, not what the answer depends on: the values that are mixed, the other
layers and the residual stream are not in it (Jain and Wallace 2019; Wiegreffe and Pinter 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from elektron.errors import ElektronError, requires_extra
from elektron.explain.reading import Answer, Reading
from elektron.finetuning.predictor import TOKENS_AT_ONCE

LARGE_GAP = 0.05
"""Relative convergence gap from which on attributions are not to be relied on."""


@dataclass(frozen=True)
class Attribution:
    """How much each word moves an answer's score away from that of the baseline."""

    words: list[float]
    """In the order of the words read."""
    score: float
    """Of the text."""
    baseline_score: float
    """Of the text with every word masked."""

    @property
    def gap(self) -> float:
        """How far the attributions are from adding up to the change of the score, relative to it."""
        change = self.score - self.baseline_score
        return abs(sum(self.words) - change) / max(abs(change), 1e-9)


def captum() -> Any:
    """captum's `attr`.

    Raises:
        ElektronError: it is not installed.
    """
    with requires_extra("explain", "--method integrated-gradients"):
        import captum.attr
    return captum.attr


def integrated_gradients(
    model: PreTrainedModel, reading: Reading, answer: Answer, mask_id: int, steps: int
) -> Attribution:
    """Attributions of an answer's score to the words.

    Args:
        model: in evaluation mode, in fp32: in bf16 the attributions would not add up.
        reading: of the text, on the model's device.
        answer: one of the reading's.
        mask_id: of [MASK].
        steps: points of the Gauss-Legendre quadrature along the path.
    """
    ids = reading.inputs["input_ids"]
    baseline = ids.clone()
    baseline[:, reading.word_positions] = mask_id
    others = {name: value for name, value in reading.inputs.items() if name != "input_ids"}

    def score(ids: Tensor, *values: Tensor) -> Tensor:
        inputs = {"input_ids": ids} | dict(zip(others, values, strict=True))
        return answer.score(model(**inputs))

    encoder = model.base_model
    embeddings = getattr(encoder, "embeddings", None) or encoder.get_input_embeddings()
    attributions = (
        captum()
        .LayerIntegratedGradients(score, embeddings)
        .attribute(
            ids,
            baseline,
            additional_forward_args=tuple(others.values()) or None,
            n_steps=steps,
            internal_batch_size=max(1, TOKENS_AT_ONCE[ids.device.type] // ids.shape[1]),
        )
    )
    by_position = attributions.detach().double().sum(-1)[0].cpu()
    with torch.no_grad():
        ends = [float(score(each, *others.values())) for each in (ids, baseline)]
    return Attribution([float(by_position[list(word.positions)].sum()) for word in reading.words], *ends)


def with_attention_weights(model: PreTrainedModel) -> None:
    """Have a model compute attention step by step: fused kernels have no weights."""
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module._can_set_attn_implementation():
            module.set_attn_implementation("eager")


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
    belongs = torch.zeros(weights.shape[-1], len(reading.words) + 1)
    belongs[:, -1] = 1
    for number, word in enumerate(reading.words):
        belongs[list(word.positions), number] = 1
        belongs[list(word.positions), -1] = 0
    giving = belongs / belongs.sum(0).clamp(min=1)
    return (giving.T @ weights @ belongs).numpy()


def received(attention: NDArray[np.float32]) -> NDArray[np.float32]:
    """What words and special tokens receive from the words, on average: `(layers, heads, words + 1)`."""
    return attention[:, :, :-1].sum(2) / max(1, attention.shape[-1] - 1)
