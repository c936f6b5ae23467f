"""The folder of a fine-tuned model, read for people: `read_result` gives one `Result`.

What the folder must have is `task.json` and `metrics.json`; all else may be missing, and then the
page does without it. A file that is there but damaged is an error, because a page without it would
look whole. What the files hold is taken as data of unknown origin.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from elektron.configuration import read_yaml
from elektron.errors import ElektronError
from elektron.io.folders import final_path
from elektron.reporting.kinds import Kind, kind
from elektron.reporting.reading import (
    Record,
    flat,
    group,
    listed,
    mapping,
    number,
    read_json,
    required_number,
    told_apart,
)

TASK = "task.json"
CONFIG = "config.yaml"
METRICS = "metrics.json"
DETAILS = "details.json"
RUNS = "runs.json"
PREDICTIONS = "predictions.jsonl"
NETWORK = "config.json"

# Figures by which runs go where nothing says so.
FIGURES = {
    "classification": "accuracy",
    "regression": "pearson",
    "token-classification": "f1",
    "question-answering": "f1",
    "multiple-choice": "accuracy",
    "translation": "bleu",
    "summarization": "rougeL",
}
# In metrics.json beside the figures.
NO_FIGURES = ("rows", "seconds")

# What a drawing can show; a file with more is not one of ours.
MOST_POINTS = 2000

Figures = dict[str, float]
Side = Literal["pretrained", "scratch"]


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows."""

    epoch: float
    train_loss: float | None
    figure: float | None
    """The one that the runs go by, on eval."""
    loss: float | None
    """On eval."""


@dataclass(frozen=True)
class Tuning:
    """One training of the network on the task."""

    name: str
    side: Side
    seed: int | None
    settings: Record
    """Those that vary between runs."""
    epochs: list[Epoch]
    kept_epoch: float | None
    evaluation: Figures
    """Figures on eval."""
    test: Figures
    """Figures on test, empty where there are none."""
    seconds: float | None
    collapsed: str | None
    """In words, how it predicts the same for everything."""
    kept: bool


@dataclass(frozen=True)
class Baseline:
    """The best that can be done without reading the text."""

    name: str
    figures: Figures


@dataclass(frozen=True)
class Confusion:
    """How often each class was taken for which."""

    labels: list[str]
    counts: list[list[int]]
    """A row for each true class, a column for each predicted."""


@dataclass(frozen=True)
class Details:
    """Where the figures come from."""

    figure: str = ""
    model: str = ""
    rows: Figures = field(default_factory=dict)
    """Numbers of rows by split: `train`, `eval`, `test`."""
    chosen_on: str = ""
    reported_on: str = ""
    hand_over: Record = field(default_factory=dict)
    baseline: Baseline | None = None
    confusion: Confusion | None = None
    per_class: dict[str, Figures] = field(default_factory=dict)
    points: list[tuple[float, float]] = field(default_factory=list)
    """True and predicted numbers."""
    notes: dict[str, str] = field(default_factory=dict)
    """By figure, how it was computed."""
    device: str = ""
    versions: Record = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    columns: Record = field(default_factory=dict)
    """Names of the files' columns, by role."""
    label_separator: str = ""
    """What stands between labels where a text has several in one column."""


@dataclass(frozen=True)
class Result:
    """What the folder of a fine-tuned model holds."""

    folder: Path
    home: Path
    """Where the folder is for good: it may be read before it is given its name."""
    name: str
    task: str
    learned: Record
    """What the task knows: labels, how long texts are read."""
    config: Record
    """Settings under their dotted names."""
    figures: Figures
    """Of the kept model on the reported split, in the order of the file."""
    intervals: dict[str, tuple[float, float]]
    """By figure, the ends of its 95 % interval."""
    rows: float | None
    split: str
    details: Details
    runs: list[Tuning]
    network: Record

    @property
    def labels(self) -> list[str]:
        """Names of the classes, none where the task has none."""
        labels = self.learned.get("labels")
        return [str(label) for label in labels] if isinstance(labels, list) else []

    @property
    def figure(self) -> str:
        """The figure that runs go by."""
        return self.details.figure or FIGURES.get(self.task) or next(iter(self.figures), "")

    @property
    def family(self) -> str:
        """The encoder's model type, such as `elektron`; empty where it is not known."""
        network = group(self.network, "encoder") or self.network
        return str(network.get("model_type", ""))

    @property
    def model(self) -> str:
        """The pretrained model that was fine-tuned."""
        return self.details.model or str(self.config.get("model", ""))

    @property
    def kept(self) -> Tuning | None:
        """The run whose model lies in the folder."""
        return next((run for run in self.runs if run.kept), None)

    def kind(self, figure: str) -> Kind:
        """How a figure of this task reads."""
        return kind(figure, self.task, self.labels, bool(self.learned.get("several")))


def is_result(folder: Path) -> bool:
    """Whether it is the folder of a fine-tuned model."""
    return (folder / TASK).is_file()


def read_results(folders: Iterable[Path]) -> list[Result]:
    """Each model once, under the shortest ends of their paths that tell them apart.

    Raises:
        ElektronError: one is not a readable folder of a fine-tuned model.
    """
    found = [
        read_result(folder) for folder in {folder.resolve(): folder for folder in folders}.values()
    ]
    names = told_apart([result.home for result in found])
    return [replace(result, name=name) for result, name in zip(found, names, strict=True)]


def read_result(folder: Path) -> Result:
    """What the folder of a fine-tuned model holds.

    Raises:
        ElektronError: it is no such folder, or a file in it is damaged.
    """
    task, metrics = (read_json(folder / name, mapping) for name in (TASK, METRICS))
    if task is None or metrics is None:
        missing = TASK if task is None else METRICS
        raise ElektronError(
            f"{folder} is no fine-tuned model's folder, it has no {missing}: "
            "give one that `elektron finetune` wrote"
        )
    settings = folder / CONFIG
    config = flat(read_yaml(settings)) if settings.is_file() else {}
    home = final_path(folder)
    return Result(
        folder=folder,
        home=home,
        name=home.resolve().name,
        task=str(task.get("task", "")),
        learned=task,
        config=config,
        figures=_figures({key: value for key, value in metrics.items() if key not in NO_FIGURES}),
        intervals=_intervals(metrics),
        rows=number(metrics, "rows"),
        split=str(metrics.get("split", "")),
        details=read_json(folder / DETAILS, _details) or Details(),
        runs=read_json(folder / RUNS, _runs) or [],
        network=read_json(folder / NETWORK, mapping) or {},
    )


def _figures(content: Any) -> Figures:
    """The finite numbers of a mapping."""
    known = {str(name): number(mapping(content), name) for name in mapping(content)}
    return {name: value for name, value in known.items() if value is not None}


def _intervals(metrics: Record) -> dict[str, tuple[float, float]]:
    found = {}
    for name, ends in group(metrics, "intervals").items():
        known = _numbers(ends)
        if len(known) == 2:
            found[name] = (min(known), max(known))
    return found


def _numbers(content: Any) -> list[float]:
    """The finite numbers of a list; none of anything else."""
    values = content if isinstance(content, list) else []
    values = [number({"value": value}, "value") for value in values]
    return [value for value in values if value is not None]


def _details(content: Any) -> Details:
    content = mapping(content)
    rows = {name: number(content, f"{name}_rows") for name in ("train", "eval", "test")}
    points = [_numbers(point) for point in _optional_list(content, "points")]
    return Details(
        figure=_text(content, "figure"),
        model=_text(content, "model"),
        rows={name: count for name, count in rows.items() if count is not None},
        chosen_on=_text(content, "chosen_on"),
        reported_on=_text(content, "reported_on"),
        hand_over=group(content, "hand_over"),
        baseline=_baseline(group(content, "baseline")),
        confusion=_confusion(group(content, "confusion")),
        per_class={
            str(name): _figures(figures) for name, figures in group(content, "per_class").items()
        },
        points=[(point[0], point[1]) for point in points if len(point) == 2][:MOST_POINTS],
        notes={str(name): str(note) for name, note in group(content, "notes").items()},
        device=_text(content, "device"),
        versions=group(content, "versions"),
        warnings=[str(warning) for warning in _optional_list(content, "warnings")],
        columns=group(content, "columns"),
        label_separator=_text(content, "label_separator"),
    )


def _text(content: Record, name: str) -> str:
    value = content.get(name)
    return "" if value is None else str(value)


def _optional_list(content: Record, name: str) -> list[Any]:
    value = content.get(name)
    return [] if value is None else listed(value, name)


def _baseline(content: Record) -> Baseline | None:
    if not content:
        return None
    return Baseline(_text(content, "name") or "always the same", _figures(content))


def _confusion(content: Record) -> Confusion | None:
    if not content:
        return None
    labels = [str(label) for label in listed(content["labels"], "labels")]
    counts = [
        [int(required_number({"counts": count}, "counts")) for count in listed(row, "counts")]
        for row in listed(content["counts"], "counts")
    ]
    if [len(row) for row in counts] != [len(labels)] * len(labels):
        raise ValueError("the confusion matrix must have a row and a column for each label")
    return Confusion(labels, counts)


def _runs(content: Any) -> list[Tuning]:
    return [_tuning(mapping(run), place) for place, run in enumerate(listed(content, "the file"))]


def _tuning(run: Record, place: int) -> Tuning:
    seed = number(run, "seed")
    collapsed = run.get("collapsed")
    return Tuning(
        name=_text(run, "name") or f"run {place + 1}",
        side="scratch" if run.get("side") == "scratch" else "pretrained",
        seed=None if seed is None else int(seed),
        settings={str(name): value for name, value in group(run, "settings").items()},
        epochs=[_epoch(mapping(epoch)) for epoch in _optional_list(run, "epochs")],
        kept_epoch=number(run, "kept_epoch"),
        evaluation=_figures(group(run, "eval")),
        test=_figures(group(run, "test")),
        seconds=number(run, "seconds"),
        collapsed=str(collapsed) if collapsed else None,
        kept=run.get("kept") is True,
    )


def _epoch(epoch: Record) -> Epoch:
    return Epoch(
        epoch=required_number(epoch, "epoch"),
        train_loss=number(epoch, "train_loss"),
        figure=number(epoch, "eval"),
        loss=number(epoch, "eval_loss"),
    )
