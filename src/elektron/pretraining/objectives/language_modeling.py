"""Objectives under which the discriminator predicts original tokens, with or without replaced-token detection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from elektron.models.pair import Pair
from elektron.pretraining.batches import MicroBatch
from elektron.pretraining.objectives.base import (
    Objective,
    Output,
    Terms,
    UpdateRoles,
    detection_terms,
    packed_positions,
)
from elektron.pretraining.objectives.corruption import Corruption, at_least_fp32, at_positions, token_losses
from elektron.pretraining.objectives.detection import Rtd

MASK_FRACTION, RANDOM_FRACTION = 0.8, 0.1


def lm_terms(batch: MicroBatch, losses: Tensor, token_logits: Tensor) -> Terms:
    """The sum of losses, and the correct predictions of logits `(batch, masked, vocabulary)` at masked positions."""
    correct = (token_logits.argmax(-1) == batch.originals) * batch.weights
    return {"lm_loss": losses.sum(), "lm_correct": correct.sum()}


def masked_lm_terms(pair: Pair, batch: MicroBatch, states: Tensor) -> Terms:
    """Cross-entropy of the language-model head with the originals at masked positions."""
    logits = at_least_fp32(pair.lm_logits(at_positions(states, batch.masked_positions)))
    return lm_terms(batch, token_losses(logits, batch.originals) * batch.weights, logits)


@dataclass(frozen=True)
class ReplaceMlm(Objective):
    """Replace MLM (paper, §3.5): masked language modelling on the generator's samples instead of [MASK].

        L = mean over m of −log G(x_m | masked)  +  mean over m of −log P(x_m | corrupted),

    P the discriminator's distribution over tokens. It shows how much of ELECTRA's advantage comes
    from never seeing [MASK].
    """

    name: ClassVar[str] = "replace_mlm"
    detects: ClassVar[bool] = False
    predicts_tokens: ClassVar[bool] = True

    def discriminator_terms(self, pair: Pair, batch: MicroBatch, corruption: Corruption, states: Tensor) -> Terms:
        """Predict the original tokens at masked positions."""
        return masked_lm_terms(pair, batch, states)


@dataclass(frozen=True)
class Mlm(ReplaceMlm):
    """BERT's masked language modelling (Devlin et al. 2019), without a generator.

    Of the masked positions 80 % become [MASK], 10 % a random token, and 10 % keep their token:

        L = mean over m of −log P(x_m | masked).
    """

    name: ClassVar[str] = "mlm"
    generates: ClassVar[bool] = False

    mask_id: int = 0
    vocab_size: int = 0

    def __call__(self, pair: Pair, batch: MicroBatch, roles: UpdateRoles, temperature: Tensor) -> Output:
        """Mask, and predict the original tokens; roles and temperature have no effect."""
        masked_ids = self.masked(batch)
        states = pair.discriminator_states(masked_ids, packed_positions(batch))
        return Output(corrupted_ids=masked_ids, **masked_lm_terms(pair, batch, states))

    def masked(self, batch: MicroBatch) -> Tensor:
        """`(batch, length)`: the masked text. One uniform number decides what replaces each masked position."""
        originals, uniforms = batch.originals, batch.uniforms
        random = ((uniforms - MASK_FRACTION) / RANDOM_FRACTION).clamp(0, 1) * self.vocab_size
        random_ids = random.long().clamp(max=self.vocab_size - 1)
        is_random = uniforms < MASK_FRACTION + RANDOM_FRACTION
        chosen = torch.where(is_random, random_ids, originals)
        chosen = torch.where(uniforms < MASK_FRACTION, self.mask_id, chosen)
        filled = torch.where(batch.weights > 0, chosen, originals)
        return batch.input_ids.scatter(1, batch.masked_positions, filled)


@dataclass(frozen=True)
class AllTokensMlm(Objective):
    """All-Tokens MLM (paper, §3.5): every token of the corrupted input is predicted, with a copy gate.

    The gate c_t = 1 − σ(D(corrupted)_t) is the probability of copying the token:

        P(x_t | corrupted) = c_t · [corrupted_t = x_t] + (1 − c_t) · softmax(LM head)_t[x_t],
        L = mean over m of −log G(x_m | masked)  +  λ · mean over real t of −log P(x_t | corrupted).

    The gate acts as a detector: it is computed by the detection head, and detection metrics are computed from it.
    The token logits are those of all tokens, `(batch, length, vocabulary)`: lower `micro_batch_size` if they do
    not fit in memory.
    """

    name: ClassVar[str] = "all_tokens_mlm"
    predicts_tokens: ClassVar[bool] = True
    predicts_masked_only: ClassVar[bool] = False

    def discriminator_terms(self, pair: Pair, batch: MicroBatch, corruption: Corruption, states: Tensor) -> Terms:
        """The probability of every token, and the gate as a detector."""
        gate = at_least_fp32(pair.replaced_logits(states))
        token_logits = at_least_fp32(pair.lm_logits(states))
        losses = copy_losses(gate, -token_losses(token_logits, batch.input_ids), ~corruption.replaced)
        real = batch.document_ids >= 0
        at_masked = at_positions(token_logits.detach(), batch.masked_positions)
        terms = lm_terms(batch, losses * real, at_masked)
        return terms | detection_terms(gate, corruption.replaced, real)

    @property
    def lm_weight(self) -> float:
        """λ, as for the detection loss of `rtd`: nearly all tokens are copied, as nearly all are original there."""
        return self.detection_weight


@dataclass(frozen=True)
class Corrective(Rtd):
    """Corrective language modelling (COCO-LM, Meng et al. 2021): detect replaced tokens and predict the originals.

    As `rtd`, and with the copy probability c = 1 − σ(D), which is trained by detection only (sg stops the gradient),

        L = L_rtd  +  mean over m of −log( sg(c_m) · [corrupted_m = x_m] + sg(1 − c_m) · softmax(LM head)_m[x_m] ).
    """

    name: ClassVar[str] = "corrective"
    predicts_tokens: ClassVar[bool] = True

    def discriminator_terms(self, pair: Pair, batch: MicroBatch, corruption: Corruption, states: Tensor) -> Terms:
        """Detection at all tokens, token prediction at masked positions."""
        terms = super().discriminator_terms(pair, batch, corruption, states)
        positions = batch.masked_positions
        token_logits = at_least_fp32(pair.lm_logits(at_positions(states, positions)))
        losses = copy_losses(
            at_positions(terms["logits"], positions),
            -token_losses(token_logits, batch.originals),
            ~at_positions(corruption.replaced, positions),
        )
        return terms | lm_terms(batch, losses * batch.weights, token_logits)


def copy_losses(gate: Tensor, log_probabilities: Tensor, same: Tensor) -> Tensor:
    """−log( (1 − σ(gate)) · [same] + σ(gate) · p ), in nats, computed in logarithms.

    Args:
        gate: logits of not copying the token.
        log_probabilities: log p of the original token where it is not copied.
        same: whether copying would give the original.
    """
    copied = F.logsigmoid(-gate).masked_fill(~same, -torch.inf)
    return -torch.logaddexp(copied, F.logsigmoid(gate) + log_probabilities)
