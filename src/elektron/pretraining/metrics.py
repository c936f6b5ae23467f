"""Training metrics: summed on the device between two log lines, timed, and logged to `metrics.jsonl`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elektron.pretraining.batches import GlobalBatch, Prefetcher
from elektron.pretraining.distributed import World
from elektron.pretraining.evaluation import auc_of_histogram
from elektron.pretraining.health import Health
from elektron.pretraining.objectives import Objective, Output
from elektron.pretraining.objectives.base import HISTOGRAM_BINS
from elektron.pretraining.run_folder import RunFolder
from elektron.progress import format_duration
from elektron.terminal import escape_control

log = logging.getLogger(__name__)

SUMMED_OUTPUTS = (
    "generator_loss",
    "generator_correct",
    "detection_loss",
    "correction_loss",
    "correction_correct",
    "similarity_loss",
)
COUNTS = (
    "generator_tokens",
    "detection_tokens",
    "correction_tokens",
    "corrected_masked_tokens",
    "similarity_tokens",
    "gradient_norm_generator",
    "gradient_norm_discriminator",
    "generator_steps",
    "discriminator_steps",
    "skipped_steps",
    "loss_spikes",
)
POSITION = ("step", "tokens", "flops", "seconds")
"""The position in the run of a line of metrics."""
NON_FINITE = "not-finite"
"""The alarm about skipped steps."""
SPEED = (
    "gradient_norm_generator",
    "gradient_norm_discriminator",
    "tokens_per_second",
    "flops_per_second",
    "mfu",
    "data_wait_share",
)
"""Training metrics that evaluations repeat from the last line of training metrics."""


class MetricSums:
    """Sums of training metrics since they were last logged, on the device.

    A network that is not updated in a step adds nothing to its sums nor to the counts that divide them.
    """

    NAMES = SUMMED_OUTPUTS + COUNTS

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(
            len(self.NAMES) + 2 * HISTOGRAM_BINS, dtype=torch.float64, device=device
        )
        self.step = torch.zeros_like(self.sums)
        """The sums of the current step."""

    def add(self, output: Output) -> None:
        """Add a micro-batch to the current step."""
        for index, name in enumerate(SUMMED_OUTPUTS):
            value = getattr(output, name)
            if value is not None:
                self.step[index] += value.detach()
        if output.histogram is not None:
            self.step[len(self.NAMES) :] += output.histogram.flatten()

    def add_step(
        self,
        batch: GlobalBatch,
        output: Output,
        objective: Objective,
        norms: dict[str, Tensor],
        updated: Tensor,
        spike: Tensor,
    ) -> None:
        """Add the current step to the sums; of a skipped step only that it was skipped.

        Args:
            batch: the step's batch, with global counts.
            output: of one of its micro-batches.
            objective: what was predicted.
            norms: gradient norms by network.
            updated: whether the step was taken, `()`.
            spike: whether a loss was a spike, `()`.
        """
        counted: dict[str, float | Tensor] = {
            "generator_tokens": batch.masked_tokens * (output.generator_loss is not None),
            "detection_tokens": objective.detection_tokens(batch)
            * (output.detection_loss is not None),
            "correction_tokens": objective.correction_tokens(batch)
            * (output.correction_loss is not None),
            "corrected_masked_tokens": batch.masked_tokens * (output.correction_loss is not None),
            "similarity_tokens": batch.masked_tokens * (output.similarity_loss is not None),
            "gradient_norm_generator": norms["generator"],
            "gradient_norm_discriminator": norms["discriminator"],
            "generator_steps": norms["generator"] > 0,
            "discriminator_steps": norms["discriminator"] > 0,
        }
        for name, value in counted.items():
            self.step[self.NAMES.index(name)] += value
        self.sums += torch.where(updated, self.step, 0.0)
        self.sums[self.NAMES.index("skipped_steps")] += ~updated
        self.sums[self.NAMES.index("loss_spikes")] += spike
        self.step.zero_()

    def reduce(self, world: World) -> None:
        """Sum the outputs over all ranks into rank 0's sums. Counts are global on every rank already."""
        if not world.is_distributed:
            return
        counts = self.sums[len(SUMMED_OUTPUTS) : len(self.NAMES)].clone()
        world.all_reduce(self.sums)
        self.sums[len(SUMMED_OUTPUTS) : len(self.NAMES)] = counts
        self._keep_on_rank0(world)

    def load_state(self, sums: Tensor, world: World) -> None:
        """Restore the reduced sums of a checkpoint."""
        self.sums.copy_(sums)
        self._keep_on_rank0(world)

    def _keep_on_rank0(self, world: World) -> None:
        # On the other ranks they would be summed once more by the next reduction.
        if not world.is_main:
            self.sums[: len(SUMMED_OUTPUTS)] = 0
            self.sums[len(self.NAMES) :] = 0

    def means(self) -> dict[str, float | None]:
        """Means since the last log line, None where there is nothing to divide by. Synchronizes with the device."""
        sums = self.sums.cpu().numpy()
        named = dict(zip(self.NAMES, sums.tolist(), strict=False))
        histogram = sums[len(self.NAMES) :].reshape(2, HISTOGRAM_BINS)
        tokens = histogram.sum()

        def mean(name: str, count: str) -> float | None:
            return named[name] / named[count] if named[count] else None

        return {
            "generator_loss": mean("generator_loss", "generator_tokens"),
            "generator_accuracy": mean("generator_correct", "generator_tokens"),
            "discriminator_loss": mean("detection_loss", "detection_tokens"),
            "discriminator_auc": auc_of_histogram(histogram),
            "replaced_share": float(histogram[1].sum() / tokens) if tokens else None,
            "correction_loss": mean("correction_loss", "correction_tokens"),
            "correction_accuracy": mean("correction_correct", "corrected_masked_tokens"),
            "similarity_loss": mean("similarity_loss", "similarity_tokens"),
            "skipped_steps": named["skipped_steps"],
            "loss_spikes": named["loss_spikes"],
            "gradient_norm_generator": mean("gradient_norm_generator", "generator_steps"),
            "gradient_norm_discriminator": mean(
                "gradient_norm_discriminator", "discriminator_steps"
            ),
        }


class StepTimer:
    """Training time over all sessions, and since the last log line."""

    def __init__(self, seconds_before: float, prefetcher: Prefetcher) -> None:
        self.started = time.perf_counter() - seconds_before
        self.prefetcher = prefetcher
        self.lap_started = time.perf_counter()
        self.lap_step = prefetcher.next_step
        self.lap_waited = 0.0

    def seconds(self) -> float:
        """Training time so far."""
        return time.perf_counter() - self.started

    def lap(self) -> tuple[float, int, float]:
        """Seconds, steps and seconds of waiting for data since the last call."""
        now, step, waited = (
            time.perf_counter(),
            self.prefetcher.next_step,
            self.prefetcher.waited_seconds,
        )
        lap = (now - self.lap_started, step - self.lap_step, waited - self.lap_waited)
        self.lap_started, self.lap_step, self.lap_waited = now, step, waited
        return lap


class MetricsLogger:
    """Writes the metrics and alarms of a run.

    Whatever later lines depend on is restored from `metrics.jsonl` when a run resumes.
    """

    def __init__(self, folder: RunFolder, health: Health) -> None:
        self.folder = folder
        self.health = health
        self.speed: dict[str, float | None] = {}
        self.evaluated: dict[int, dict[str, float | None]] = {}
        """The last evaluation, by its step."""
        self.summed_from = 0
        """The step at which the current sums of training metrics start."""

    def log_training(self, position: dict[str, Any], metrics: dict[str, float | None]) -> None:
        """Log training metrics since the last such line."""
        self.folder.log("train", position | metrics)
        self._take_training(position["step"], metrics)

    def log_evaluation(
        self, position: dict[str, Any], metrics: dict[str, float | None], steps_of_stage: int
    ) -> None:
        """Log an evaluation, so many steps after the start of its stage of the plan, and its alarms."""
        self.folder.log("evaluation", position | metrics | self.speed)
        self.evaluated = {position["step"]: metrics}
        for alarm in self.health.check(steps_of_stage, metrics):
            log.warning("step %d: %s", position["step"], alarm.message)
            self.log_alarm(position["step"], alarm.name, alarm.message)

    def log_alarm(self, step: int, name: str, message: str) -> None:
        self.folder.log("alarm", {"step": step, "alarm": name, "message": message})

    def resume(self, step: int) -> None:
        """Restore the state from the lines up to a checkpoint's step, and log that the run resumes there."""
        for line in self.folder.lines():
            if line["kind"] == "train":
                self._take_training(line["step"], line)
            elif line["kind"] == "evaluation":
                excluded = {"kind", *POSITION, *SPEED}
                metrics = {name: line[name] for name in line if name not in excluded}
                self.evaluated = {line["step"]: metrics}
            elif line["kind"] == "alarm":
                self.health.raised.add(str(line.get("alarm")))
            elif line["kind"] == "rolled_back":
                self.summed_from = line["step"]
        self.folder.log("resumed", {"step": step})

    def roll_back(self, step: int, rows: int, message: str) -> None:
        """Drop the lines after a checkpoint's step, and log why the run returned to it."""
        self.folder.cut_metrics(step)
        self.folder.log("rolled_back", {"step": step, "skipped_rows": rows})
        self.log_alarm(step, NON_FINITE, message)
        self.summed_from = step

    def _take_training(self, step: int, line: dict[str, Any]) -> None:
        self.summed_from = step
        self.speed = {name: line.get(name) for name in SPEED}
        self.health.watch_training(line.get("discriminator_auc"))


def metrics_line(metrics: Mapping[str, Any]) -> str:
    """The losses and the AUC of training or an evaluation on one line."""
    shown = [
        ("generator_loss", "generator {:.2f} nats"),
        ("discriminator_loss", "discriminator {:.3f}"),
        ("correction_loss", "correction {:.3f} nats"),
        ("discriminator_auc", "AUC {:.3f}"),
    ]
    return " · ".join(
        text.format(metrics[name]) for name, text in shown if metrics.get(name) is not None
    )


def closing_words(summary: dict[str, Any], folder: Path) -> str:
    """The metrics of a finished run, and what to do with it next."""
    path = escape_control(str(folder))
    return (
        f"\n{summary['steps']:,} steps, {format_duration(summary['seconds'])}. "
        f"On held-out rows: {metrics_line(summary) or 'no metrics'}\n\n"
        f"The report:    elektron report {path}\n"
        f"Fine-tune it:  elektron finetune TASK --model {path}/discriminator --train FILE --out model"
    )
