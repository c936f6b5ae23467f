"""What a run says of itself as it goes: lines of metrics, alarms, and what it must know of them again.

Everything that is written here can be recalled from `metrics.jsonl`, so that a resumed run judges
and reports as if it had never stopped.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from elektron.pretraining.health import Health
from elektron.pretraining.run_folder import RunFolder
from elektron.progress import duration
from elektron.terminal import visible

log = logging.getLogger(__name__)

# Where in the run a line stands.
POSITION = ("step", "tokens", "flops", "seconds")
NOT_FINITE = "not-finite"
"""The alarm about steps that were skipped."""
# What evaluations repeat of the training metrics that were last logged.
PACE = (
    "gradient_norm_generator",
    "gradient_norm_discriminator",
    "tokens_per_second",
    "flops_per_second",
    "mfu",
    "data_wait_share",
)


class Logbook:
    """The metrics of one run in its folder, and the alarms they raise."""

    def __init__(self, folder: RunFolder, health: Health) -> None:
        self.folder = folder
        self.health = health
        self.pace: dict[str, float | None] = {}
        self.evaluated: dict[int, dict[str, float | None]] = {}
        """The last evaluation, by its step."""
        self.window_from = 0
        """The step from which the next training metrics are summed."""

    def training(self, position: dict[str, Any], figures: dict[str, float | None]) -> None:
        """Training metrics since the last such line."""
        self.folder.log("train", position | figures)
        self.take_training(position["step"], figures)

    def evaluation(
        self, position: dict[str, Any], figures: dict[str, float | None], steps_of_stage: int
    ) -> None:
        """An evaluation on held-out rows, so many steps after its stage of the plan began, and its alarms."""
        self.folder.log("evaluation", position | figures | self.pace)
        self.evaluated = {position["step"]: figures}
        for alarm in self.health.judge(steps_of_stage, figures):
            log.warning("step %d: %s", position["step"], alarm.message)
            self.alarm(position["step"], alarm.name, alarm.message)

    def alarm(self, step: int, name: str, message: str) -> None:
        """Something is wrong with the run."""
        self.folder.log("alarm", {"step": step, "alarm": name, "message": message})

    def resumed(self, step: int) -> None:
        """The run goes on from a checkpoint: know again what was logged before it."""
        for line in self.folder.lines():
            if line["kind"] == "train":
                self.take_training(line["step"], line)
            elif line["kind"] == "evaluation":
                not_measured = {"kind", *POSITION, *PACE}
                figures = {name: line[name] for name in line if name not in not_measured}
                self.evaluated = {line["step"]: figures}
            elif line["kind"] == "alarm":
                self.health.raised.add(str(line.get("alarm")))
            elif line["kind"] == "went_back":
                self.window_from = line["step"]
        self.folder.log("resumed", {"step": step})

    def went_back(self, step: int, rows: int, message: str) -> None:
        """The run returns to the checkpoint of a step and leaves out rows that came after it; why stays with it."""
        self.folder.cut_metrics(step)
        self.folder.log("went_back", {"step": step, "rows_left_out": rows})
        self.alarm(step, NOT_FINITE, message)
        self.window_from = step

    def take_training(self, step: int, line: dict[str, Any]) -> None:
        """Keep of training metrics what later lines and alarms go by."""
        self.window_from = step
        self.pace = {name: line.get(name) for name in PACE}
        self.health.watch_training(line.get("discriminator_auc"))


def in_short(figures: dict[str, float | None]) -> str:
    """Figures of training or of an evaluation on one line."""
    shown = {
        "generator": (figures.get("generator_loss"), "generator {:.2f} nats"),
        "detection": (figures.get("discriminator_loss"), "discriminator {:.3f}"),
        "correction": (figures.get("correction_loss"), "correction {:.3f} nats"),
        "auc": (figures.get("discriminator_auc"), "AUC {:.3f}"),
    }
    return " · ".join(text.format(value) for value, text in shown.values() if value is not None)


def closing_words(summary: dict[str, Any], folder: Path) -> str:
    """The figures of a finished run, and what to do with it next."""
    figures = in_short(summary) or "no figures"
    path = visible(str(folder))
    return (
        f"\n{summary['steps']:,} steps, {duration(summary['seconds'])}. On held-out rows: {figures}\n\n"
        f"The report:    elektron report {path}\n"
        f"Fine-tune it:  elektron finetune TASK --model {path}/discriminator --train FILE --out model"
    )
