"""Replaced-token detection: the discriminator predicts which tokens are not the originals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from elektron.models.pair import Pair
from elektron.pretraining.batches import MicroBatch
from elektron.pretraining.objectives.base import (
    Objective,
    Terms,
    detection_losses,
    detection_terms,
    masked_position_mask,
)
from elektron.pretraining.objectives.corruption import Corruption, at_least_fp32


@dataclass(frozen=True)
class Rtd(Objective):
    """The paper's objective (Clark et al. 2020).

    The generator G predicts the original tokens x at the masked positions m; the discriminator D predicts for
    every token t of the corrupted input that is not padding whether it differs from the original:

        L = mean over m of −log G(x_m | masked)
          + λ · mean over real t of BCE(D(corrupted)_t, [corrupted_t ≠ x_t]).
    """

    name: ClassVar[str] = "rtd"

    def discriminator_terms(self, pair: Pair, batch: MicroBatch, corruption: Corruption, states: Tensor) -> Terms:
        """The logits of all tokens, and the loss over those in the loss mask."""
        logits = at_least_fp32(pair.replaced_logits(states))
        loss_mask = masked_position_mask(batch) if self.detects_masked_only else batch.document_ids >= 0
        loss = (detection_losses(logits, corruption.replaced) * loss_mask).sum()
        return {"detection_loss": loss} | detection_terms(logits, corruption.replaced, loss_mask)


@dataclass(frozen=True)
class Electra15(Rtd):
    """ELECTRA 15 % (paper, §3.5): as `rtd`, but the detection loss covers the masked positions only:

        L = mean over m of −log G(x_m | masked)
          + λ · mean over m of BCE(D(corrupted)_m, [corrupted_m ≠ x_m]).

    The difference shows how much of ELECTRA's advantage comes from learning at every token.
    """

    name: ClassVar[str] = "electra_15"
    detects_masked_only: ClassVar[bool] = True
