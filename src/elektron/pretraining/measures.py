"""How long a run is, how long it has taken, and what its steps have shown since the last line of metrics."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from elektron.pretraining.batches import GlobalBatch, Prefetcher
from elektron.pretraining.checkpoint import Progress
from elektron.pretraining.config import PretrainConfig
from elektron.pretraining.evaluation import auc_of_histogram
from elektron.pretraining.objectives import HISTOGRAM_BINS, RtdOutput


@dataclass(frozen=True)
class Horizon:
    """How long a run is: in steps, or in seconds of training."""

    steps: int | None
    seconds: float | None

    @classmethod
    def of(cls, config: PretrainConfig, seq_len: int) -> Horizon:
        """The configured length; tokens become steps."""
        if config.minutes is not None:
            return cls(None, config.minutes * 60)
        if config.tokens is not None:
            return cls(math.ceil(config.tokens / (config.batch * seq_len)), None)
        return cls(config.steps, None)

    def share(self, progress: Progress) -> float:
        """How much of the run is done, from 0 to 1."""
        if self.steps is not None:
            return progress.step / self.steps
        assert self.seconds is not None
        return min(1.0, progress.seconds / self.seconds)


class Window:
    """Training metrics since they were last logged, summed on the device."""

    SUMS = 6

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(self.SUMS + 2 * HISTOGRAM_BINS, dtype=torch.float64, device=device)

    def add(self, output: RtdOutput) -> None:
        """Take in a micro-batch."""
        losses = (output.generator_loss, output.generator_correct, output.discriminator_loss)
        self.sums[:3] += torch.stack(losses).detach()
        self.sums[self.SUMS :] += output.histogram.flatten()

    def add_step(self, batch: GlobalBatch, norms: dict[str, Tensor]) -> None:
        """Take in what is known of a step as a whole."""
        self.sums[3] += batch.masked_tokens
        self.sums[4:6] += torch.stack([norms["generator"], norms["discriminator"]])

    def figures(self, steps: int) -> dict[str, float | None]:
        """Means over the window's `steps`; this waits for the device."""
        sums = self.sums.cpu().numpy()
        histogram = sums[self.SUMS :].reshape(2, HISTOGRAM_BINS)
        real_tokens = max(1.0, histogram.sum())
        masked_tokens = max(1.0, sums[3])
        return {
            "generator_loss": float(sums[0] / masked_tokens),
            "generator_accuracy": float(sums[1] / masked_tokens),
            "discriminator_loss": float(sums[2] / real_tokens),
            "discriminator_auc": auc_of_histogram(histogram),
            "replaced_share": float(histogram[1].sum() / real_tokens),
            "gradient_norm_generator": float(sums[4] / steps),
            "gradient_norm_discriminator": float(sums[5] / steps),
        }

    @property
    def finite(self) -> bool:
        """Whether every loss and gradient of the window was a number."""
        return bool(torch.isfinite(self.sums).all())


class Clock:
    """Training time over all sessions, and the laps between two lines of metrics."""

    def __init__(self, seconds_before: float, prefetcher: Prefetcher) -> None:
        self.began = time.perf_counter() - seconds_before
        self.prefetcher = prefetcher
        self.lap_began = time.perf_counter()
        self.lap_step = prefetcher.next_step
        self.lap_waited = 0.0

    def seconds(self) -> float:
        """Training time so far."""
        return time.perf_counter() - self.began

    def lap(self) -> tuple[float, int, float]:
        """Seconds, steps and seconds of waiting for data since the last lap."""
        now, step, waited = (
            time.perf_counter(),
            self.prefetcher.next_step,
            self.prefetcher.waited_seconds,
        )
        lap = (now - self.lap_began, step - self.lap_step, waited - self.lap_waited)
        self.lap_began, self.lap_step, self.lap_waited = now, step, waited
        return lap
