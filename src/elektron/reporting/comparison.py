"""Several runs side by side: their figures with the best marked, and the settings that differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from elektron.reporting import wording
from elektron.reporting.reading import number
from elektron.reporting.runs import Run


@dataclass(frozen=True)
class Column:
    """A figure of a run's summary."""

    name: str
    title: str
    write: Callable[[float | None], str]
    better: Literal["high", "low"] | None = None
    of_text: bool = False
    """Whether the figure depends on the text, so that only runs on the same text compare."""


COLUMNS = [
    Column("generator_loss", "generator loss", lambda v: wording.decimal(v, 3), "low", True),
    Column("generator_accuracy", "generator accuracy", wording.percent, "high", True),
    Column("discriminator_auc", "AUC", lambda v: wording.decimal(v, 3), "high", True),
    Column(
        "discriminator_loss", "discriminator loss", lambda v: wording.decimal(v, 3), "low", True
    ),
    Column("correction_loss", "correction loss", lambda v: wording.decimal(v, 3), "low", True),
    Column("correction_accuracy", "correction accuracy", wording.percent, "high", True),
    Column("discriminator_precision", "precision", wording.percent, "high", True),
    Column("discriminator_recall", "recall", wording.percent, "high", True),
    Column("steps", "steps", wording.whole),
    Column("tokens", "tokens", wording.short),
    Column("seconds", "time", wording.duration),
    Column("tokens_per_second", "tokens/s", wording.whole, "high"),
    Column("flops", "FLOPs", wording.scientific),
]


@dataclass(frozen=True)
class Cell:
    """A figure in the table."""

    text: str
    best: bool
    interval: str = ""


def shown(runs: list[Run]) -> list[Column]:
    """Those of COLUMNS that any of the runs has."""
    return [
        column
        for column in COLUMNS
        if any(number(_figures(run), column.name) is not None for run in runs)
    ]


def table(runs: list[Run]) -> list[list[Cell]]:
    """A row for each run, with a cell for each column that is `shown`."""
    columns = [_cells(column, runs) for column in shown(runs)]
    return [list(row) for row in zip(*columns, strict=True)] or [[] for _ in runs]


def same_text(runs: list[Run]) -> bool:
    """Whether all runs were made of the same blocks, so that losses can be compared."""
    return all(run.corpus == runs[0].corpus for run in runs)


def _cells(column: Column, runs: list[Run]) -> list[Cell]:
    figures = [number(_figures(run), column.name) for run in runs]
    texts = [column.write(figure) for figure in figures]
    best = None
    if column.better and (same_text(runs) or not column.of_text):
        finished = (figure for run, figure in zip(runs, figures, strict=True) if run.finished)
        best = best_written(finished, column.write, column.better == "low")
    return [
        Cell(text, run.finished and text == best) for run, text in zip(runs, texts, strict=True)
    ]


def best_written(
    figures: Iterable[float | None], write: Callable[[float | None], str], less_is_better: bool
) -> str | None:
    """How the best figure is written; what looks equal is equally good, and none is best if all look so."""
    known = [figure for figure in figures if figure is not None]
    if len(set(map(write, known))) < 2:
        return None
    return write(min(known) if less_is_better else max(known))


def _figures(run: Run) -> dict[str, Any]:
    """The summary, or what is known of an unfinished run under the summary's names."""
    return {"steps": run.position.get("step")} | run.position | run.latest


@dataclass(frozen=True)
class Setting:
    """A setting and its value in each run."""

    name: str
    values: list[Any]
    """None also where a run does not have it."""

    @property
    def differs(self) -> bool:
        return any(value != self.values[0] for value in self.values)


@dataclass(frozen=True)
class Settings:
    """All settings, and those that tell the runs apart."""

    differing: list[Setting]
    groups: dict[str, list[Setting]]
    """By the part before the dot; settings outside any group come first, under ``""``."""


class Configured(Protocol):
    """What has settings, under their dotted names."""

    @property
    def config(self) -> dict[str, Any]: ...


def settings(runs: Sequence[Configured]) -> Settings:
    """The configurations side by side."""
    names = list(dict.fromkeys(name for run in runs for name in run.config))
    found = [Setting(name, [run.config.get(name) for run in runs]) for name in names]
    groups: dict[str, list[Setting]] = {"": []}
    for setting in found:
        groups.setdefault(setting.name.partition(".")[0] if "." in setting.name else "", []).append(
            setting
        )
    return Settings([setting for setting in found if setting.differs], groups)
