"""Integrated gradients (Sundararajan et al. 2017) of an answer with regard to the words, through captum.

The path leads from a baseline to the text in the space of the encoder's input: what its embedding module puts out, with
positions and normalisation. In the baseline every word is [MASK] and special tokens stay: as many words, at the same
places, of which nothing is known. Padding would say less well what is meant: its embedding is not trained, and some
families leave padding out of positions or attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from elektron.errors import ElektronError
from elektron.explain.reading import Answer, Inputs, Reading
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
    try:
        import captum.attr
    except ImportError as error:
        raise ElektronError(
            "integrated gradients need captum, which is not installed: pip install 'elektron[explain]'"
        ) from error
    return captum.attr


def baseline_of(reading: Reading, mask_id: int) -> Tensor:
    """The token ids with every word masked, `(1, length)`."""
    ids = reading.inputs["input_ids"].clone()
    ids[:, reading.word_positions] = mask_id
    return ids


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
    others = {name: value for name, value in reading.inputs.items() if name != "input_ids"}

    def score(ids: Tensor, *values: Tensor) -> Tensor:
        inputs = {"input_ids": ids} | dict(zip(others, values, strict=True))
        return answer.score(model(**inputs))

    rows = max(1, TOKENS_AT_ONCE[ids.device.type] // ids.shape[1])
    baseline = baseline_of(reading, mask_id)
    method = captum().LayerIntegratedGradients(score, embeddings_of(model))
    found = method.attribute(
        ids,
        baseline,
        additional_forward_args=tuple(others.values()) or None,
        n_steps=steps,
        internal_batch_size=rows,
    )
    by_position = found.detach().double().sum(-1)[0].cpu()
    return Attribution(
        [float(by_position[list(word.positions)].sum()) for word in reading.words],
        *(
            float(score_of(model, answer, reading.inputs | {"input_ids": each}))
            for each in (ids, baseline)
        ),
    )


def score_of(model: PreTrainedModel, answer: Answer, inputs: Inputs) -> Tensor:
    """An answer's score, `(batch,)`, without gradients."""
    import torch

    with torch.no_grad():
        return answer.score(model(**inputs))


def embeddings_of(model: PreTrainedModel) -> Any:
    """The module that puts out the encoder's input."""
    encoder = model.base_model
    return getattr(encoder, "embeddings", None) or encoder.get_input_embeddings()
