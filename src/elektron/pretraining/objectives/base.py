"""The base class of objectives: the forward pass of a micro-batch, and the losses from its outputs.

An objective is called with the networks, a micro-batch and the update roles of the step. It returns sums on the
device; `generator_loss` and `discriminator_loss` divide them by their counts over the global batch. Outputs that an
objective or the roles do not produce are None.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from elektron.models.flops import encoder_flops, replaced_head_flops, token_head_flops
from elektron.models.packed import PackedPositions, make_packed_positions
from elektron.models.pair import DISCRIMINATOR, GENERATOR, Pair
from elektron.pretraining.batches import GlobalBatch, MicroBatch
from elektron.pretraining.objectives.corruption import Corruption, at_least_fp32, at_positions, corrupt, token_losses

# Logits from -8 to 8 in steps of 1/32: fine enough for an AUC to three digits.
HISTOGRAM_BINS = 512
HISTOGRAM_LIMIT = 8.0
Terms = dict[str, Tensor]
"""Fields of `Output`."""


class UpdateRoles(NamedTuple):
    """Which networks are trained in a step, and on which losses besides the objective's."""

    generator: bool = True
    discriminator: bool = True
    adversarial: bool = False
    """Whether the generator is trained to fool the discriminator instead of to predict the originals."""
    similarity: bool = False
    """Whether the discriminator is also trained towards the generator's distribution at masked positions."""


class Output(NamedTuple):
    """Sums over a micro-batch, and the tensors that evaluation and examples need."""

    generator_loss: Tensor | None = None
    """The generator's cross-entropy over masked positions, in nats."""
    generator_correct: Tensor | None = None
    """Number of masked positions at which the generator's most likely token is the original."""
    policy_loss: Tensor | None = None
    """Policy-gradient loss of the generator over masked positions, under plan `adversarial`."""
    detection_loss: Tensor | None = None
    """The discriminator's binary cross-entropy over the tokens in `loss_mask`, in nats."""
    lm_loss: Tensor | None = None
    """The discriminator's cross-entropy with the original tokens that it predicts, in nats."""
    lm_correct: Tensor | None = None
    """Number of masked positions at which the discriminator's most likely token is the original."""
    similarity_loss: Tensor | None = None
    """KL divergence of the discriminator's distribution from the generator's, over masked positions, in nats."""
    corrupted_ids: Tensor | None = None
    """`(batch, length)`: the discriminator's input."""
    replaced: Tensor | None = None
    """`(batch, length)`: whether the token was replaced."""
    logits: Tensor | None = None
    """`(batch, length)`: the discriminator's logits; positive means replaced."""
    loss_mask: Tensor | None = None
    """`(batch, length)`: the tokens in the detection loss."""
    histogram: Tensor | None = None
    """`(2, HISTOGRAM_BINS)`: counts of the tokens in `loss_mask`, original and replaced, by logit."""


@dataclass(frozen=True)
class Objective(ABC):
    """What the networks predict, and at which tokens."""

    name: ClassVar[str]
    generates: ClassVar[bool] = True
    """Whether the objective has a generator."""
    detects: ClassVar[bool] = True
    """Whether the discriminator predicts which tokens were replaced (replaced-token detection)."""
    detects_masked_only: ClassVar[bool] = False
    """Whether the detection loss covers the masked positions only."""
    predicts_tokens: ClassVar[bool] = False
    """Whether the discriminator predicts original tokens, with the language-model head `Pair.masked_lm`."""
    predicts_masked_only: ClassVar[bool] = True
    """Whether the discriminator predicts tokens at masked positions only."""

    detection_weight: float
    """λ: weight of the detection loss."""
    similarity_weight: float = 0.0
    """Weight of the KL divergence from the generator, under update roles with `similarity`."""

    def __call__(self, pair: Pair, batch: MicroBatch, roles: UpdateRoles, temperature: Tensor) -> Output:
        """The forward pass of a micro-batch through the networks that the roles need."""
        packed = packed_positions(batch)
        corruption = corrupt(pair, batch, packed, roles.generator, temperature)
        terms = {
            "generator_loss": corruption.losses.sum(),
            "generator_correct": corruption.correct,
            "corrupted_ids": corruption.corrupted_ids,
            "replaced": corruption.replaced,
        }
        if roles.discriminator:
            states = pair.discriminator_states(corruption.corrupted_ids, packed)
            terms |= self.discriminator_terms(pair, batch, corruption, states)
            if roles.adversarial:
                terms["policy_loss"] = policy_loss(pair, batch, corruption, terms["logits"])
            if roles.similarity:
                terms["similarity_loss"] = similarity_loss(pair, batch, corruption, states)
        return Output(**terms)

    @abstractmethod
    def discriminator_terms(self, pair: Pair, batch: MicroBatch, corruption: Corruption, states: Tensor) -> Terms:
        """The discriminator's outputs.

        Args:
            pair: the networks.
            batch: the micro-batch.
            corruption: the discriminator's input and the generator's outputs.
            states: the discriminator's hidden states, `(batch, length, hidden_size)`.
        """

    def losses(self, output: Output, batch: GlobalBatch, roles: UpdateRoles) -> dict[str, Tensor]:
        """The loss of each network that is trained and that the objective has a loss for."""
        losses = {
            GENERATOR: self.generator_loss(output, batch) if roles.generator else None,
            DISCRIMINATOR: self.discriminator_loss(output, batch) if roles.discriminator else None,
        }
        return {network: loss for network, loss in losses.items() if loss is not None}

    def generator_loss(self, output: Output, batch: GlobalBatch) -> Tensor | None:
        """The generator's loss, a mean over the masked tokens of the global batch."""
        loss = output.generator_loss if output.policy_loss is None else output.policy_loss
        return None if loss is None else loss / batch.masked_tokens

    def discriminator_loss(self, output: Output, batch: GlobalBatch) -> Tensor | None:
        """The discriminator's loss: λ times the detection loss, and the objective's other terms."""
        tokens = self.token_counts(batch)
        parts = [
            (self.detection_weight, output.detection_loss, tokens["detection"]),
            (self.lm_weight, output.lm_loss, tokens["lm"]),
            (self.similarity_weight, output.similarity_loss, tokens["masked"]),
        ]
        losses = [weight * loss / count for weight, loss, count in parts if loss is not None]
        return torch.stack(losses).sum() if losses else None

    @property
    def lm_weight(self) -> float:
        """Weight of the language-model loss."""
        return 1.0

    def total_loss(self, metrics: dict[str, float | None]) -> float:
        """The weighted sum of an evaluation's losses, as in training."""
        weights = {"generator_loss": 1.0, "discriminator_loss": self.detection_weight, "lm_loss": self.lm_weight}
        return sum(weight * (metrics[name] or 0.0) for name, weight in weights.items())

    def token_counts(self, batch: GlobalBatch) -> dict[str, float | Tensor]:
        """The token counts over the global batch that divide the sums in `Output`."""
        return {
            "masked": batch.masked_tokens,
            "detection": batch.masked_tokens if self.detects_masked_only else batch.real_tokens,
            "lm": batch.masked_tokens if self.predicts_masked_only else batch.real_tokens,
        }

    def step_flops(self, pair: Pair, roles: UpdateRoles, rows: int, length: int, max_masked: int) -> int:
        """FLOPs of a step: three times the forward pass for a trained network, else the forward pass.

        Args:
            pair: the networks.
            roles: which of them are trained.
            rows: rows in the step.
            length: tokens in a row.
            max_masked: masked positions in a row.
        """
        total = 0
        if pair.generator is not None:
            config = pair.generator.config
            forward = encoder_flops(config, rows, length)
            forward += rows * max_masked * token_head_flops(config)
            total += (3 if roles.generator else 1) * forward
        if roles.discriminator:
            config = pair.discriminator.config
            predicted = max_masked if self.predicts_masked_only else length
            predicted = predicted * self.predicts_tokens + max_masked * roles.similarity
            forward = encoder_flops(config, rows, length)
            forward += rows * predicted * token_head_flops(config)
            forward += rows * length * self.detects * replaced_head_flops(config)
            total += 3 * forward
        return total


def packed_positions(batch: MicroBatch) -> PackedPositions:
    """The document ids, positions and attention mask of a micro-batch."""
    return make_packed_positions(batch.document_ids, batch.position_ids, batch.token_type_ids)


def masked_position_mask(batch: MicroBatch) -> Tensor:
    """`(batch, length)`: whether a token is masked."""
    empty = torch.zeros_like(batch.input_ids, dtype=torch.bool)
    return empty.scatter(1, batch.masked_positions, batch.weights > 0)


def detection_terms(logits: Tensor, replaced: Tensor, loss_mask: Tensor) -> Terms:
    """The detection logits, and their histogram over the tokens in `loss_mask`."""
    logits = logits.detach()
    histogram = logit_histogram(logits, replaced, loss_mask)
    return {"logits": logits, "loss_mask": loss_mask, "histogram": histogram}


def logit_histogram(logits: Tensor, replaced: Tensor, loss_mask: Tensor) -> Tensor:
    """Counts of tokens by class and logit, `(2, HISTOGRAM_BINS)`. NaN counts as 0."""
    limited = logits.nan_to_num().clamp(-HISTOGRAM_LIMIT, HISTOGRAM_LIMIT)
    scaled = (limited / HISTOGRAM_LIMIT + 1) / 2
    bins = (scaled * (HISTOGRAM_BINS - 1)).long() + replaced.long() * HISTOGRAM_BINS
    counts = torch.zeros(2 * HISTOGRAM_BINS, device=logits.device)
    counts = counts.scatter_add(0, bins.flatten(), loss_mask.flatten().to(counts.dtype))
    return counts.view(2, HISTOGRAM_BINS)


def detection_losses(logits: Tensor, replaced: Tensor) -> Tensor:
    """Binary cross-entropy of each token, in nats."""
    return F.binary_cross_entropy_with_logits(logits, replaced.to(logits.dtype), reduction="none")


def policy_loss(pair: Pair, batch: MicroBatch, corruption: Corruption, logits: Tensor) -> Tensor:
    """The loss that trains the generator to fool the discriminator (paper, appendix F), over masked positions.

    The loss L_D of the discriminator at a masked position t is the reward for the sample there, and
    by the policy gradient (Williams 1992), with a baseline b that predicts it,

        ∇ = E[ Σ_t ∇ log G(sample_t) · (L_D(t) − b(t)) ],    b(t) = −log σ(w · h_G(t)).

    G ascends this gradient. b is trained by squared error, without gradient into the generator's states h_G.
    """
    assert pair.baseline is not None
    with torch.no_grad():
        losses = detection_losses(logits, corruption.replaced)
        reward = at_positions(losses, batch.masked_positions)
    baseline = F.softplus(-at_least_fp32(pair.baseline(corruption.states.detach())).squeeze(-1))
    advantage = (reward - baseline).detach() * batch.weights
    log_probabilities = -token_losses(corruption.token_logits, corruption.samples)
    return -(advantage * log_probabilities).sum() + ((reward - baseline).square() * batch.weights).sum()


def similarity_loss(pair: Pair, batch: MicroBatch, corruption: Corruption, states: Tensor) -> Tensor:
    """KL(generator ‖ discriminator) of the token distributions at masked positions, in nats."""
    logits = at_least_fp32(pair.lm_logits(at_positions(states, batch.masked_positions)))
    generated = corruption.token_logits.detach().log_softmax(-1)
    divergences = F.kl_div(logits.log_softmax(-1), generated, reduction="none", log_target=True)
    return (divergences.sum(-1) * batch.weights).sum()
