"""The importance of words: integrated gradients of an answer, computed by captum, or attention weights.

**Integrated gradients** (Sundararajan et al. 2017): gradients are integrated along a path from a baseline to the text.
The path is in the space of the embedding module's outputs, after position embeddings and normalisation. The baseline
has [MASK] for every word and keeps special tokens: the same number of words at the same positions, without their
content. Padding would be a worse baseline: its embedding is not trained, and some families leave padding out of
positions or attention.

**Attention** shows which positions a head mixes, not what the answer depends on: it leaves out the values that are
mixed, the other layers and the residual stream (Jain and Wallace 2019; Wiegreffe and Pinter 2019).
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
from elektron.finetuning.predictor import MAX_BATCH_TOKENS

LARGE_GAP = 0.05
"""Relative convergence gap above which attributions are unreliable."""


@dataclass(frozen=True)
class Attribution:
    """How much each word moves an answer's score away from that of the baseline."""

    words: list[float]
    """In the order of `Reading.words`."""
    score: float
    """The answer's score for the text."""
    baseline_score: float
    """The answer's score with every word masked."""

    @property
    def gap(self) -> float:
        """Convergence gap: |sum of attributions − change of the score|, relative to the change."""
        change = self.score - self.baseline_score
        return abs(sum(self.words) - change) / max(abs(change), 1e-9)


def captum() -> Any:
    """Import and return `captum.attr`.

    Raises:
        ElektronError: captum is not installed.
    """
    with requires_extra("explain", "--method integrated-gradients"):
        import captum.attr
    return captum.attr


def integrated_gradients(
    model: PreTrainedModel, reading: Reading, answer: Answer, mask_id: int, steps: int
) -> Attribution:
    """Compute the attributions of an answer's score to the words.

    Args:
        model: the model, in evaluation mode and in fp32; in bf16 the attributions would not add up.
        reading: the text as the model reads it, on the model's device.
        answer: one of `reading.answers`.
        mask_id: id of [MASK].
        steps: number of points of the Gauss-Legendre quadrature along the path.
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
            internal_batch_size=max(1, MAX_BATCH_TOKENS[ids.device.type] // ids.shape[1]),
        )
    )
    by_position = attributions.detach().double().sum(-1)[0].cpu()
    with torch.no_grad():
        ends = [float(score(each, *others.values())) for each in (ids, baseline)]
    return Attribution([float(by_position[list(word.positions)].sum()) for word in reading.words], *ends)


def with_attention_weights(model: PreTrainedModel) -> None:
    """Switch a model to eager attention, since fused kernels do not return attention weights."""
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module._can_set_attn_implementation():
            module.set_attn_implementation("eager")


@torch.no_grad()
def attention_between_words(model: PreTrainedModel, reading: Reading) -> NDArray[np.float32]:
    """Compute attention between words, `(layers, heads, words + 1, words + 1)`; the last index is all special tokens.

    Attention from a word is the mean over its tokens, attention to a word the sum, so that each row adds up to 1.

    Raises:
        ElektronError: the model has no attention weights.
    """
    layers = getattr(model(**reading.inputs, output_attentions=True), "attentions", None)
    if not layers or layers[0] is None:
        raise ElektronError(
            f"models of type {model.config.model_type} do not return attention weights: use "
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
    """Attention that words and special tokens receive, averaged over the words: `(layers, heads, words + 1)`."""
    return attention[:, :, :-1].sum(2) / max(1, attention.shape[-1] - 1)
