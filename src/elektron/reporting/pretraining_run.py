"""Reads the folder of a pre-training run, which may still be in progress."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from elektron.configuration import read_yaml
from elektron.errors import ElektronError
from elektron.io.files import from_json
from elektron.pretraining.config import CONFIG, CORPUS, EXAMPLES, METRICS, SUMMARY
from elektron.reporting.reading import Record, distinct_names, flat, mapping, number, read_json, read_lines
from elektron.reporting.task_result import TaskResult, is_task_result, read_task_result

DOWNSTREAM = "downstream"
"""Folder in a run with a fine-tuned model and the same network trained from scratch, for the report."""


@dataclass(frozen=True)
class Example:
    """A held-out text after corruption; all lists have one entry per token."""

    tokens: list[str]
    """Wordpieces that the discriminator read; `##` continues a word."""
    original: list[str]
    masked: list[bool]
    replaced: list[bool]
    """Whether the token differs from the original."""
    probability: list[float | None]
    """The discriminator's probability of "replaced"."""

    def __post_init__(self) -> None:
        if len({len(getattr(self, name)) for name in self.__dataclass_fields__}) > 1:
            raise ValueError("the lists of an example differ in length")


@dataclass
class Metrics:
    """The lines of `metrics.jsonl` by kind, in the order of the file."""

    train: list[Record] = field(default_factory=list)
    evaluation: list[Record] = field(default_factory=list)
    alarm: list[Record] = field(default_factory=list)
    resumed: list[Record] = field(default_factory=list)
    unreadable: int = 0
    """Number of damaged lines, except a last line that is still being written."""


@dataclass(frozen=True)
class PretrainingRun:
    """The content of a run's folder."""

    folder: Path
    name: str
    config: dict[str, Any]
    """Settings under dotted names."""
    metrics: Metrics
    summary: Record | None
    """Final metrics; None while the run is in progress."""
    corpus: Record | None
    examples: list[Example]
    downstream: TaskResult | None
    """Result of fine-tuning the pre-trained network, compared with the same network from scratch."""

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self.summary is not None

    @property
    def latest(self) -> Record:
        """The newest metrics: the summary, else the last evaluation, else the last training line."""
        if self.summary is not None:
            return self.summary
        lines = self.metrics.evaluation or self.metrics.train
        return lines[-1] if lines else {}

    @property
    def position(self) -> Record:
        """The last line of metrics, for its `step`, `tokens` and `seconds`."""
        ends = [lines[-1] for lines in (self.metrics.train, self.metrics.evaluation) if lines]
        return max(ends, key=lambda line: number(line, "step") or 0.0, default={})

    @property
    def progress(self) -> Record:
        """Steps, tokens, time and metrics, now or at the end of the run, under the names of the summary."""
        position = self.position
        return {"steps": position.get("step")} | position | self.latest


def read_runs(folders: Iterable[Path]) -> list[PretrainingRun]:
    """Read each run once; its name is the shortest end of its path that distinguishes it.

    Raises:
        ElektronError: no folder is given, or one is not a readable run.
    """
    runs = [read_run(path) for path in {path.resolve(): path for path in folders}.values()]
    if not runs:
        raise ElektronError("no run to report on: give folders that `elektron pretrain` wrote")
    names = distinct_names([run.folder for run in runs])
    return [replace(run, name=name) for run, name in zip(runs, names, strict=True)]


def read_run(folder: Path) -> PretrainingRun:
    """Read the folder of a run.

    Raises:
        ElektronError: it is not such a folder, or a file in it is damaged.
    """
    for name in (CONFIG, METRICS):
        if not (folder / name).is_file():
            raise ElektronError(f"{folder} is not the folder of a run, it has no {name}: {_advice(folder)}")
    downstream = folder / DOWNSTREAM
    return PretrainingRun(
        folder=folder,
        name=folder.resolve().name,
        config=flat(read_yaml(folder / CONFIG)),
        metrics=_read_metrics(folder / METRICS),
        summary=read_json(folder / SUMMARY, mapping),
        corpus=read_json(folder / CORPUS, mapping),
        examples=read_json(folder / EXAMPLES, lambda x: from_json(x, list[Example], "the file", lenient=True)) or [],
        downstream=read_task_result(downstream) if is_task_result(downstream) else None,
    )


def _advice(folder: Path) -> str:
    inside = sorted(path.parent for path in folder.glob(f"*/{METRICS}"))
    if inside:
        return f"did you mean {inside[0]}?"
    if (folder / CONFIG).is_file():
        return "a run has it once its first metrics are logged"
    return "give a folder that `elektron pretrain` or `elektron finetune` wrote"


def _read_metrics(path: Path) -> Metrics:
    metrics = Metrics()
    kinds = {name: getattr(metrics, name) for name in ("train", "evaluation", "alarm", "resumed")}
    for record in read_lines(path, growing=True):
        if record is None:
            metrics.unreadable += 1
        elif (kind := str(record.get("kind"))) in kinds:
            kinds[kind].append(record)
    return metrics
