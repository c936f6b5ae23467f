"""How many floating-point operations a step costs: who learns in it, on how many tokens.

What an encoder and a head cost is `models/flops.py`'s. A network that learns costs three times its
forward pass, one that only writes the corruption once.
"""

from __future__ import annotations

from elektron.models.flops import encoder_flops, replaced_head_flops, token_head_flops
from elektron.models.pair import Pair
from elektron.pretraining.objectives import Objective, UpdateRoles

LEARNING = 3


class StepFlops:
    """The cost of a run's steps."""

    def __init__(self, pair: Pair, objective: Objective) -> None:
        self.pair = pair
        self.objective = objective

    def __call__(self, roles: UpdateRoles, rows: int, length: int, max_masked: int) -> int:
        """Of one step.

        Args:
            roles: who learns.
            rows: rows in the step.
            length: tokens in a row.
            max_masked: masked positions in a row.
        """
        total = 0
        if self.pair.generator is not None:
            config = self.pair.generator.config
            forward = encoder_flops(config, rows, length) + rows * max_masked * token_head_flops(
                config
            )
            total += (LEARNING if roles.generator else 1) * forward
        if roles.discriminator:
            total += LEARNING * self.discriminator(roles, rows, length, max_masked)
        return total

    def discriminator(self, roles: UpdateRoles, rows: int, length: int, max_masked: int) -> int:
        """Its forward pass, with the heads that the objective and the turn ask for."""
        config, objective = self.pair.discriminator.config, self.objective
        detected = rows * length if objective.detects else 0
        corrected = (
            (max_masked if objective.corrects_masked_only else length) if objective.corrects else 0
        )
        compared = max_masked if roles.similarity else 0
        return (
            encoder_flops(config, rows, length)
            + detected * replaced_head_flops(config)
            + rows * (corrected + compared) * token_head_flops(config)
        )
