"""Replaced-token detection: the discriminator says which tokens are not the original ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from elektron.models.pair import Pair
from elektron.pretraining.batches import GlobalBatch, MicroBatch
from elektron.pretraining.objectives.base import (
    Objective,
    Output,
    detection_losses,
    slot_mask,
    with_detection,
)
from elektron.pretraining.objectives.corruption import Corruption, at_least_fp32


@dataclass(frozen=True)
class Rtd(Objective):
    """The paper's objective (Clark et al. 2020).

    The generator G predicts the originals x at the masked positions m; the discriminator D says of
    every real token t of the corruption whether it differs from the original:

        L = mean over m of −log G(x_m | masked)
          + λ · mean over real t of BCE(D(corrupted)_t, [corrupted_t ≠ x_t]).
    """

    name: ClassVar[str] = "rtd"

    def judge(
        self,
        pair: Pair,
        batch: MicroBatch,
        corruption: Corruption,
        states: Tensor,
        generated: Output,
    ) -> Output:
        """Every token's logit, and the loss over those that are asked about."""
        logits = at_least_fp32(pair.replaced_logits(states))
        asked = self.asked(batch)
        loss = (detection_losses(logits, corruption.replaced) * asked).sum()
        return with_detection(generated.updated(detection_loss=loss), logits, asked)

    def asked(self, batch: MicroBatch) -> Tensor:
        """`(rows, length)`: the tokens that are in the loss."""
        return batch.piece_ids >= 0


@dataclass(frozen=True)
class Electra15(Rtd):
    """ELECTRA 15 % (paper, §3.5): as `rtd`, but D is asked about the masked positions only:

        L = mean over m of −log G(x_m | masked)
          + λ · mean over m of BCE(D(corrupted)_m, [corrupted_m ≠ x_m]).

    How much of ELECTRA's advantage comes from learning at every token is the difference.
    """

    name: ClassVar[str] = "electra_15"

    def asked(self, batch: MicroBatch) -> Tensor:
        """The used slots."""
        return slot_mask(batch)

    def asked_tokens(self, batch: GlobalBatch) -> float | Tensor:
        """As many as there are used slots."""
        return batch.masked_tokens
