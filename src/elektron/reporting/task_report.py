"""The report on a fine-tuned model."""

from __future__ import annotations

from pathlib import Path

from elektron.configuration import format_value
from elektron.reporting import charts, page, sections, task_summary
from elektron.reporting.formatting import NOTHING, duration, integer, percent
from elektron.reporting.page import Cell, Inline, Report, Section, Table, named, note, text
from elektron.reporting.predictions import prediction_tables
from elektron.reporting.task_result import SIDES, TaskResult, TrainingRun, read_task_result
from elektron.reporting.usage import task_usage

REPORT = "report.html"
KIND = "fine-tuning report"
TILES = [
    *("accuracy", "f1", "mcc", "spearman", "mae", "exact_match", "chrf", "bleu", "rouge2"),
    *("recall@1", "recall@10"),
]
"""The metrics in tiles and in the table of several models, after the main one."""
MAX_CLASSES = 50
"""Maximum number of classes in a confusion matrix, and in the table by class."""


def write_report(folder: Path) -> Path:
    """Write `report.html` into the folder of a fine-tuned model, and return its path.

    Raises:
        ElektronError: a file in the folder is damaged, or the page cannot be written.
    """
    out = folder / REPORT
    task_report(read_task_result(folder)).write(out)
    return out


def task_report(result: TaskResult) -> Report:
    """Create the report on one fine-tuned model."""
    intervals = (
        "The intervals are percentiles over bootstrap samples of the same rows: they show how much the "
        "metrics vary between sets of rows of the same kind, but not between seeds."
    )
    return Report(
        title=result.name,
        kind=KIND,
        heading=[f"{task_summary.task_name(result)}: {result.name}"],
        lead=task_summary.lead(result),
        blocks=[page.Tiles(tiles(result)), page.Facts(task_summary.facts(result))],
        sections=[
            Section("Warnings", [warnings_block(result)]),
            Section("Privacy", [text(task_summary.privacy_sentence(result.privacy))] if result.privacy else []),
            seeds_section(result),
            _confusion(result),
            _by_class(result),
            _scatter(result),
            _predictions(result),
            Section("All metrics", [metrics_table(result), note(intervals)]),
            _runs(result),
            Section("Use the model", task_usage(result)),
            sections.settings_section([(Cell(result.name), result.config)], "run"),
            sections.versions_section([(Cell(result.name), result.details.versions)]),
        ],
    )


def tiles(result: TaskResult) -> list[page.Tile]:
    """The metrics that say how good the model is."""
    names = dict.fromkeys([result.metric, *TILES, *result.metrics])
    shown = [name for name in names if name in result.metrics and name != "loss"][:4]
    made = []
    for name in shown:
        metric = result.format(name)
        interval = metric.format_interval(result.intervals.get(name))
        meaning = f"95 % interval {interval}. {metric.meaning}" if interval else metric.meaning
        made.append(page.Tile(metric.title, metric.format_value(result.metrics[name]), meaning))
    return made


def warnings_block(result: TaskResult) -> page.Warnings:
    """The warnings about a model as a block."""
    return page.Warnings([[warning] for warning in task_summary.warnings(result)], "No warnings.")


def seeds_section(result: TaskResult, chart_name: str = "gain") -> Section:
    """A section on whether pre-training was worth it, or on how far seeds differ, with a chart of that name."""
    metric = result.format(result.metric)
    gain, spreads = task_summary.pretraining_gain(result), task_summary.seed_spreads(result)
    if gain is not None:
        sides, split, verdict = gain
        searched = " Each has the settings that were best for it on eval." if result.varied_settings else ""
        remark = (
            f"On {split} rows. Both sides are the same network and were trained on the same rows; "
            f"“from scratch” starts from random weights.{searched} Dots are seeds, bars are medians."
        )
        table = sections.sides_table(sides, metric, result.of_baselines(result.metric))
        dots = page.Chart(charts.dots_of_seeds(sides, metric, split, chart_name))
        blocks = [text(verdict), page.Group("beside", [table, dots]), note(remark)]
        return Section("Was pre-training worth it?", blocks)
    if not spreads:
        return Section("Seeds", [])
    split, spread = list(spreads.items())[-1]
    dots = page.Chart(charts.dots_of_seeds({"seeds": spread}, metric, split, chart_name))
    sentences = page.Group("", [text(sentence) for sentence in task_summary.seeds_sentences(result)])
    remark = (
        "A seed decides the new weights, the order of the rows and dropout. Dots are seeds, the "
        "bar is the median. The seed that is best on eval is kept."
    )
    return Section("Seeds", [page.Group("beside", [sentences, dots]), note(remark)])


def _confusion(result: TaskResult) -> Section:
    confusion, blocks = result.details.confusion, list[page.Block]()
    if confusion is None:
        return Section("Confusion matrix", [])
    labels = confusion.labels
    if 0 < len(labels) <= MAX_CLASSES:
        remark = (
            "A row for each true class. The shade is the square root of the fraction of the row, so "
            "that rare errors can be seen; correct predictions are framed."
        )
        blocks += [page.Matrix(labels, confusion.counts), note(remark)]
    if len(labels) > 10:  # a confused pair is hard to find in a large matrix
        pairs = [
            (count, true, predicted, count / sum(counts))
            for true, counts in zip(labels, confusion.counts, strict=True)
            for predicted, count in zip(labels, counts, strict=True)
            if true != predicted and count > 0
        ]
        pairs = sorted(pairs, key=lambda pair: -pair[0])[:20]
        rows = [[true, predicted, integer(count), percent(fraction)] for count, true, predicted, fraction in pairs]
        table = Table(["true", "predicted", "rows", "of the true class"], rows, left=[1])
        blocks += [page.Heading(f"Most confused of {len(labels)} classes"), table] if rows else []
    return Section("Confusion matrix", blocks)


def _by_class(result: TaskResult) -> Section:
    classes = list(result.details.per_class.items())
    remark = []
    if len(classes) > MAX_CLASSES:
        remark = [note(f"The {MAX_CLASSES} classes of lowest F1, of {len(classes)}.")]
        classes = sorted(classes, key=lambda item: item[1].get("f1", 0.0))[:MAX_CLASSES]
    rows: list[list[Inline]] = []
    for name, values in classes:
        scores = [percent(values.get(metric)) for metric in ("precision", "recall", "f1")]
        rows.append([name, *scores, Cell(bar=values.get("f1", 0.0)), integer(values.get("support"))])
    table = Table(["class", "precision", "recall", "F1", "", "rows"], rows)
    return Section("By class", [table, *remark] if rows else [])


def _scatter(result: TaskResult) -> Section:
    points = result.details.scatter
    if not points:
        return Section("Predicted against true", [])
    svg = charts.inline_svg(charts.scatter(points), "scatter", "Predicted against true numbers")
    caption = f"{len(points):,} rows. On the dashed line predictions are right."
    return Section("Predicted against true", [page.Chart(svg, caption, size="square")])


def _predictions(result: TaskResult) -> Section:
    blocks = prediction_tables(result)
    remark = "All rows are in predictions.jsonl; long texts are shortened here."
    if result.task == "token-classification":
        remark += " Underlined tokens have a wrong tag; the correct one is struck through beside it."
    return Section("Predictions", [*blocks, note(remark)] if blocks else [])


def metrics_table(result: TaskResult, meanings: bool = True) -> Table:
    """All metrics of the reported rows."""
    rows: list[list[Inline]] = []
    for name, value in result.metrics.items():
        metric = result.format(name)
        interval = metric.format_interval(result.intervals.get(name))
        row: list[Inline] = [metric.title, metric.format_value(value), interval]
        of_baselines = [baseline.metrics.get(name) for baseline in result.baselines]
        row += ["" if value is None else metric.format_value(value) for value in of_baselines]
        if meanings:
            row.append(Cell(metric.meaning, below=[(result.details.notes.get(name, ""), "")]))
        rows.append(row)
    names = [baseline.name for baseline in result.baselines]
    head = ["metric", "value", "95 % interval", *names, *(["meaning"] if meanings else [])]
    return Table(head, rows, left=[len(head) - 1] if meanings else ())


def _runs(result: TaskResult) -> Section:
    several, drawn = len(result.runs) > 1, learning_curves(result)
    blocks: list[page.Block] = [runs_table(result)] if several else []
    if result.varied_settings:
        remark = (
            "Settings were searched with the first seed. The chosen ones are those that were best on eval, so that "
            "their value there is a little too good."
        )
        blocks.append(note(remark))
    if drawn and several:
        names = [named(run.name, charts.style(index)) for index, run in enumerate(result.runs)]
        dashed = "; runs from scratch are dashed" if task_summary.pretraining_gain(result) else ""
        blocks += [page.Legend(names), note(f"The kept run is bold{dashed}.")]
    if drawn:
        blocks.append(page.Group("charts", drawn))
    return Section("Runs" if several else "Training", blocks)


def runs_table(result: TaskResult) -> Table:
    """A table of all training runs, with the best of each side marked."""
    metric, test = result.format(result.metric), any(run.test for run in result.runs)
    values = [(run.side, run.eval[result.metric]) for run in result.runs if result.metric in run.eval]
    best = {side: max(value for other, value in values if other == side) for side, _ in values}
    rows: list[list[Inline]] = []
    for index, run in enumerate(result.runs):
        value = run.eval.get(result.metric)
        is_best = value is not None and value == best[run.side]
        remark = f"collapsed: {run.collapsed}" if run.collapsed else ""
        below = [("best of its side" if is_best else "", "best")]
        rows.append(
            [
                named(SIDES.get(run.side, run.side), charts.style(index), "kept" if run.kept else "", remark),
                *(format_value(run.settings.get(name)) for name in result.varied_settings),
                NOTHING if run.seed is None else str(run.seed),
                NOTHING if run.kept_epoch is None else f"{run.kept_epoch:.3g}",
                Cell(metric.format_value(value), strong=is_best, below=below),
                *([metric.format_value(run.test.get(result.metric))] if test else []),
                duration(run.seconds),
            ]
        )
    names: list[Inline] = [
        "run",
        *map(page.code, result.varied_settings),
        "seed",
        "epoch kept",
        f"{metric.title} on eval",
    ]
    return Table([*names, *(["on test"] if test else []), "time"], rows)


def learning_curves(result: TaskResult) -> list[page.Chart]:
    """Draw a chart for each metric that any run has by epoch; each chart has all runs."""
    metric = result.format(result.metric)
    rising = "Where it rises while the training loss falls, the run overfits."
    metrics = [
        ("train_loss", "Training loss", "Averaged over each epoch.", charts.tick),
        ("eval_loss", "Loss on eval", rising, charts.tick),
        ("eval", metric.title, "On eval. A ring marks the epoch that was kept.", metric.format_tick),
    ]
    # A single epoch makes no curve: its values are in the tables.
    metrics = [each for each in metrics if any(len(_points(run, each[0])) > 1 for run in result.runs)]
    size = "large" if len(metrics) < 3 else "small"
    drawn = []
    for name, title, meaning, format_tick in metrics:
        lines = [line for index, run in enumerate(result.runs) for line in _curve(name, run, index, len(result.runs))]
        figure = charts.line_chart(lines, "epoch", charts.tick, format_tick, size=size, integer_x=True)
        label = f"{metric.title_in_chart if name == 'eval' else title} over epochs"
        drawn.append(page.Chart(charts.inline_svg(figure, name, label), meaning, title, size=size))
    return drawn


def _points(run: TrainingRun, name: str) -> list[charts.Point]:
    return [(epoch.epoch, value) for epoch in run.epochs if (value := getattr(epoch, name)) is not None]


def _curve(name: str, run: TrainingRun, index: int, runs: int) -> list[charts.Line]:
    points, style = _points(run, name), charts.style(index)
    width, alpha = (2.4, 1.0) if run.kept or runs == 1 else (1.2, 0.75)
    dashes = (0, (5, 2)) if run.side == "scratch" else "-"
    curve = {"color": style.color, "linewidth": width, "alpha": alpha, "linestyle": dashes}
    ring = {"color": style.color, "marker": "o", "markersize": 10, "fillstyle": "none", "clip_on": False}
    kept = [point for point in points if point[0] == run.kept_epoch and len(points) > 1]
    return [(points, curve), charts.line_end(points, style), (kept, ring)]
