"""The corrupted input: the generator predicts the masked positions, and its samples replace the tokens there.

The generator's head, loss and samples see the masked positions only. No gradient passes through the samples, and a
sample that equals the original counts as original.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from elektron.models.packed import PackedPositions
from elektron.models.pair import Pair
from elektron.pretraining.batches import MicroBatch


class Corruption(NamedTuple):
    """The generator's outputs for a micro-batch."""

    token_logits: Tensor
    """`(batch, masked, vocabulary)`: its logits at the masked positions, at temperature 1."""
    losses: Tensor
    """`(batch, masked)`: cross-entropy with the originals, in nats; 0 in padded masked positions."""
    correct: Tensor
    """Number of masked positions whose most likely token is the original."""
    states: Tensor
    """`(batch, masked, generator_hidden_size)`: its hidden states at the masked positions."""
    samples: Tensor
    """`(batch, masked)`: the sampled tokens."""
    corrupted_ids: Tensor
    """`(batch, length)`: the text with samples at the masked positions."""
    replaced: Tensor
    """`(batch, length)`: whether the token differs from the original."""


def corrupt(pair: Pair, batch: MicroBatch, packed: PackedPositions, trained: bool, temperature: Tensor) -> Corruption:
    """Replace the masked tokens by samples of the generator.

    Args:
        pair: the networks.
        batch: the micro-batch.
        packed: its document ids, positions and attention mask.
        trained: whether the generator needs gradients.
        temperature: sampling temperature, `()`; losses are computed at temperature 1.
    """
    with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
        states = at_positions(pair.generator_states(batch.masked_ids, packed), batch.masked_positions)
        token_logits = at_least_fp32(pair.token_logits(states))
        originals = batch.originals
        losses = token_losses(token_logits, originals) * batch.weights
    with torch.no_grad():
        samples = sample_tokens((token_logits / temperature).softmax(-1), batch.uniforms)
        samples = torch.where(batch.weights > 0, samples, originals)
        corrupted_ids = batch.input_ids.scatter(1, batch.masked_positions, samples)
        correct = ((token_logits.argmax(-1) == originals) * batch.weights).sum()
    replaced = corrupted_ids != batch.input_ids
    return Corruption(token_logits, losses, correct, states, samples, corrupted_ids, replaced)


def at_positions(values: Tensor, positions: Tensor) -> Tensor:
    """The values `(batch, masked, …)` at positions `(batch, masked)` of `(batch, length, …)`."""
    index = positions if values.ndim == 2 else positions[..., None].expand(-1, -1, values.shape[-1])
    return values.gather(1, index)


def at_least_fp32(tensor: Tensor) -> Tensor:
    """The tensor in fp32, or unchanged if its dtype is wider: losses are not computed in bf16."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def token_losses(token_logits: Tensor, tokens: Tensor) -> Tensor:
    """Cross-entropy `(batch, masked)` in nats of logits `(batch, masked, vocabulary)` with the tokens."""
    losses = F.cross_entropy(token_logits.flatten(0, 1), tokens.flatten(), reduction="none")
    return losses.view_as(tokens)


def sample_tokens(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Sample a token for each uniform number by inverting the cumulative distribution.

    The samples have the same distribution as those of the Gumbel-max trick, and need one random number each instead of
    one for every entry of the vocabulary.

    Args:
        probabilities: `(…, vocabulary)`.
        uniforms: `(…)`, in [0, 1).
    """
    cumulative = probabilities.cumsum(-1)
    # The last entry may differ from 1 by rounding; scaling by it keeps every sample inside the vocabulary.
    thresholds = uniforms[..., None] * cumulative[..., -1:]
    samples = torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1)
    return samples.clamp(max=probabilities.shape[-1] - 1)
