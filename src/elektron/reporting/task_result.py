"""Reads the folder of a fine-tuned model.

It must have `task.json` and `metrics.json`; what other files would contain is left out of reports if they are missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from elektron.configuration import read_yaml
from elektron.errors import ElektronError
from elektron.io.files import from_json
from elektron.io.folders import final_path
from elektron.reporting.formatting import MetricFormat, metric_format
from elektron.reporting.reading import Record, distinct_names, finite, flat, group, mapping, number, read_json
from elektron.reporting.seed_comparison import Interval, Spread
from elektron.sweep import format_settings

TASK = "task.json"
CONFIG = "config.yaml"
METRICS = "metrics.json"
DETAILS = "details.json"
RUNS = "runs.json"
PREDICTIONS = "predictions.jsonl"
NETWORK = "config.json"

SIDES = {"pretrained": "pre-trained", "scratch": "from scratch"}
"""The sides of `--baseline scratch`, and their names in a report."""

Metrics = dict[str, float]


@dataclass(frozen=True)
class Epoch:
    """What was measured after one pass over the training rows."""

    epoch: float
    train_loss: float | None = None
    """None in differentially private training, where it would reveal something about the rows."""
    eval: float | None = None
    """The main metric on the evaluation rows, if it was computed."""
    eval_loss: float | None = None


@dataclass
class TrainingRun:
    """One training of the network on the task: an entry of `runs.json`."""

    side: str = "pretrained"
    """A key of SIDES."""
    seed: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    """The values of the swept settings (`--sweep`)."""
    epochs: list[Epoch] = field(default_factory=list)
    kept_epoch: float | None = None
    eval: Metrics = field(default_factory=dict)
    test: Metrics = field(default_factory=dict)
    """Empty until it is scored on the test rows."""
    seconds: float | None = None
    collapsed: str = ""
    """A sentence on how the model has collapsed to a constant prediction; empty if it has not."""
    privacy: dict[str, Any] = field(default_factory=dict)
    """Budget, noise and accountant of differentially private training, over all training runs of the command."""
    kept: bool = False
    metric: str = ""
    """The metric by which the best training run is chosen."""

    @property
    def name(self) -> str:
        """The name of the run in logs, legends and folders."""
        seed = "" if self.seed is None else f"seed {self.seed}"
        return " · ".join(filter(None, [self.side, format_settings(self.settings), seed]))

    def value(self, metric: str) -> float:
        """The metric on the evaluation rows; negative infinity where it is not a number."""
        return self.eval[metric] if math.isfinite(self.eval[metric]) else -math.inf


@dataclass(frozen=True)
class Confusion:
    """A row of counts for each true class, a column for each predicted one."""

    labels: list[str]
    counts: list[list[int]]

    def __post_init__(self) -> None:
        if [len(row) for row in self.counts] != [len(self.labels)] * len(self.labels):
            raise ValueError("the confusion matrix must have a row and a column for each label")


@dataclass(frozen=True)
class Baseline:
    """A simple method, such as a constant prediction: an entry of `baselines` in `metrics.json`."""

    name: str
    metrics: Metrics


@dataclass(frozen=True)
class Details:
    """The content of `details.json`: how the metrics were obtained."""

    metric: str = ""
    """The main metric."""
    model: str = ""
    hub_name: str = ""
    """Name of the encoder on the hub, if it comes from there."""
    train_rows: float | None = None
    eval_rows: float | None = None
    test_rows: float | None = None
    chosen_on: str = ""
    reported_on: str = ""
    weights: dict[str, float] = field(default_factory=dict)
    """How many weights were `loaded`, and how many are `new`."""
    pretraining: dict[str, Any] = field(default_factory=dict)
    """Steps, tokens, FLOPs and sources of the encoder's pre-training, if it is in the folder of that run."""
    confusion: Confusion | None = None
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    points: list[Any] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    """How a metric was computed, by metric."""
    device: str = ""
    versions: dict[str, Any] = field(default_factory=dict)
    better: list[str] = field(default_factory=list)
    """Sentences on metrics that are clearly better than those of every baseline."""
    warnings: list[str] = field(default_factory=list)
    columns: dict[str, Any] = field(default_factory=dict)
    """Names of the files' columns, by role."""

    @property
    def rows(self) -> dict[str, float]:
        """Numbers of rows by split, where there are any."""
        counts = {"train": self.train_rows, "eval": self.eval_rows, "test": self.test_rows}
        return {split: count for split, count in counts.items() if count}

    @property
    def scatter(self) -> list[tuple[float, float]]:
        """Pairs of a true and a predicted number."""
        pairs = ([finite(x) for x in pair] for pair in self.points if isinstance(pair, list))
        return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2 and None not in pair]  # type: ignore[misc]


@dataclass(frozen=True)
class TaskResult:
    """The content of a fine-tuned model's folder."""

    folder: Path
    home: Path
    """The final path of the folder, which has a temporary name while it is written."""
    name: str
    task: str
    learned: Record
    """The content of `task.json`, such as labels and lengths."""
    metrics: Metrics
    """Metrics of the kept model on `split`, in the order of the file, without those that equal others."""
    intervals: dict[str, Interval]
    """95 % intervals by metric."""
    baselines: list[Baseline]
    """Simple methods, tested on the same rows."""
    privacy: Record
    """Budget, noise and accountant of differentially private training; empty for any other."""
    rows: float | None
    split: str
    config: Record = field(default_factory=dict)
    """Settings under dotted names."""
    details: Details = Details()
    runs: list[TrainingRun] = field(default_factory=list)
    network: Record = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """Names of the classes."""
        labels = self.learned.get("labels")
        return [str(label) for label in labels] if isinstance(labels, list) else []

    @property
    def metric(self) -> str:
        """The main metric, by which runs are chosen."""
        return self.details.metric or next((name for name in self.metrics if name != "loss"), "")

    @property
    def family(self) -> str:
        """The encoder's model type, such as `elektron`; empty where it is not known."""
        network = group(self.network, "encoder") or self.network
        return str(network.get("model_type", ""))

    @property
    def model(self) -> str:
        """The pre-trained model that was fine-tuned."""
        return self.details.model or str(self.config.get("model", ""))

    @property
    def kept(self) -> TrainingRun | None:
        """The run whose model is in the folder."""
        return next((run for run in self.runs if run.kept), None)

    def format(self, metric: str) -> MetricFormat:
        """How a metric of this task is written."""
        return metric_format(metric, self.task, self.labels, bool(self.learned.get("several")))

    def of_baselines(self, metric: str) -> dict[str, float]:
        """A metric of each baseline that has it, by the baseline's name."""
        return {b.name: b.metrics[metric] for b in self.baselines if metric in b.metrics}

    @property
    def varied_settings(self) -> list[str]:
        """Names of the settings that differ between runs."""
        names = dict.fromkeys(name for run in self.runs for name in run.settings)
        return [
            name
            for name in names
            if any(run.settings.get(name) != self.runs[0].settings.get(name) for run in self.runs)
        ]

    def chosen_runs(self, side: str) -> list[TrainingRun]:
        """The runs that represent a side, all with the same settings; empty if the side has no runs.

        They include the kept run; on the other side they are those of the settings with most runs, then best on eval.
        """
        by_settings: dict[str, list[TrainingRun]] = {}
        for run in self.runs:
            if run.side == side:
                by_settings.setdefault(repr(run.settings), []).append(run)

        def rank(runs: list[TrainingRun]) -> tuple[bool, int, float]:
            spread = self.spread(runs, "eval")
            return any(run.kept for run in runs), len(runs), spread.median if spread else -math.inf

        return max(by_settings.values(), key=rank, default=[])

    def spread(self, runs: Sequence[TrainingRun], split: str) -> Spread | None:
        """The main metric on `eval` or `test` of the runs that have it; None if none has."""
        values = [value for run in runs if (value := getattr(run, split).get(self.metric)) is not None]
        return Spread(values) if values else None


def is_task_result(folder: Path) -> bool:
    """Whether a folder is that of a fine-tuned model."""
    return (folder / TASK).is_file()


def read_task_results(folders: Iterable[Path]) -> list[TaskResult]:
    """Read each model once; its name is the shortest end of its path that distinguishes it.

    Raises:
        ElektronError: one is not a readable folder of a fine-tuned model.
    """
    results = [read_task_result(path) for path in {path.resolve(): path for path in folders}.values()]
    names = distinct_names([result.home for result in results])
    return [replace(result, name=name) for result, name in zip(results, names, strict=True)]


def read_task_result(folder: Path) -> TaskResult:
    """Read the folder of a fine-tuned model.

    Raises:
        ElektronError: it is not such a folder, or a file in it is damaged.
    """
    task, metrics = (read_json(folder / name, mapping) for name in (TASK, METRICS))
    if task is None or metrics is None:
        raise ElektronError(
            f"{folder} is not the folder of a fine-tuned model, it has no "
            f"{TASK if task is None else METRICS}: give one that `elektron finetune` wrote"
        )
    settings = folder / CONFIG
    return replace(
        task_result(folder, task, metrics),
        config=flat(read_yaml(settings)) if settings.is_file() else {},
        details=read_json(folder / DETAILS, lambda x: from_json(mapping(x), Details, "the file", True)) or Details(),
        runs=read_json(folder / RUNS, lambda x: from_json(x, list[TrainingRun], "the file", True)) or [],
        network=read_json(folder / NETWORK, mapping) or {},
    )


def task_result(folder: Path, task: Record, metrics: Record) -> TaskResult:
    """Create the result from the contents of `task.json` and `metrics.json`."""
    left_out = {"rows", "seconds", *repeated_metrics(task)}
    values = {name: number(metrics, name) for name in metrics if name not in left_out}
    return TaskResult(
        folder=folder,
        home=final_path(folder),
        name=final_path(folder).resolve().name,
        task=str(task.get("task", "")),
        learned=task,
        metrics={name: value for name, value in values.items() if value is not None},
        intervals=from_json(group(metrics, "intervals"), dict[str, Interval], "intervals", lenient=True),
        baselines=from_json(metrics.get("baselines") or [], list[Baseline], "baselines", lenient=True),
        privacy=group(metrics, "privacy"),
        rows=number(metrics, "rows"),
        split=str(metrics.get("split", "")),
    )


def repeated_metrics(task: Record) -> set[str]:
    """Names of metrics that by definition equal precision, recall, F1 or accuracy for a task, given as `task.json`."""
    labels = task.get("labels")
    if task.get("task") != "classification" or not isinstance(labels, list):
        return set()
    if len(labels) <= 2 or task.get("several"):
        return {"f1_micro"}
    return {"f1_micro", "precision_macro", "recall_macro", "f1_macro"}
