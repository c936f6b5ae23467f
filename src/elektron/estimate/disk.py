"""What a run leaves on disk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from elektron.models.memory import WIDE
from elektron.models.pair import Pair
from elektron.pretraining.config import PretrainConfig
from elektron.pretraining.objectives import Objective

LINE_BYTES, EVALUATION_BYTES = 700, 1200
"""Lines of metrics, in training and of an evaluation, as long as they become in runs of many digits."""


@dataclass(frozen=True)
class Disk:
    """Bytes in the run's folder at its end."""

    checkpoint: int
    """One checkpoint: weights and the optimizer's state."""
    checkpoints: int | None
    """How many there will be at most, the best one included; None where steps are not known."""
    models: int
    """The exported networks."""
    tokenizer: int | None
    """Its copies beside them; None where it is not known."""
    metrics: int | None
    """None where steps are not known."""

    @property
    def total(self) -> int | None:
        """All of it, as far as it is known; None where not even the checkpoints are."""
        if self.checkpoints is None:
            return None
        rest = self.models + (self.tokenizer or 0) + (self.metrics or 0)
        return self.checkpoint * self.checkpoints + rest


def disk_of(
    config: PretrainConfig,
    pair: Pair,
    objective: Objective,
    optimizer_bytes: int,
    steps: int | None,
    tokenizer_folder: Path | None,
) -> Disk:
    """What the run leaves: checkpoints of both networks at once, then each network for itself."""
    kept = [pair.discriminator if objective.detects else pair.corrector, pair.generator]
    networks = [network for network in kept if network is not None]
    checkpoints = metrics = tokenizer = None
    if steps is not None:
        checkpoints = checkpoints_kept(config, steps)
        # As a checkpoint, an evaluation ends every run.
        lines, evaluations = steps // config.log_every, math.ceil(steps / config.evaluation.every)
        metrics = lines * LINE_BYTES + evaluations * EVALUATION_BYTES
    if tokenizer_folder is not None:
        files = [path.stat().st_size for path in tokenizer_folder.iterdir()]
        tokenizer = len(networks) * sum(files)
    return Disk(
        checkpoint=WIDE * sum(p.numel() for p in pair.parameters()) + optimizer_bytes,
        checkpoints=checkpoints,
        models=WIDE * sum(p.numel() for network in networks for p in network.parameters()),
        tokenizer=tokenizer,
        metrics=metrics,
    )


def checkpoints_kept(config: PretrainConfig, steps: int) -> int:
    """How many a run of so many steps leaves at most, one of which is of its last step.

    Of those that are older than the newest, the ones at round steps stay, and the best of all; it cannot be
    older than the first evaluation.
    """
    every, stay = config.checkpoint.every, config.checkpoint.keep_every
    before_the_last = range(every, steps, every)
    older = before_the_last[: max(0, len(before_the_last) - config.checkpoint.keep + 1)]
    last = older[-1] if older else 0
    round_ones = last // math.lcm(every, stay) if stay else 0
    best = last >= config.evaluation.every and len(older) > round_ones
    return len(before_the_last) + 1 - len(older) + round_ones + best
