"""The folder of a pre-training run, read for people: `read_run` gives one `Run`.

A run may still be in progress. Its metrics are read line by line and a line that was cut short is
left out; its summary, examples and second act may not be there yet. A file that is there but
damaged is an error, because a report without it would look whole. What the files hold is taken as
data of unknown origin: figures are read through `number`, which knows nothing but finite numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from elektron.configuration import read_yaml
from elektron.errors import ElektronError
from elektron.pretraining.config import CONFIG, CORPUS, EXAMPLES, METRICS, SUMMARY
from elektron.reporting.reading import (
    Record,
    flat,
    listed,
    mapping,
    number,
    read_json,
    required_number,
    told_apart,
)
from elektron.reporting.worth import Spread

SECOND_ACT = "second_act.json"


@dataclass(frozen=True)
class Example:
    """A held-out text after corruption; all lists are of one length, an entry a token."""

    tokens: list[str]
    """Wordpieces that the discriminator read; `##` begins one that goes on a word."""
    original: list[str]
    """Wordpieces of the text as it was."""
    masked: list[bool]
    """Whether the generator had to fill in here."""
    replaced: list[bool]
    """Whether the token differs from the original."""
    probability: list[float]
    """The discriminator's probability of "replaced"."""


@dataclass(frozen=True)
class SecondAct:
    """Fine-tuning the pre-trained network against the same network from random weights."""

    task: str
    classes: list[str]
    train_documents: int
    test_documents: int
    majority_accuracy: float
    """Accuracy of always answering the commonest class."""
    pretrained: Spread
    """Accuracy on the test documents."""
    scratch: Spread

    @property
    def sides(self) -> dict[str, Spread]:
        """By the names of the networks."""
        return {"pre-trained": self.pretrained, "from scratch": self.scratch}


@dataclass
class Metrics:
    """The lines of `metrics.jsonl` by kind, in the order of the file."""

    train: list[Record] = field(default_factory=list)
    evaluation: list[Record] = field(default_factory=list)
    alarm: list[Record] = field(default_factory=list)
    resumed: list[Record] = field(default_factory=list)
    unreadable: int = 0
    """Lines that could not be read, a last one that is still being written not among them."""


@dataclass(frozen=True)
class Run:
    """What a run's folder holds."""

    folder: Path
    name: str
    config: dict[str, Any]
    """Settings under their dotted names."""
    metrics: Metrics
    summary: Record | None
    """Final figures; None while the run is in progress."""
    corpus: Record | None
    examples: list[Example]
    second_act: SecondAct | None

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return self.summary is not None

    @property
    def latest(self) -> Record:
        """The newest figures there are: the summary, else the last evaluation, else training's."""
        if self.summary is not None:
            return self.summary
        lines = self.metrics.evaluation or self.metrics.train
        return lines[-1] if lines else {}

    @property
    def position(self) -> Record:
        """Where the run stands (`step`, `tokens`, `seconds`): its last line of metrics."""
        ends = [lines[-1] for lines in (self.metrics.train, self.metrics.evaluation) if lines]
        return max(ends, key=lambda line: number(line, "step") or 0.0, default={})


def read_runs(folders: Iterable[Path]) -> list[Run]:
    """Each run once, under the shortest ends of their paths that tell them apart.

    Raises:
        ElektronError: no folder is given, or one is not a readable run.
    """
    runs = [
        read_run(folder) for folder in {folder.resolve(): folder for folder in folders}.values()
    ]
    if not runs:
        raise ElektronError("no run to report on: give folders that `elektron pretrain` wrote")
    names = told_apart([run.folder for run in runs])
    return [replace(run, name=name) for run, name in zip(runs, names, strict=True)]


def read_run(folder: Path) -> Run:
    """What the folder of a run holds.

    Raises:
        ElektronError: there is no such folder, it is not a run's, or a file in it is damaged.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ElektronError(f"{folder} {what}: give a folder that `elektron pretrain` wrote")
    for name in (CONFIG, METRICS):
        if not (folder / name).is_file():
            raise ElektronError(f"{folder} is no run's folder, it has no {name}: {_advice(folder)}")
    return Run(
        folder=folder,
        name=folder.resolve().name,
        config=flat(read_yaml(folder / CONFIG)),
        metrics=_read_metrics(folder / METRICS),
        summary=read_json(folder / SUMMARY, mapping),
        corpus=read_json(folder / CORPUS, mapping),
        examples=read_json(folder / EXAMPLES, _examples) or [],
        second_act=read_json(folder / SECOND_ACT, _second_act),
    )


def _advice(folder: Path) -> str:
    inside = sorted(path.parent for path in folder.glob(f"*/{METRICS}"))
    if inside:
        return f"did you mean {inside[0]}?"
    if (folder / CONFIG).is_file():
        return "a run has it once its first metrics are logged"
    return "give a folder that `elektron pretrain` wrote"


def _read_metrics(path: Path) -> Metrics:
    """The lines of a file that may be growing."""
    metrics = Metrics()
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if not line.strip():
                    continue
                try:
                    record = mapping(json.loads(line, parse_constant=lambda _: None))
                except (ValueError, TypeError, RecursionError):
                    metrics.unreadable += line.endswith("\n")
                    continue
                of_kind = {
                    "train": metrics.train,
                    "evaluation": metrics.evaluation,
                    "alarm": metrics.alarm,
                    "resumed": metrics.resumed,
                }.get(str(record.get("kind")))
                if of_kind is not None:
                    of_kind.append(record)
    except OSError as error:
        raise ElektronError(f"{path}: cannot be read ({error.strerror})") from error
    return metrics


def _examples(content: Any) -> list[Example]:
    return [_example(mapping(example)) for example in listed(content, "the file")]


def _example(example: Record) -> Example:
    columns = {name: listed(example[name], name) for name in Example.__dataclass_fields__}
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError("the lists of an example differ in length")
    probability = [number({"p": p}, "p") for p in columns["probability"]]
    return Example(
        tokens=[str(token) for token in columns["tokens"]],
        original=[str(token) for token in columns["original"]],
        masked=[bool(masked) for masked in columns["masked"]],
        replaced=[bool(replaced) for replaced in columns["replaced"]],
        probability=[min(1.0, max(0.0, p or 0.0)) for p in probability],
    )


def _second_act(content: Any) -> SecondAct:
    content = mapping(content)
    return SecondAct(
        task=str(content["task"]),
        classes=[str(name) for name in listed(content["classes"], "classes")],
        train_documents=int(required_number(content, "train_documents")),
        test_documents=int(required_number(content, "test_documents")),
        majority_accuracy=required_number(content, "majority_accuracy"),
        pretrained=_accuracies(content["pretrained"]),
        scratch=_accuracies(content["scratch"]),
    )


def _accuracies(content: Any) -> Spread:
    accuracies = listed(mapping(content)["accuracies"], "accuracies")
    if not accuracies:
        raise ValueError("accuracies must not be empty")
    return Spread([required_number({"accuracies": value}, "accuracies") for value in accuracies])
