"""The page on a fine-tuned model, or on several side by side.

What the page says is gathered here; how it looks is in `task_report.html.jinja`, for several in
`task_comparison.html.jinja`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from elektron.configuration import written
from elektron.evidence import comparison, page, predictions, task_charts, wording
from elektron.evidence.drawing import Look, look
from elektron.evidence.headline import Headline
from elektron.evidence.kinds import Kind
from elektron.evidence.reading import Record, number
from elektron.evidence.results import Confusion, Figures, Result, Tuning, read_result
from elektron.evidence.seeds import (
    SIDES,
    Spread,
    Trial,
    Worth,
    chosen,
    settings_tried,
    trials,
    was_it_worth_it,
)
from elektron.evidence.usage import usage

REPORT = "report.html"
TASKS = {
    "classification": "Text classification",
    "regression": "Regression on text",
    "token-classification": "Token classification",
    "question-answering": "Question answering",
    "multiple-choice": "Multiple choice",
    "translation": "Translation",
    "summarization": "Summarization",
    "generation": "Text generation",
}
# The figures that stand in tiles, after the one that the runs go by.
TILES = ["accuracy", "f1", "mcc", "spearman", "mae", "exact_match", "chrf", "bleu", "rouge2"]
MOST_TILES = 4
# A confusion matrix with more classes is told by its most confused pairs.
WIDEST_MATRIX = 30
MOST_PAIRS = 20
MOST_CLASSES = 40


def write_report(folder: Path) -> Path:
    """Write `report.html` into the folder of a fine-tuned model; the path of the file.

    Raises:
        ElektronError: a file in the folder is damaged, or the page cannot be written.
    """
    out = folder / REPORT
    page.write_page(out, render([read_result(folder)]))
    return out


def plot(folder: Path) -> Path | None:
    """Draw `plot.png` into the folder; the path of the file, None where there is nothing to draw.

    Raises:
        ElektronError: a file in the folder is damaged, or the picture cannot be written.
    """
    return task_charts.plot(read_result(folder))


def render(results: Sequence[Result]) -> str:
    """The page on one fine-tuned model or several."""
    if len(results) == 1:
        return page.render("task_report.html.jinja", **_content(results[0]))
    return page.render("task_comparison.html.jinja", **_side_by_side(results))


def _content(result: Result) -> Record:
    """What the page on one model says."""
    worth = was_it_worth_it(result)
    spreads = seed_spreads(result)
    return {
        "result": result,
        "details": result.details,
        "task": task_name(result),
        "lead": lead(result),
        "headlines": headlines(result),
        "figures": figures(result),
        "warnings": warnings(result),
        "facts": facts(result),
        "charts": task_charts.learning_curves(result),
        "run_names": [RunName(run, look(index)) for index, run in enumerate(result.runs)],
        "runs": runs_table(result),
        "search": search_table(result),
        "seeds": seeds_sentences(result, spreads),
        "worth": worth,
        "main": result.kind(result.figure),
        "baseline": _baseline_figure(result),
        "dots": _dots(result, worth, spreads),
        "matrix": matrix(result.details.confusion),
        "pairs": confused_pairs(result.details.confusion),
        "per_class": per_class(result),
        "scatter": task_charts.scatter(result),
        "examples": predictions.examples(result),
        "usage": usage(result),
        "settings": comparison.settings([result]),
    }


def task_name(result: Result) -> str:
    """The task in words."""
    return TASKS.get(result.task, result.task or "A task")


def short_model(result: Result) -> str:
    """The end of the pretrained model's path, which tells it from others."""
    return "/".join(Path(result.model).parts[-2:]) or "an encoder"


def written_figure(result: Result, name: str) -> str:
    """A figure with its interval: `83.0 % (81.0 to 85.0 %)`."""
    kind, value = result.kind(name), result.figures.get(name)
    interval = kind.write_interval(result.intervals.get(name))
    return kind.write(value) + (f" ({interval})" if interval else "")


def rows_in_words(result: Result) -> str:
    """`5,000 test rows`."""
    rows = f"{wording.whole(result.rows)} " if result.rows is not None else ""
    split = "evaluation" if result.split == "eval" else result.split
    return f"{rows}{split} rows".replace("  ", " ")


def lead(result: Result) -> str:
    """What was learned, how well, and against what."""
    kind = result.kind(result.figure)
    interval = kind.write_interval(result.intervals.get(result.figure))
    rows = result.details.rows.get("train")
    on = f" on {wording.whole(rows)} rows" if rows is not None else ""
    inside = f" (95 % interval {interval})" if interval else ""
    return (
        f"{short_model(result)}, fine-tuned{on}. {kind.title} is "
        f"{kind.write(result.figures.get(result.figure))}{inside} on {rows_in_words(result)}."
        f"{against_baseline(result)}"
    )


def against_baseline(result: Result) -> str:
    """The main figure against what needs no reading, in a sentence; empty without a baseline."""
    value, reached = _baseline_figure(result), result.figures.get(result.figure)
    if result.details.baseline is None or value is None or reached is None:
        return ""
    name, kind = result.details.baseline.name, result.kind(result.figure)
    low, high = result.intervals.get(result.figure, (reached, reached))
    said = f" Without reading, {name} gets {kind.write(value)}"
    if low <= value <= high:
        return f"{said}: the model is not clearly better."
    worse = reached > value if kind.less_is_better else reached < value
    return f"{said}: the model is worse than that." if worse else f"{said}."


def _baseline_figure(result: Result) -> float | None:
    baseline = result.details.baseline
    return baseline.figures.get(result.figure) if baseline else None


def headlines(result: Result) -> list[Headline]:
    """The figures that say how good the model is."""
    names = dict.fromkeys([result.figure, *TILES, *result.figures])
    known = [name for name in names if name in result.figures and name != "loss"]
    return [
        Headline(kind.title, kind.write(result.figures[name]), "", _tile_meaning(result, name))
        for name in known[:MOST_TILES]
        for kind in [result.kind(name)]
    ]


def _tile_meaning(result: Result, name: str) -> str:
    kind = result.kind(name)
    interval = kind.write_interval(result.intervals.get(name))
    return f"95 % interval {interval}. {kind.meaning}" if interval else kind.meaning


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


def warnings(result: Result) -> list[str]:
    """What a reader of the figures must know."""
    found = list(result.details.warnings)
    kept = result.kept
    if kept is not None and kept.collapsed and not any(kept.collapsed in said for said in found):
        found.append(f"{kept.name} has collapsed: {kept.collapsed}")
    if number(result.details.hand_over, "loaded_weights") == 0 and not _from_scratch(result):
        found.append("no weights were handed over: the encoder began from random ones")
    same = result.details.chosen_on == result.details.reported_on != ""
    if same and not any("chosen on" in said for said in found):
        found.append(
            "the figures are of the rows that the model was chosen on, and flatter it: "
            "rows that nothing was chosen on would give fairer ones"
        )
    return found


def _from_scratch(result: Result) -> bool:
    return result.model.startswith("scratch:")


def facts(result: Result) -> list[tuple[str, str]]:
    """What was trained on what, as names and values."""
    details = result.details
    counted = {"train": "training rows", "eval": "evaluation rows", "test": "test rows"}
    kept = result.kept
    known = [
        ("pretrained model", result.model),
        *(
            (words, wording.whole(details.rows.get(name) or None))
            for name, words in counted.items()
        ),
        ("weights handed over", wording.short(number(details.hand_over, "loaded_weights"))),
        ("new weights", wording.short(number(details.hand_over, "new_weights"))),
        ("chosen on", details.chosen_on),
        ("time to train it", wording.duration(kept.seconds if kept else None)),
        ("device", details.device),
    ]
    return [(name, value) for name, value in known if value and value != wording.NOTHING]


@dataclass(frozen=True)
class RunName:
    """A run and how it is told from the others."""

    run: Tuning
    look: Look


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
            settings=[written(run.settings.get(name)) for name in tried],
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
            settings=[written(trial.settings.get(name)) for name in tried],
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


def seed_spreads(result: Result) -> dict[str, Spread]:
    """What the seeds of the chosen settings gave, by split; empty with less than two seeds."""
    trial = chosen(result, "pretrained") or chosen(result, "scratch")
    if trial is None or len(trial.runs) < 2:
        return {}
    spreads = {split: trial.spread(split, result.figure) for split in ("eval", "test")}
    return {split: spread for split, spread in spreads.items() if spread is not None}


def seeds_sentences(result: Result, spreads: dict[str, Spread]) -> list[str]:
    """Median and spread over seeds, a sentence a split."""
    kind = result.kind(result.figure)
    return [
        f"{kind.title} on {split}: median {kind.write(spread.median)} of "
        f"{len(spread.values)} seeds, from {kind.write_interval(spread.ends)}."
        for split, spread in spreads.items()
    ]


def _dots(result: Result, worth: Worth | None, spreads: dict[str, Spread]) -> Markup | None:
    kind = result.kind(result.figure)
    if worth is not None:
        sides = {side.name: side.spread for side in worth.sides}
        return task_charts.dots(sides, kind, worth.split, "worth")
    if not spreads:
        return None
    split = list(spreads)[-1]
    return task_charts.dots({"seeds": spreads[split]}, kind, split, "seeds")


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


@dataclass(frozen=True)
class Compared:
    """A model beside others."""

    result: Result
    look: Look
    task: str
    figures: list[comparison.Cell]
    facts: list[tuple[str, str]]
    warnings: list[str]
    worth: Worth | None
    seeds: list[str]


def _side_by_side(results: Sequence[Result]) -> Record:
    """What the page on several models says."""
    shared = same_test(results)
    names = compared_figures(results)
    cells = [_cells(results, name, shared) for name in names]
    kinds = [_kind_of(results, name) for name in names]
    main = results[0].figure
    same_task = len({result.task for result in results}) == 1
    return {
        "compared": [
            Compared(
                result=result,
                look=look(index),
                task=task_name(result),
                figures=[column[index] for column in cells],
                facts=facts(result),
                warnings=warnings(result),
                worth=was_it_worth_it(result),
                seeds=seeds_sentences(result, seed_spreads(result)),
            )
            for index, result in enumerate(results)
        ],
        "kinds": kinds,
        "shared": shared,
        "intervals": task_charts.intervals(results, main) if same_task else None,
        "main": results[0].kind(main),
        "settings": comparison.settings(results),
    }


def same_test(results: Sequence[Result]) -> bool:
    """Whether all were scored on the same rows, as far as their settings tell."""

    def reported(result: Result) -> tuple[object, ...]:
        files = str(result.config.get(result.split))
        held_out = str(result.config.get("train")) if result.split == "eval" else ""
        return result.task, result.split, files, held_out, result.rows

    return all(reported(result) == reported(results[0]) for result in results)


def compared_figures(results: Sequence[Result]) -> list[str]:
    """The main figures first, then those that stand in tiles."""
    mains = [result.figure for result in results]
    names = dict.fromkeys([*mains, *TILES, "loss"])
    return [name for name in names if any(name in result.figures for result in results)][:6]


def _kind_of(results: Sequence[Result], name: str) -> Kind:
    return next(result.kind(name) for result in results if name in result.figures)


def _cells(results: Sequence[Result], name: str, shared: bool) -> list[comparison.Cell]:
    """A figure of every model; the best is marked where they were scored on the same rows."""
    texts = [
        result.kind(name).write(value) if (value := result.figures.get(name)) is not None else ""
        for result in results
    ]
    known = {result.figures[name] for result in results if name in result.figures}
    best = None
    if shared and len({text for text in texts if text}) > 1:
        best = min(known) if results[0].kind(name).less_is_better else max(known)
    winner = None if best is None else results[0].kind(name).write(best)
    return [
        comparison.Cell(written_figure(result, name) if text else wording.NOTHING, text == winner)
        for result, text in zip(results, texts, strict=True)
    ]
