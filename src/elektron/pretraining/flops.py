"""How many floating-point operations a step costs: who learns in it, on how many tokens.

What an encoder and a head cost is `models/flops.py`'s. A network that learns costs three times its
forward pass, one that only writes the corruption once.
"""

from __future__ import annotations

from elektron.models.flops import encoder_flops, replaced_head_flops, token_head_flops
from elektron.models.pair import Pair
from elektron.pretraining.objectives import Objective, Turn

LEARNING = 3


class StepFlops:
    """The cost of a run's steps."""

    def __init__(self, pair: Pair, objective: Objective) -> None:
        self.pair = pair
        self.objective = objective

    def __call__(self, turn: Turn, rows: int, length: int, slots: int) -> int:
        """Of one step.

        Args:
            turn: who learns.
            rows: rows in the step.
            length: tokens in a row.
            slots: mask slots in a row.
        """
        total = 0
        if self.pair.generator is not None:
            config = self.pair.generator.config
            forward = encoder_flops(config, rows, length) + rows * slots * token_head_flops(config)
            total += (LEARNING if turn.generator else 1) * forward
        if turn.discriminator:
            total += LEARNING * self.discriminator(turn, rows, length, slots)
        return total

    def discriminator(self, turn: Turn, rows: int, length: int, slots: int) -> int:
        """Its forward pass, with the heads that the objective and the turn ask for."""
        config, objective = self.pair.discriminator.config, self.objective
        detected = rows * length if objective.detects else 0
        corrected = (slots if objective.corrects_slots else length) if objective.corrects else 0
        compared = slots if turn.similarity else 0
        return (
            encoder_flops(config, rows, length)
            + detected * replaced_head_flops(config)
            + rows * (corrected + compared) * token_head_flops(config)
        )
