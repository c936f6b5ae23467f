"""How long a run is, how long it has taken, and what its steps have shown since the last line of metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from elektron.pretraining.batches import GlobalBatch, Prefetcher
from elektron.pretraining.checkpoint import Progress
from elektron.pretraining.config import PretrainConfig
from elektron.pretraining.evaluation import auc_of_histogram
from elektron.pretraining.objectives import Objective, Output
from elektron.pretraining.objectives.base import HISTOGRAM_BINS
from elektron.pretraining.processes import Processes

GIGA = 1e9


@dataclass(frozen=True)
class Horizon:
    """How long a run is: in steps, in seconds of training, or in floating-point operations."""

    steps: int | None
    seconds: float | None = None
    flops: float | None = None

    @classmethod
    def of(cls, config: PretrainConfig, steps: int | None) -> Horizon:
        """The configured length; `steps` is what follows of it, if any does."""
        if config.minutes is not None:
            return cls(None, seconds=config.minutes * 60)
        if config.flops is not None:
            return cls(None, flops=config.flops)
        return cls(steps)

    def share(self, progress: Progress) -> float:
        """How much of the run is done, from 0 to 1."""
        return between_0_and_1(self.done(progress) / self.total)

    def share_of_schedule(self, progress: Progress) -> float:
        """How much is done of what the schedule of the rate goes over."""
        left = self.total - progress.schedule_from
        done = self.done(progress) - progress.schedule_from
        return between_0_and_1(done / left) if left > 0 else 1.0

    def done(self, progress: Progress) -> float:
        """How much of the run is done, in its unit."""
        if self.steps is not None:
            return progress.step
        return progress.flops / GIGA if self.flops is not None else progress.seconds

    @property
    def total(self) -> float:
        """All of the run, in its unit."""
        if self.flops is not None:
            return self.flops / GIGA
        total = self.steps or self.seconds
        assert total is not None
        return total

    @property
    def unit(self) -> str:
        """What it is counted in."""
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


def between_0_and_1(share: float) -> float:
    """A share, cut off at both ends."""
    return min(1.0, max(0.0, share))


SUMMED_OUTPUTS = (
    "generator_loss",
    "generator_correct",
    "detection_loss",
    "correction_loss",
    "correction_correct",
    "similarity_loss",
)
COUNTS = (
    "generated",
    "asked",
    "corrected",
    "judged",
    "compared",
    "gradient_norm_generator",
    "gradient_norm_discriminator",
    "generator_steps",
    "discriminator_steps",
    "skipped_steps",
    "loss_spikes",
)


class Window:
    """Training metrics since they were last logged, summed on the device.

    A turn that leaves a network out adds nothing to its sums and nothing to what they are divided by.
    """

    NAMES = SUMMED_OUTPUTS + COUNTS

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(
            len(self.NAMES) + 2 * HISTOGRAM_BINS, dtype=torch.float64, device=device
        )
        self.step = torch.zeros_like(self.sums)
        """The sums of the step that is being taken."""

    def add(self, output: Output) -> None:
        """Take in a micro-batch."""
        for place, name in enumerate(SUMMED_OUTPUTS):
            value = getattr(output, name)
            if value is not None:
                self.step[place] += value.detach()
        if output.histogram is not None:
            self.step[len(self.NAMES) :] += output.histogram.flatten()

    def add_step(
        self,
        batch: GlobalBatch,
        output: Output,
        objective: Objective,
        norms: dict[str, Tensor],
        moved: Tensor,
        spike: Tensor,
    ) -> None:
        """Take in what is known of a step as a whole; `output` is one of its micro-batches'.

        Of a step that was skipped, that has not `moved` the weights, only that it was, and whether for a `spike`.
        """
        counted: dict[str, float | Tensor] = {
            "generated": batch.masked_tokens * (output.generator_loss is not None),
            "asked": objective.asked_tokens(batch) * (output.detection_loss is not None),
            "corrected": objective.corrected_tokens(batch) * (output.correction_loss is not None),
            "judged": batch.masked_tokens * (output.correction_loss is not None),
            "compared": batch.masked_tokens * (output.similarity_loss is not None),
            "gradient_norm_generator": norms["generator"],
            "gradient_norm_discriminator": norms["discriminator"],
            "generator_steps": norms["generator"] > 0,
            "discriminator_steps": norms["discriminator"] > 0,
        }
        for name, value in counted.items():
            self.step[self.NAMES.index(name)] += value
        self.sums += torch.where(moved, self.step, 0.0)
        self.sums[self.NAMES.index("skipped_steps")] += ~moved
        self.sums[self.NAMES.index("loss_spikes")] += spike
        self.step.zero_()

    def gather(self, processes: Processes) -> None:
        """Sum up what each process has of its rows, in the first one; the others begin anew.

        Counts are of all rows in each of them already.
        """
        if not processes.several:
            return
        counts = self.sums[len(SUMMED_OUTPUTS) : len(self.NAMES)].clone()
        processes.sum(self.sums)
        self.sums[len(SUMMED_OUTPUTS) : len(self.NAMES)] = counts
        self.leave_to_the_first(processes)

    def take_over(self, sums: Tensor, processes: Processes) -> None:
        """Go on with gathered sums."""
        self.sums.copy_(sums)
        self.leave_to_the_first(processes)

    def leave_to_the_first(self, processes: Processes) -> None:
        """Keep what was gathered in one process only, lest it be summed up again."""
        if not processes.first:
            self.sums[: len(SUMMED_OUTPUTS)] = 0
            self.sums[len(self.NAMES) :] = 0

    def figures(self) -> dict[str, float | None]:
        """Means over the window; None for what no turn of it had. This waits for the device."""
        sums = self.sums.cpu().numpy()
        named = dict(zip(self.NAMES, sums.tolist(), strict=False))
        histogram = sums[len(self.NAMES) :].reshape(2, HISTOGRAM_BINS)
        tokens = histogram.sum()
        return {
            "generator_loss": mean(named, "generator_loss", "generated"),
            "generator_accuracy": mean(named, "generator_correct", "generated"),
            "discriminator_loss": mean(named, "detection_loss", "asked"),
            "discriminator_auc": auc_of_histogram(histogram),
            "replaced_share": float(histogram[1].sum() / tokens) if tokens else None,
            "correction_loss": mean(named, "correction_loss", "corrected"),
            "correction_accuracy": mean(named, "correction_correct", "judged"),
            "similarity_loss": mean(named, "similarity_loss", "compared"),
            "skipped_steps": named["skipped_steps"],
            "loss_spikes": named["loss_spikes"],
            "gradient_norm_generator": mean(named, "gradient_norm_generator", "generator_steps"),
            "gradient_norm_discriminator": mean(
                named, "gradient_norm_discriminator", "discriminator_steps"
            ),
        }


def mean(sums: dict[str, float], name: str, count: str) -> float | None:
    """One of the sums divided by another, if there is anything to divide by."""
    return sums[name] / sums[count] if sums[count] else None


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
