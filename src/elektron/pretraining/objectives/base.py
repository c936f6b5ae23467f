"""What all objectives have in common: one call on a micro-batch, and one loss from what it returns.

An objective is called with the networks, a micro-batch and the turn: who learns in this step. It
returns sums, still on the device; `loss` divides each by its count over the global batch and adds
them up. What does not exist under an objective, or was not asked for in a turn, is None.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from elektron.models.families import Places, make_places
from elektron.models.pair import Pair
from elektron.pretraining.batches import GlobalBatch, MicroBatch
from elektron.pretraining.objectives.corruption import (
    Corruption,
    at_least_fp32,
    at_positions,
    corrupt,
)

# Logits from -8 to 8 in steps of 1/32: fine enough for an AUC to three digits.
HISTOGRAM_BINS = 512
HISTOGRAM_LIMIT = 8.0


class Turn(NamedTuple):
    """Who learns in a step, and from what besides the objective."""

    generator: bool = True
    discriminator: bool = True
    adversarial: bool = False
    """Whether the generator learns from the discriminator's mistakes instead of the originals."""
    similarity: bool = False
    """Whether the discriminator learns the generator's distribution at masked positions too."""


class Output(NamedTuple):
    """Sums over a micro-batch, and what examples and evaluation look at."""

    generator_loss: Tensor | None = None
    """The generator's cross-entropy over used slots, in nats."""
    generator_correct: Tensor | None = None
    """Used slots whose likeliest token is the original."""
    policy_loss: Tensor | None = None
    """What the generator learns from instead, over used slots, under plan `adversarial`."""
    detection_loss: Tensor | None = None
    """The discriminator's binary cross-entropy over the tokens it is asked about, in nats."""
    correction_loss: Tensor | None = None
    """The discriminator's cross-entropy with the originals, over the tokens it is asked about, in nats."""
    correction_correct: Tensor | None = None
    """Used slots where the discriminator's likeliest token is the original."""
    similarity_loss: Tensor | None = None
    """KL divergence of the discriminator's distribution from the generator's, over used slots, in nats."""
    corrupted_ids: Tensor | None = None
    """`(rows, length)`: the discriminator's input."""
    replaced: Tensor | None = None
    """`(rows, length)`: whether the token was replaced."""
    logits: Tensor | None = None
    """`(rows, length)`: the discriminator's logits, positive for "replaced"."""
    asked: Tensor | None = None
    """`(rows, length)`: whether the discriminator is asked if the token was replaced."""
    histogram: Tensor | None = None
    """`(2, HISTOGRAM_BINS)`: tokens it is asked about by original or replaced, and by logit."""

    def updated(self, **changes: Tensor) -> Output:
        """A copy with other values, as by `_replace`, which torch 2.11 cannot compile."""
        return Output(*(changes.get(name, getattr(self, name)) for name in Output._fields))


@dataclass(frozen=True)
class Objective(ABC):
    """What is predicted where."""

    name: ClassVar[str]
    generates: ClassVar[bool] = True
    """Whether there is a generator."""
    detects: ClassVar[bool] = True
    """Whether the discriminator says of tokens if they were replaced."""
    corrects: ClassVar[bool] = False
    """Whether the discriminator predicts tokens, and so has an output matrix."""
    corrects_slots: ClassVar[bool] = True
    """Whether it predicts those at masked positions only."""

    detection_weight: float
    """λ: weight of the discriminator's loss of replaced tokens."""
    similarity_weight: float = 0.0
    """Weight of the likeness to the generator, where a turn asks for it."""

    def __call__(self, pair: Pair, batch: MicroBatch, turn: Turn, temperature: Tensor) -> Output:
        """Pass a micro-batch through the networks that the turn needs."""
        places = places_of(batch)
        corruption = corrupt(pair, batch, places, turn.generator, temperature)
        generated = Output(
            generator_loss=corruption.losses.sum(),
            generator_correct=corruption.correct,
            corrupted_ids=corruption.corrupted_ids,
            replaced=corruption.replaced,
        )
        if not turn.discriminator:
            return generated
        states = pair.discriminator_states(corruption.corrupted_ids, places)
        output = self.judge(pair, batch, corruption, states, generated)
        if turn.adversarial:
            output = output.updated(policy_loss=policy_loss(pair, batch, corruption, output))
        if turn.similarity:
            output = output.updated(similarity_loss=similarity(pair, batch, corruption, states))
        return output

    @abstractmethod
    def judge(
        self,
        pair: Pair,
        batch: MicroBatch,
        corruption: Corruption,
        states: Tensor,
        generated: Output,
    ) -> Output:
        """Add what the discriminator has to say to what was generated.

        Args:
            pair: the networks.
            batch: the micro-batch.
            corruption: the discriminator's input, and how it came about.
            states: `(rows, length, width)`, the discriminator's hidden states.
            generated: the output so far.
        """

    def generator_loss(self, output: Output, batch: GlobalBatch) -> Tensor | None:
        """What the generator learns from, a mean over the global batch's masked tokens."""
        loss = output.generator_loss if output.policy_loss is None else output.policy_loss
        return None if loss is None else loss / batch.masked_tokens

    def discriminator_loss(self, output: Output, batch: GlobalBatch) -> Tensor | None:
        """What the discriminator learns from: λ times its loss of replaced tokens, and what else there is."""
        parts = [
            (self.detection_weight, output.detection_loss, self.asked_tokens(batch)),
            (self.correction_weight, output.correction_loss, self.corrected_tokens(batch)),
            (self.similarity_weight, output.similarity_loss, batch.masked_tokens),
        ]
        losses = [weight * loss / count for weight, loss, count in parts if loss is not None]
        return torch.stack(losses).sum() if losses else None

    @property
    def correction_weight(self) -> float:
        """Weight of the discriminator's prediction of tokens."""
        return 1.0

    def total_loss(self, figures: dict[str, float | None]) -> float:
        """All losses of an evaluation, weighted as in training."""
        weights = {
            "generator_loss": 1.0,
            "discriminator_loss": self.detection_weight,
            "correction_loss": self.correction_weight,
        }
        return sum(weight * (figures[name] or 0.0) for name, weight in weights.items())

    def asked_tokens(self, batch: GlobalBatch) -> float | Tensor:
        """Of how many tokens the discriminator is asked if they were replaced."""
        return batch.real_tokens

    def corrected_tokens(self, batch: GlobalBatch) -> float | Tensor:
        """How many tokens the discriminator predicts."""
        return batch.masked_tokens


def places_of(batch: MicroBatch) -> Places:
    """Where the tokens of a micro-batch stand."""
    return make_places(batch.piece_ids, batch.position_ids, batch.token_type_ids)


def slot_mask(batch: MicroBatch) -> Tensor:
    """`(rows, length)`: the positions of used slots."""
    empty = torch.zeros_like(batch.input_ids, dtype=torch.bool)
    return empty.scatter(1, batch.masked_positions, batch.weights > 0)


def logit_histogram(logits: Tensor, replaced: Tensor, asked: Tensor) -> Tensor:
    """Count tokens by class and logit: `(2, HISTOGRAM_BINS)`. What is no number counts as 0."""
    scaled = (
        logits.nan_to_num().clamp(-HISTOGRAM_LIMIT, HISTOGRAM_LIMIT) / HISTOGRAM_LIMIT + 1
    ) / 2
    bins = (scaled * (HISTOGRAM_BINS - 1)).long() + replaced.long() * HISTOGRAM_BINS
    counts = torch.zeros(2 * HISTOGRAM_BINS, device=logits.device)
    return counts.scatter_add(0, bins.flatten(), asked.flatten().to(counts.dtype)).view(
        2, HISTOGRAM_BINS
    )


def with_detection(output: Output, logits: Tensor, asked: Tensor) -> Output:
    """What the discriminator says of the tokens that it is asked about."""
    assert output.replaced is not None
    logits = logits.detach()
    return output.updated(
        logits=logits, asked=asked, histogram=logit_histogram(logits, output.replaced, asked)
    )


def with_correction(
    output: Output, batch: MicroBatch, loss: Tensor, token_logits: Tensor
) -> Output:
    """What the discriminator predicts; `token_logits` `(rows, slots, vocabulary)` are those at masked positions."""
    correct = (token_logits.argmax(-1) == batch.originals) * batch.weights
    return output.updated(correction_loss=loss, correction_correct=correct.sum())


def detection_losses(logits: Tensor, replaced: Tensor) -> Tensor:
    """Binary cross-entropy of each token, in nats."""
    return F.binary_cross_entropy_with_logits(logits, replaced.to(logits.dtype), reduction="none")


def policy_loss(pair: Pair, batch: MicroBatch, corruption: Corruption, output: Output) -> Tensor:
    """What teaches the generator to mislead the discriminator (paper, appendix F), over used slots.

    The loss L_D of the discriminator at a masked position t is the reward for the sample there, and
    by the policy gradient (Williams 1992), less a baseline b that foresees it,

        ∇ = E[ Σ_t ∇ log G(sample_t) · (L_D(t) − b(t)) ],    b(t) = −log σ(w · h_G(t)).

    G goes up this gradient. b learns by squared error, and h_G, the generator's states, do not learn
    from it.
    """
    assert pair.baseline is not None
    assert output.logits is not None
    assert output.replaced is not None
    with torch.no_grad():
        reward = at_positions(
            detection_losses(output.logits, output.replaced), batch.masked_positions
        )
    baseline = F.softplus(-at_least_fp32(pair.baseline(corruption.states.detach())).squeeze(-1))
    advantage = (reward - baseline).detach() * batch.weights
    chosen = -F.cross_entropy(
        corruption.token_logits.flatten(0, 1), corruption.samples.flatten(), reduction="none"
    ).view_as(corruption.samples)
    return -(advantage * chosen).sum() + ((reward - baseline).square() * batch.weights).sum()


def similarity(pair: Pair, batch: MicroBatch, corruption: Corruption, states: Tensor) -> Tensor:
    """KL(generator ‖ discriminator) of the token distributions at used slots, in nats."""
    logits = at_least_fp32(pair.corrected_logits(at_positions(states, batch.masked_positions)))
    divergences = F.kl_div(
        logits.log_softmax(-1),
        corruption.token_logits.detach().log_softmax(-1),
        reduction="none",
        log_target=True,
    ).sum(-1)
    return (divergences * batch.weights).sum()
