"""Training metrics, summed on the device between two log lines, and the lines and alarms in `metrics.jsonl`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from elektron.models.pair import DISCRIMINATOR, GENERATOR
from elektron.pretraining.distributed import World
from elektron.pretraining.evaluation import MEANS, auc_of_histogram
from elektron.pretraining.health import Health
from elektron.pretraining.objectives import Output
from elektron.pretraining.objectives.base import HISTOGRAM_BINS
from elektron.pretraining.run import RunFolder
from elektron.pretraining.start_and_end import comparison_commands, start_and_end
from elektron.progress import format_duration
from elektron.terminal import escape_control
from elektron.tracking import Tracker

log = logging.getLogger(__name__)

NORMS = ("gradient_norm_generator", "gradient_norm_discriminator")
AVERAGED = (*MEANS, *NORMS)
COUNTED = ("skipped_steps", "loss_spikes")
POSITION = ("step", "tokens", "flops", "seconds")
"""Fields with the position in the run of a line of metrics."""
NON_FINITE = "not-finite"
"""Name of the alarm about skipped steps."""
SPEED = (*NORMS, "tokens_per_second", "flops_per_second", "mfu", "data_wait_share")
"""Fields that lines of evaluations copy from the last line of training metrics."""


class MetricSums:
    """Sums of training metrics since they were last logged, on the device.

    A network that is not updated in a step adds nothing to its sums or to the counts that divide them.
    """

    def __init__(self, device: torch.device) -> None:
        size = len(AVERAGED)
        self.sums = torch.zeros(2 * size + len(COUNTED) + 2 * HISTOGRAM_BINS, dtype=torch.float64, device=device)
        self.step = torch.zeros_like(self.sums)
        """The sums of the current step."""
        self.divisors = slice(size, 2 * size)
        """Slice of the counts that divide the sums before them."""
        self.counted = slice(2 * size, 2 * size + len(COUNTED))
        self.histogram = slice(2 * size + len(COUNTED), None)

    def add(self, output: Output) -> None:
        """Add a micro-batch to the current step."""
        for index, (name, _) in enumerate(MEANS.values()):
            value = getattr(output, name)
            if value is not None:
                self.step[index] += value.detach()
        if output.histogram is not None:
            self.step[self.histogram] += output.histogram.flatten()

    def add_step(
        self,
        tokens: dict[str, float | Tensor],
        output: Output,
        norms: dict[str, Tensor],
        updated: Tensor,
        spike: Tensor,
    ) -> None:
        """Add the current step to the sums. Of a skipped step, only the counts of skips and spikes are added.

        Args:
            tokens: the objective's token counts over the global batch.
            output: output of one of the step's micro-batches; all have the same fields.
            norms: gradient norms by network.
            updated: whether the weights were updated, `()`.
            spike: whether a loss was a spike, `()`.
        """
        divisors = self.step[self.divisors]
        for index, (name, count) in enumerate(MEANS.values()):
            if getattr(output, name) is not None:
                divisors[index] += tokens[count]
        for index, norm in enumerate((norms[GENERATOR], norms[DISCRIMINATOR]), len(MEANS)):
            self.step[index] += norm
            divisors[index] += norm > 0
        self.sums += torch.where(updated, self.step, 0.0)
        self.sums[self.counted][0] += ~updated
        self.sums[self.counted][1] += spike
        self.step.zero_()

    def reduce(self, world: World) -> None:
        """Sum the outputs over all ranks into rank 0's sums. Norms and counts are global on every rank already."""
        if not world.is_distributed:
            return
        is_global = slice(len(MEANS), self.counted.stop)
        kept = self.sums[is_global].clone()
        world.all_reduce(self.sums)
        self.sums[is_global] = kept
        self._keep_on_rank0(world)

    def load_state(self, sums: Tensor, world: World) -> None:
        """Restore the reduced sums of a checkpoint."""
        self.sums.copy_(sums)
        self._keep_on_rank0(world)

    def _keep_on_rank0(self, world: World) -> None:
        # On the other ranks, the next reduction would add them again.
        if not world.is_main:
            self.sums[: len(MEANS)] = 0
            self.sums[self.histogram] = 0

    def means(self) -> dict[str, float | None]:
        """Means since the last log line; None if the count is 0. Synchronizes with the device."""
        sums = self.sums.cpu().numpy()
        histogram = sums[self.histogram].reshape(2, HISTOGRAM_BINS)
        tokens = histogram.sum()
        pairs = zip(AVERAGED, sums[: len(AVERAGED)], sums[self.divisors], strict=True)
        return {name: float(total / count) if count else None for name, total, count in pairs} | {
            "discriminator_auc": auc_of_histogram(histogram),
            "replaced_share": float(histogram[1].sum() / tokens) if tokens else None,
            **dict(zip(COUNTED, sums[self.counted].tolist(), strict=True)),
        }


class MetricsLogger:
    """Writes the metrics and alarms of a run.

    When a run resumes, the state that later lines depend on is restored from `metrics.jsonl`.
    """

    def __init__(self, folder: RunFolder, health: Health) -> None:
        self.folder = folder
        self.health = health
        self.tracker: Tracker | None = None
        """Set on rank 0 under `--track`."""
        self.speed: dict[str, float | None] = {}
        self.evaluated: dict[int, dict[str, float | None]] = {}
        """The metrics of the last evaluation, under its step."""
        self.summed_from = 0
        """The step at which the current sums of training metrics start."""

    def log_training(self, position: dict[str, Any], metrics: dict[str, float | None]) -> None:
        """Log a line of training metrics."""
        self._log("train", position | metrics)
        self._take_training(position["step"], metrics)

    def log_evaluation(self, position: dict[str, Any], metrics: dict[str, float | None], steps_of_stage: int) -> None:
        """Log an evaluation and its alarms; `steps_of_stage` is the number of steps since the plan's stage began."""
        self._log("evaluation", position | metrics | self.speed)
        self.evaluated = {position["step"]: metrics}
        for alarm, message in self.health.check(steps_of_stage, metrics).items():
            log.warning("step %d: %s", position["step"], message)
            self.log_alarm(position["step"], alarm, message)

    def _log(self, kind: str, line: dict[str, Any]) -> None:
        self.folder.log(kind, line)
        if self.tracker is not None:
            self.tracker.log(kind, line, line["step"])

    def log_alarm(self, step: int, name: str, message: str) -> None:
        self.folder.log("alarm", {"step": step, "alarm": name, "message": message})

    def resume(self, step: int) -> None:
        """Restore the state from the lines up to a checkpoint's step, and log that the run resumes there."""
        for line in self.folder.lines():
            if line["kind"] == "train":
                self._take_training(line["step"], line)
            elif line["kind"] == "evaluation":
                metrics = line.keys() - {"kind", "new_parts", *POSITION, *SPEED}
                self.evaluated = {line["step"]: {name: line[name] for name in line if name in metrics}}
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
        ("lm_loss", "LM {:.3f} nats"),
        ("discriminator_auc", "AUC {:.3f}"),
    ]
    return " · ".join(text.format(metrics[name]) for name, text in shown if metrics.get(name) is not None)


def summary_text(summary: dict[str, Any], folder: RunFolder, init_from: str | None) -> str:
    """The metrics of a finished run, and commands to use it."""
    path = str(folder.path)
    name, loss_of = ("generator", "generator_loss") if summary.get("generator_loss") is not None else ("LM", "lm_loss")
    sources = {key.partition("/")[2]: summary[key] for key in summary if key.startswith(f"{loss_of}/")}
    more = [f"  {source}: {name} {loss:.2f} nats" for source, loss in sources.items()]
    evaluations = (line for line in folder.lines() if line["kind"] == "evaluation")
    if found := start_and_end(evaluations, summary):
        rows, remark = found
        if rows:
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            more = ["At the start → at the end:"]
            more += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        more += [remark] if remark else []
        if not rows and init_from is not None:
            more += comparison_commands(init_from, path).splitlines()
    of_sources = "".join(f"{escape_control(line)}\n" for line in more)
    path = escape_control(path)
    return (
        f"\n{summary['steps']:,} steps, {format_duration(summary['seconds'])}. "
        f"On held-out rows: {metrics_line(summary) or 'no metrics'}\n"
        f"{of_sources}\n"
        f"The report:    elektron report {path}\n"
        f"Fine-tune it:  elektron finetune TASK --model {path}/discriminator --train FILE --out model"
    )
