"""The corrupted text: the generator predicts the masked positions, and its samples take their place.

The generator's head, loss and samples see the masked positions only. No gradient passes through the
samples, and a sample that happens to be the original counts as original.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from elektron.models.families import PackedPositions
from elektron.models.pair import Pair
from elektron.pretraining.batches import MicroBatch


class Corruption(NamedTuple):
    """What the generator made of a micro-batch."""

    token_logits: Tensor
    """`(batch, masked, vocabulary)`: its scores at the masked positions, at temperature 1."""
    losses: Tensor
    """`(batch, masked)`: cross-entropy with the original, in nats, 0 in padded masked positions."""
    correct: Tensor
    """Masked positions whose likeliest token is the original."""
    states: Tensor
    """`(batch, masked, generator_hidden_size)`: its hidden states there."""
    samples: Tensor
    """`(batch, masked)`: the tokens drawn."""
    corrupted_ids: Tensor
    """`(batch, length)`: the text with samples at the masked positions."""
    replaced: Tensor
    """`(batch, length)`: whether the token differs from the original."""


def corrupt(
    pair: Pair, batch: MicroBatch, packed: PackedPositions, trained: bool, temperature: Tensor
) -> Corruption:
    """Replace the masked tokens by samples of the generator.

    Args:
        pair: the networks.
        batch: the micro-batch.
        packed: its document ids, positions and attention mask.
        trained: whether gradients are needed.
        temperature: of the samples, a number; the losses are those at temperature 1.
    """
    with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
        states = at_positions(
            pair.generator_states(batch.masked_ids, packed), batch.masked_positions
        )
        token_logits = at_least_fp32(pair.token_logits(states))
        originals = batch.originals
        losses = token_losses(token_logits, originals) * batch.weights
    with torch.no_grad():
        samples = sample_tokens((token_logits / temperature).softmax(-1), batch.uniforms)
        filled = torch.where(batch.weights > 0, samples, originals)
        corrupted_ids = batch.input_ids.scatter(1, batch.masked_positions, filled)
        correct = (token_logits.argmax(-1) == originals) * batch.weights
    return Corruption(
        token_logits,
        losses,
        correct.sum(),
        states,
        filled,
        corrupted_ids,
        corrupted_ids != batch.input_ids,
    )


def at_positions(values: Tensor, positions: Tensor) -> Tensor:
    """Of `(batch, length, …)` those at `(batch, masked)`: `(batch, masked, …)`."""
    index = positions if values.ndim == 2 else positions[..., None].expand(-1, -1, values.shape[-1])
    return values.gather(1, index)


def at_least_fp32(tensor: Tensor) -> Tensor:
    """In fp32, or in a wider type that it has: losses are not taken in bf16."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def token_losses(token_logits: Tensor, tokens: Tensor) -> Tensor:
    """Cross-entropy `(batch, masked)` in nats of logits `(batch, masked, vocabulary)` with the tokens."""
    losses = F.cross_entropy(token_logits.flatten(0, 1), tokens.flatten(), reduction="none")
    return losses.view_as(tokens)


def sample_tokens(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Draw a token for each uniform number by the inverse of the cumulative distribution.

    The same distribution as an argmax over Gumbel noise, from one number instead of a vocabulary's.

    Args:
        probabilities: `(…, vocabulary)`.
        uniforms: `(…)`, in [0, 1).
    """
    cumulative = probabilities.cumsum(-1)
    # The last entry may miss 1 by rounding; scaling by it keeps every draw inside the vocabulary.
    thresholds = uniforms[..., None] * cumulative[..., -1:]
    samples = torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1)
    return samples.clamp(max=probabilities.shape[-1] - 1)
