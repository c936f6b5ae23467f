"""The length of a run and the learning-rate schedule over it."""

from __future__ import annotations

from dataclasses import dataclass

from elektron.pretraining.checkpoint import Progress
from elektron.pretraining.config import PretrainConfig

GIGA = 1e9


@dataclass(frozen=True)
class RunLength:
    """How long a run is: in steps, in seconds of training, or in FLOPs."""

    steps: int | None
    seconds: float | None = None
    flops: float | None = None

    @classmethod
    def of(cls, config: PretrainConfig, steps: int | None) -> RunLength:
        """The configured length; `steps` is the number of steps where the configuration determines it."""
        if config.minutes is not None:
            return cls(None, seconds=config.minutes * 60)
        if config.flops is not None:
            return cls(None, flops=config.flops)
        return cls(steps)

    def fraction_done(self, progress: Progress) -> float:
        """How much of the run is done, from 0 to 1."""
        return _clamp(self.done(progress) / self.total)

    def schedule_fraction(self, progress: Progress) -> float:
        """How much of the learning-rate schedule is done; it starts anew where a finished run was made longer."""
        left = self.total - progress.schedule_from
        done = self.done(progress) - progress.schedule_from
        return _clamp(done / left) if left > 0 else 1.0

    def done(self, progress: Progress) -> float:
        """How much of the run is done, in its unit."""
        if self.steps is not None:
            return progress.step
        return progress.flops / GIGA if self.flops is not None else progress.seconds

    @property
    def total(self) -> float:
        """The whole run, in its unit."""
        if self.flops is not None:
            return self.flops / GIGA
        total = self.steps or self.seconds
        assert total is not None
        return total

    @property
    def unit(self) -> str:
        if self.steps is not None:
            return "steps"
        return "GFLOPs" if self.flops is not None else "seconds"

    def __str__(self) -> str:
        if self.steps is not None:
            return f"{self.steps:,} steps"
        if self.flops is not None:
            return f"{self.flops:.3g} FLOPs"
        assert self.seconds is not None
        return f"{self.seconds / 60:g} minutes"


def _clamp(fraction: float) -> float:
    return min(1.0, max(0.0, fraction))


def learning_rate_factor(fraction: float, step: int, warmup: float, decay_fraction: float) -> float:
    """The factor on the peak learning rate: a warm-up times a linear decay to 0, as in the official code.

    Args:
        fraction: how much of the run is done, from 0 to 1.
        step: steps done.
        warmup: below 1 a fraction of the run, else a number of steps.
        decay_fraction: last fraction of the run over which the rate decays.
    """
    if warmup == 0:
        warm = 1.0
    elif warmup < 1:
        warm = min(1.0, fraction / warmup)
    else:
        warm = min(1.0, step / warmup)
    return warm * min(1.0, (1.0 - fraction) / decay_fraction)
