"""The tables of a fine-tuned model's page: figures, runs, settings, classes."""

from __future__ import annotations

from dataclasses import dataclass

from elektron.configuration import format_value
from elektron.reporting import wording
from elektron.reporting.drawing import Look, look
from elektron.reporting.results import Confusion, Figures, Result, Tuning
from elektron.reporting.seeds import SIDES, Trial, chosen, settings_tried, trials

# A confusion matrix with more classes is told by its most confused pairs.
WIDEST_MATRIX = 30
MOST_PAIRS = 20
MOST_CLASSES = 40


@dataclass(frozen=True)
class FigureRow:
    """A line of the table of all figures."""

    title: str
    value: str
    interval: str
    baseline: str
    meaning: str
    note: str


def figures(result: Result) -> list[FigureRow]:
    """All figures of the reported rows."""
    baseline = result.details.baseline
    rows = []
    for name, value in result.figures.items():
        kind = result.kind(name)
        constant = baseline.figures.get(name) if baseline else None
        rows.append(
            FigureRow(
                title=kind.title,
                value=kind.write(value),
                interval=kind.write_interval(result.intervals.get(name)),
                baseline="" if constant is None else kind.write(constant),
                meaning=kind.meaning,
                note=result.details.notes.get(name, ""),
            )
        )
    return rows


@dataclass(frozen=True)
class RunName:
    """A run and how it is told from the others."""

    run: Tuning
    look: Look


def run_names(result: Result) -> list[RunName]:
    """Every run with its look."""
    return [RunName(run, look(index)) for index, run in enumerate(result.runs)]


@dataclass(frozen=True)
class RunsTable:
    """Every run there was."""

    settings: list[str]
    """Names of those that differ."""
    test: bool
    """Whether any was scored on test rows."""
    rows: list[RunRow]


@dataclass(frozen=True)
class RunRow:
    """A run in the table."""

    name: RunName
    side: str
    seed: str
    settings: list[str]
    kept_epoch: str
    evaluation: str
    best: bool
    """Whether it is the best of its side on eval."""
    test: str
    seconds: str


def runs_table(result: Result) -> RunsTable:
    """The runs side by side."""
    kind, tried = result.kind(result.figure), settings_tried(result.runs)
    best = {
        side: max(
            (run.evaluation[result.figure] for run in result.runs
             if run.side == side and result.figure in run.evaluation),
            default=None,
        )
        for side in SIDES
    }  # fmt: skip
    rows = [
        RunRow(
            name=RunName(run, look(index)),
            side=SIDES[run.side],
            seed=wording.NOTHING if run.seed is None else str(run.seed),
            settings=[format_value(run.settings.get(name)) for name in tried],
            kept_epoch=_short_number(run.kept_epoch),
            evaluation=kind.write(run.evaluation.get(result.figure)),
            best=len(result.runs) > 1
            and best[run.side] is not None
            and run.evaluation.get(result.figure) == best[run.side],
            test=kind.write(run.test.get(result.figure)),
            seconds=wording.duration(run.seconds),
        )
        for index, run in enumerate(result.runs)
    ]
    return RunsTable(tried, any(run.test for run in result.runs), rows)


def _short_number(value: float | None) -> str:
    return wording.NOTHING if value is None else f"{value:.3g}"


@dataclass(frozen=True)
class Search:
    """The settings that were tried."""

    settings: list[str]
    rows: list[SearchRow]


@dataclass(frozen=True)
class SearchRow:
    """One combination of settings."""

    side: str
    settings: list[str]
    seeds: int
    evaluation: str
    chosen: bool


def search_table(result: Result) -> Search | None:
    """The settings that were tried, by what they gave on eval; None where there was no choice."""
    tried, kind = settings_tried(result.runs), result.kind(result.figure)
    if not tried:
        return None
    taken = [chosen(result, side) for side in SIDES]
    rows = [
        SearchRow(
            side=SIDES[trial.side],
            settings=[format_value(trial.settings.get(name)) for name in tried],
            seeds=len(trial.runs),
            evaluation=kind.write(_first(trial, result.figure)),
            chosen=trial in taken,
        )
        for trial in trials(result.runs)
    ]
    return Search(tried, rows)


def _first(trial: Trial, figure: str) -> float | None:
    """What the first seed gave on eval: the search knows no other."""
    return trial.runs[0].evaluation.get(figure)


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix as a table."""

    labels: list[str]
    rows: list[list[MatrixCell]]


@dataclass(frozen=True)
class MatrixCell:
    """How many rows of a class were taken for another."""

    count: int
    share: float
    """Of the true class."""
    right: bool


def matrix(confusion: Confusion | None) -> Matrix | None:
    """The matrix, shaded by share of the true class; None for more classes than a page is wide."""
    if confusion is None or not 0 < len(confusion.labels) <= WIDEST_MATRIX:
        return None
    rows = [
        [
            MatrixCell(count, min(1.0, max(0.0, count / max(1, sum(counts)))), row == column)
            for column, count in enumerate(counts)
        ]
        for row, counts in enumerate(confusion.counts)
    ]
    return Matrix(confusion.labels, rows)


@dataclass(frozen=True)
class Pair:
    """A class that was taken for another."""

    truth: str
    taken_for: str
    count: int
    share: float
    """Of the true class."""


def confused_pairs(confusion: Confusion | None) -> list[Pair]:
    """Of more classes than a matrix shows, those that are taken for one another most often."""
    if confusion is None or len(confusion.labels) <= WIDEST_MATRIX:
        return []
    pairs = [
        Pair(truth, taken, count, count / max(1, sum(counts)))
        for truth, counts in zip(confusion.labels, confusion.counts, strict=True)
        for taken, count in zip(confusion.labels, counts, strict=True)
        if truth != taken and count > 0
    ]
    return sorted(pairs, key=lambda pair: -pair.count)[:MOST_PAIRS]


@dataclass(frozen=True)
class PerClass:
    """Figures by class."""

    rows: dict[str, Figures]
    left_out: int
    """Classes of higher F1 that the table does without."""


def per_class(result: Result) -> PerClass:
    """In their own order; of very many classes those of the lowest F1."""
    known = result.details.per_class
    if len(known) <= MOST_CLASSES:
        return PerClass(known, 0)
    lowest = sorted(known.items(), key=lambda item: item[1].get("f1", 0.0))[:MOST_CLASSES]
    return PerClass(dict(lowest), len(known) - MOST_CLASSES)
