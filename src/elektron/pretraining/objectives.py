"""What is predicted where.

`rtd`, replaced-token detection (Clark et al. 2020): the generator G predicts the original tokens
at the masked positions m; its samples, put in their place, make the corruption; the discriminator
D says for every real token whether it differs from the original,

    L = mean over m of -log G(x_m | masked)  +  λ · mean over real tokens t of BCE(D(corrupted)_t, [corrupted_t ≠ x_t]).

No gradient passes through the samples, and a sample that happens to be the original counts as
original. The generator's head, loss and samples see the masked positions only.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from elektron.models.pair import Pair
from elektron.pretraining.batches import MicroBatch

# Logits from -8 to 8 in steps of 1/32: fine enough for an AUC to three digits.
HISTOGRAM_BINS = 512
HISTOGRAM_LIMIT = 8.0


class RtdOutput(NamedTuple):
    """Sums over a micro-batch, still on the device, and what examples and evaluation look at."""

    generator_loss: Tensor
    """Sum of the cross-entropy over used slots, in nats."""
    discriminator_loss: Tensor
    """Sum of the binary cross-entropy over real tokens, in nats."""
    generator_correct: Tensor
    """Used slots whose likeliest token is the original."""
    replaced: Tensor
    """`(rows, length)`: whether the token was replaced."""
    corrupted_ids: Tensor
    """`(rows, length)`: the discriminator's input."""
    logits: Tensor
    """`(rows, length)`: the discriminator's logits."""
    histogram: Tensor
    """`(2, HISTOGRAM_BINS)`: real tokens by original or replaced, and by logit."""


def network_context(batch: MicroBatch) -> dict[str, Tensor]:
    """What both encoders take beside token ids: a token attends to its own text only."""
    same_piece = batch.piece_ids[:, None, :, None] == batch.piece_ids[:, None, None, :]
    return {
        "attention_mask": same_piece,
        "position_ids": batch.position_ids,
        "token_type_ids": batch.token_type_ids,
    }


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


def logit_histogram(logits: Tensor, replaced: Tensor, real: Tensor) -> Tensor:
    """Count real tokens by class and logit: `(2, HISTOGRAM_BINS)`. What is no number counts as 0."""
    scaled = (
        logits.nan_to_num().clamp(-HISTOGRAM_LIMIT, HISTOGRAM_LIMIT) / HISTOGRAM_LIMIT + 1
    ) / 2
    bins = (scaled * (HISTOGRAM_BINS - 1)).long() + replaced.long() * HISTOGRAM_BINS
    counts = torch.zeros(2 * HISTOGRAM_BINS, device=logits.device)
    return counts.scatter_add(0, bins.flatten(), real.flatten().float()).view(2, HISTOGRAM_BINS)


def rtd(pair: Pair, batch: MicroBatch) -> RtdOutput:
    """Replaced-token detection on a micro-batch; see the head of this file."""
    context = network_context(batch)
    real = batch.piece_ids >= 0

    states = pair.generator_states(batch.masked_ids, **context)
    index = batch.masked_positions[..., None].expand(-1, -1, states.shape[-1])
    token_logits = pair.token_logits(states.gather(1, index)).float()
    originals = batch.input_ids.gather(1, batch.masked_positions)
    token_losses = F.cross_entropy(
        token_logits.flatten(0, 1), originals.flatten(), reduction="none"
    )

    with torch.no_grad():
        samples = sample_tokens(token_logits.softmax(-1), batch.uniforms)
        filled = torch.where(batch.weights > 0, samples, originals)
        corrupted_ids = batch.input_ids.scatter(1, batch.masked_positions, filled)
        replaced = corrupted_ids != batch.input_ids
        correct = (token_logits.argmax(-1) == originals) * batch.weights

    logits = pair.replaced_logits(corrupted_ids, **context).float()
    losses = F.binary_cross_entropy_with_logits(logits, replaced.float(), reduction="none")
    return RtdOutput(
        generator_loss=(token_losses * batch.weights.flatten()).sum(),
        discriminator_loss=(losses * real).sum(),
        generator_correct=correct.sum(),
        replaced=replaced,
        corrupted_ids=corrupted_ids,
        logits=logits.detach(),
        histogram=logit_histogram(logits.detach(), replaced, real),
    )
