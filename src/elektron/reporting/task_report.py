"""The page on a fine-tuned model, and `plot.png`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elektron.configuration import format_value
from elektron.reporting import charts, page, sections
from elektron.reporting.formatting import NOTHING, duration, percent, short, whole
from elektron.reporting.page import Cell, Inline, Report, Section, Table, named, note, text
from elektron.reporting.predictions import prediction_tables
from elektron.reporting.reading import number
from elektron.reporting.seed_comparison import Spread, pretraining_gain_sentence
from elektron.reporting.task_result import SIDES, TaskResult, TrainingRun, read_task_result
from elektron.reporting.usage import task_usage

REPORT = "report.html"
PLOT = "plot.png"
KIND = "fine-tuning report"
TASKS = {
    "classification": "Text classification",
    "regression": "Regression on text",
    "token-classification": "Token classification",
    "question-answering": "Question answering",
    "multiple-choice": "Multiple choice",
    "translation": "Translation",
    "summarization": "Summarization",
    "generation": "Text generation",
    "embedding": "Sentence embeddings",
}
TILES = [
    *("accuracy", "f1", "mcc", "spearman", "mae", "exact_match", "chrf", "bleu", "rouge2"),
    *("recall@1", "recall@10"),
]
"""The metrics in tiles and in the table of several models, after the main one."""
MAX_TILES = 4
WIDEST_MATRIX = 50
# For more classes than this the most confused pairs are listed too.
PAIRS_FROM = 10
MAX_PAIRS = 20
MAX_CLASSES = 50

INTERVALS_REMARK = (
    "The intervals are percentiles over bootstrap samples of the same rows: how far other rows of "
    "the same kind would move the metrics. What another seed would change is not in them."
)


def write_report(folder: Path) -> Path:
    """Write `report.html` into the folder of a fine-tuned model; the path of the file.

    Raises:
        ElektronError: a file in the folder is damaged, or the page cannot be written.
    """
    out = folder / REPORT
    task_report(read_task_result(folder)).write(out)
    return out


def plot(folder: Path) -> Path | None:
    """Draw `plot.png` into the folder: confusion, predicted against true, or metrics; None without any.

    Raises:
        ElektronError: a file in the folder is damaged, or the picture cannot be written.
    """
    result = read_task_result(folder)
    confusion, points = result.details.confusion, result.details.scatter
    main = result.format(result.metric)
    rows = [
        charts.Dots([value], result.intervals.get(name), result.format(name).title)
        for name, value in result.metrics.items()
        if result.format(name).scale == main.scale != "plain"
    ]
    if confusion is not None and confusion.labels:
        figure = charts.confusion_matrix(confusion.labels, confusion.counts)
    elif points:
        figure = charts.scatter(points)
    elif rows:
        figure = charts.dot_plot(rows, "lines: 95 % intervals", main.format_tick)
    else:
        return None
    charts.save_png(figure, folder / PLOT)
    return folder / PLOT


def task_report(result: TaskResult) -> Report:
    """The page on one fine-tuned model."""
    return Report(
        title=result.name,
        kind=KIND,
        heading=[f"{task_name(result)}: {result.name}"],
        lead=lead(result),
        blocks=[page.Tiles(tiles(result)), page.Facts(facts(result))],
        sections=[
            Section("Reservations", [warnings_block(result)]),
            Section("Privacy", [text(privacy_sentence(result.privacy))] if result.privacy else []),
            _seeds(result),
            _confusion(result),
            _by_class(result),
            _scatter(result),
            _predictions(result),
            Section("All metrics", [metrics_table(result), note(INTERVALS_REMARK)]),
            _runs(result),
            Section("Use the model", task_usage(result)),
            sections.settings_section([(Cell(result.name), result.config)], "run"),
            sections.versions_section([(Cell(result.name), result.details.versions)]),
        ],
    )


def task_name(result: TaskResult) -> str:
    """The task in words."""
    return TASKS.get(result.task, result.task or "A task")


def from_scratch(result: TaskResult) -> bool:
    """Whether the model was to begin from random weights."""
    return result.model.startswith("scratch:")


def how_trained(result: TaskResult) -> str:
    """Fine-tuned or not."""
    return "trained from random weights" if from_scratch(result) else "fine-tuned"


def rows_in_words(result: TaskResult) -> str:
    """`5,000 test rows`."""
    split = "evaluation" if result.split == "eval" else result.split
    rows = whole(result.rows) if result.rows is not None else ""
    return " ".join(filter(None, [rows, split, "rows"]))


def main_metric(result: TaskResult) -> str:
    """The main metric with its interval, and that of each baseline."""
    metric = result.format(result.metric)
    interval = metric.format_interval(result.intervals.get(result.metric))
    inside = f" (95 % interval {interval})" if interval else ""
    value = metric.format_value(result.metrics.get(result.metric))
    sentence = f"{metric.title} is {value}{inside} on {rows_in_words(result)}."
    others = [f"{metric.format_value(value)} ({name})" for name, value in result.of_baselines(result.metric).items()]
    return f"{sentence} Simple baselines reach {' and '.join(others)}." if others else sentence


def lead(result: TaskResult) -> str:
    """What was learned, how well, and against what."""
    encoder = "/".join(Path(result.model).parts[-2:]) or "an encoder"
    rows = result.details.rows.get("train")
    on = f" on {whole(rows)} rows" if rows else ""
    return f"{encoder}, {how_trained(result)}{on}. {main_metric(result)}"


def privacy_sentence(privacy: dict[str, Any]) -> str:
    """The budget of a private training and what it is for."""
    epsilon, delta, noise, rate, norm = (
        f"{number(privacy, name) or float('nan'):.3g}"
        for name in ("epsilon", "delta", "noise_multiplier", "sample_rate", "max_grad_norm")
    )
    steps, trainings = (number(privacy, name) or 1 for name in ("steps", "trainings"))
    several = f" and the {whole(trainings)} trainings together" if trainings > 1 else ""
    return (
        f"Differentially private for each training row{several}: ε = {epsilon} at δ = {delta} "
        f"({str(privacy.get('accountant', '')).upper()} accountant, noise multiplier {noise}, sample rate {rate}, "
        f"{whole(steps)} steps, gradients clipped to {norm}). Rows of eval and test are not protected, and every "
        "further training on the same rows adds to ε."
    )


def tiles(result: TaskResult) -> list[page.Tile]:
    """The metrics that say how good the model is."""
    names = dict.fromkeys([result.metric, *TILES, *result.metrics])
    found = []
    for name in [name for name in names if name in result.metrics and name != "loss"][:MAX_TILES]:
        metric = result.format(name)
        interval = metric.format_interval(result.intervals.get(name))
        meaning = f"95 % interval {interval}. {metric.meaning}" if interval else metric.meaning
        found.append(page.Tile(metric.title, metric.format_value(result.metrics[name]), meaning))
    return found


def warnings(result: TaskResult) -> list[str]:
    """What a reader of the metrics must know."""
    details, found = result.details, list(result.details.warnings)
    if details.hand_over.get("loaded_weights") == 0 and not from_scratch(result):
        found.append("no pretrained weights were loaded: the encoder began from random ones")
    same = details.chosen_on == details.reported_on != ""
    if same and not any("chosen on" in said for said in found):
        found.append(
            "the metrics are of the rows that the model was chosen on, and too good: rows that "
            "nothing was chosen on would give fairer ones"
        )
    return found


def warnings_block(result: TaskResult) -> page.Warnings:
    """For a page."""
    return page.Warnings([[warning] for warning in warnings(result)], "No reservations.")


def facts(result: TaskResult) -> dict[str, str]:
    """What was trained on what."""
    details, kept, rows = result.details, result.kept, result.details.rows
    encoder = "encoder" if from_scratch(result) else "pretrained encoder"
    found = {
        encoder if rows else "model": result.model,  # `evaluate` trains nothing
        "training rows": whole(rows.get("train")),
        "evaluation rows": whole(rows.get("eval")),
        "test rows": whole(rows.get("test")),
        "pretrained weights": short(details.hand_over.get("loaded_weights") or None),
        "new weights": short(details.hand_over.get("new_weights")),
        "chosen on": details.chosen_on,
        "training time": duration(kept.seconds if kept else None),
        "device": details.device,
    }
    return {name: value for name, value in found.items() if value and value != NOTHING}


def seed_spreads(result: TaskResult) -> dict[str, Spread]:
    """The main metric over the seeds of the chosen settings, by split; empty with fewer than two seeds."""
    trial = result.chosen("pretrained") or result.chosen("scratch")
    if trial is None or len(trial.runs) < 2:
        return {}
    spreads = {split: trial.spread(split, result.metric) for split in ("eval", "test")}
    return {split: spread for split, spread in spreads.items() if spread is not None}


def seeds_sentences(result: TaskResult) -> list[str]:
    """Median and spread over seeds, a sentence a split."""
    metric = result.format(result.metric)
    return [
        f"{metric.title} on {split}: median {metric.format_value(spread.median)} of "
        f"{len(spread.values)} seeds, from {metric.format_interval(spread.ends)}."
        for split, spread in seed_spreads(result).items()
    ]


def pretraining_gain(result: TaskResult) -> tuple[dict[str, Spread], str, str] | None:
    """Pre-trained against from scratch: their spreads, the split and the verdict; None without two sides."""
    trials = {name: result.chosen(side) for side, name in SIDES.items()}
    runs = [run for trial in trials.values() if trial for run in trial.runs]
    split = "test" if all(result.metric in run.test for run in runs) else "eval"
    spreads = {
        name: spread for name, trial in trials.items() if trial and (spread := trial.spread(split, result.metric))
    }
    if len(spreads) < len(SIDES):
        return None
    metric = result.format(result.metric)
    pretrained, scratch = spreads.values()
    said = [pretraining_gain_sentence(pretrained, scratch, metric.format_value, metric.format_difference)]
    for name, trial in trials.items():
        collapsed = sum(bool(run.collapsed) for run in trial.runs) if trial else 0
        if trial and collapsed:
            said.append(f"Collapsed seeds {name}: {collapsed} of {len(trial.runs)}.")
    ends = result.intervals.get(result.metric)
    if ends is not None and result.split == split and result.rows is not None:
        width = metric.format_difference((ends[1] - ends[0]) / 2)
        said.append(f"Another {whole(result.rows)} {split} rows would move such a value by about ± {width}.")
    return spreads, split, " ".join(said)


def _seeds(result: TaskResult) -> Section:
    metric, gain, spreads = result.format(result.metric), pretraining_gain(result), seed_spreads(result)
    if gain is not None:
        sides, split, verdict = gain
        searched = " Each has the settings that were best for it on eval." if result.tried else ""
        remark = (
            f"On {split} rows. Both sides are the same network and were trained on the same rows; "
            f"“from scratch” starts from random weights.{searched} Dots are seeds, bars are medians."
        )
        baselines = result.of_baselines(result.metric)
        return sections.gain_section(verdict, sides, metric, split, baselines, "gain", remark)
    if not spreads:
        return Section("Seeds", [])
    split, spread = list(spreads.items())[-1]
    dots = page.Chart(charts.dots_of_seeds({"seeds": spread}, metric, split, "seeds"))
    sentences = page.Group("", [text(sentence) for sentence in seeds_sentences(result)])
    remark = (
        "A seed decides the new weights, the order of the rows and dropout. Dots are seeds, the "
        "bar is the median. The seed that is best on eval is kept."
    )
    return Section("Seeds", [page.Group("beside", [sentences, dots]), note(remark)])


def _confusion(result: TaskResult) -> Section:
    confusion, blocks = result.details.confusion, list[page.Block]()
    labels = confusion.labels if confusion else []
    if confusion and 0 < len(labels) <= WIDEST_MATRIX:
        remark = (
            "A row for each true class. The shade is the square root of the fraction of the row, so "
            "that rare errors can be seen; correct predictions are framed."
        )
        blocks += [page.Matrix(labels, confusion.counts), note(remark)]
    if confusion and len(labels) > PAIRS_FROM:
        pairs = [
            (count, true, predicted, count / sum(counts))
            for true, counts in zip(labels, confusion.counts, strict=True)
            for predicted, count in zip(labels, counts, strict=True)
            if true != predicted and count > 0
        ]
        most = sorted(pairs, key=lambda pair: -pair[0])[:MAX_PAIRS]
        rows = [[true, predicted, whole(count), percent(fraction)] for count, true, predicted, fraction in most]
        table = Table(["true", "predicted", "rows", "of the true class"], rows, left=[1])
        blocks += [page.Heading(f"Most confused of {len(labels)} classes"), table] if rows else []
    return Section("Confusion matrix", blocks)


def _by_class(result: TaskResult) -> Section:
    known = result.details.per_class
    shown = list(known.items())
    if len(known) > MAX_CLASSES:
        shown = sorted(shown, key=lambda item: item[1].get("f1", 0.0))[:MAX_CLASSES]
    rows: list[list[Inline]] = []
    for name, values in shown:
        scores = [percent(values.get(metric)) for metric in ("precision", "recall", "f1")]
        rows.append([name, *scores, Cell(bar=values.get("f1", 0.0)), whole(values.get("support"))])
    if not rows:
        return Section("By class", [])
    left_out = len(known) - len(shown)
    remark = [note(f"The classes of lowest F1; {left_out} others are left out.")] if left_out else []
    return Section("By class", [Table(["class", "precision", "recall", "F1", "", "rows"], rows), *remark])


def _scatter(result: TaskResult) -> Section:
    points = result.details.scatter
    if not points:
        return Section("Predicted against true", [])
    svg = charts.inline_svg(charts.scatter(points), "scatter", "Predicted against true numbers")
    caption = f"{len(points):,} rows. On the dashed line predictions are right."
    return Section("Predicted against true", [page.Chart(svg, caption, size="square")])


def _predictions(result: TaskResult) -> Section:
    blocks = prediction_tables(result)
    if blocks:
        tags = " Underlined tokens have a wrong tag; the right one is crossed out beside it."
        remark = "All rows are in predictions.jsonl; long texts are shortened here."
        blocks.append(note(remark + (tags if result.task == "token-classification" else "")))
    return Section("Predictions", blocks)


def metrics_table(result: TaskResult, meanings: bool = True) -> Table:
    """All metrics of the reported rows."""
    names = [baseline.name for baseline in result.baselines]
    rows: list[list[Inline]] = []
    for name, value in result.metrics.items():
        metric = result.format(name)
        known = [baseline.metrics.get(name) for baseline in result.baselines]
        cells: list[Inline] = ["" if v is None else metric.format_value(v) for v in known]
        if meanings:
            how = result.details.notes.get(name, "")
            cells.append(Cell(metric.meaning, below=[(how, "")] if how else ()))
        interval = metric.format_interval(result.intervals.get(name))
        rows.append([metric.title, metric.format_value(value), interval, *cells])
    head = ["metric", "value", "95 % interval", *names, *(["meaning"] if meanings else [])]
    return Table(head, rows, left=[len(head) - 1] if meanings else ())


def _runs(result: TaskResult) -> Section:
    several, drawn = len(result.runs) > 1, learning_curves(result)
    blocks: list[page.Block] = [_runs_table(result)] if several else []
    if result.tried:
        remark = (
            "Settings were searched with the first seed. The chosen ones are those that were best on eval, so that "
            "their value there is a little too good."
        )
        blocks.append(note(remark))
    if drawn and several:
        names = [named(run.name, charts.style(index)) for index, run in enumerate(result.runs)]
        dashed = "; runs from scratch are dashed" if pretraining_gain(result) else ""
        blocks += [page.Legend(names), note(f"The kept run is bold{dashed}.")]
    if drawn:
        blocks.append(page.Group("charts", drawn))
    return Section("Runs" if several else "Training", blocks)


def _runs_table(result: TaskResult) -> Table:
    metric, test = result.format(result.metric), any(run.test for run in result.runs)
    values = [(run.side, run.eval[result.metric]) for run in result.runs if result.metric in run.eval]
    best = {side: max(value for other, value in values if other == side) for side, _ in values}
    rows: list[list[Inline]] = []
    for index, run in enumerate(result.runs):
        value = run.eval.get(result.metric)
        is_best = value is not None and value == best[run.side]
        remark = f"collapsed: {run.collapsed}" if run.collapsed else ""
        rows.append(
            [
                named(SIDES.get(run.side, run.side), charts.style(index), "kept" if run.kept else "", remark),
                *(format_value(run.settings.get(name)) for name in result.tried),
                NOTHING if run.seed is None else str(run.seed),
                NOTHING if run.kept_epoch is None else f"{run.kept_epoch:.3g}",
                Cell(
                    metric.format_value(value), strong=is_best, below=[("best of its side", "best")] if is_best else ()
                ),
                *([metric.format_value(run.test.get(result.metric))] if test else []),
                duration(run.seconds),
            ]
        )
    names: list[Inline] = ["run", *map(page.code, result.tried), "seed", "epoch kept", f"{metric.title} on eval"]
    return Table([*names, *(["on test"] if test else []), "time"], rows)


def learning_curves(result: TaskResult) -> list[page.Chart]:
    """A chart for each metric that any of the runs has by epoch, all runs in each."""
    metric = result.format(result.metric)
    rising = "Where it rises while the training loss falls, the run overfits."
    known = [
        ("train_loss", "Training loss", "Averaged over each epoch.", charts.tick),
        ("eval_loss", "Loss on eval", rising, charts.tick),
        ("eval", metric.title, "On eval. A ring marks the epoch that was kept.", metric.format_tick),
    ]
    # A single epoch makes no curve: its values are in the tables.
    drawn = [track for track in known if any(len(_points(run, track[0])) > 1 for run in result.runs)]
    large = len(drawn) < 3
    found = []
    for name, title, meaning, write in drawn:
        lines = [
            line
            for index, run in enumerate(result.runs)
            for line in _curve(_points(run, name), run, charts.style(index), run.kept or len(result.runs) == 1)
        ]
        size = charts.LARGE if large else charts.SMALL
        figure = charts.line_chart(lines, "epoch", charts.tick, write, size=size, integer_x=True)
        label = f"{metric.title_in_chart if name == 'eval' else title} over epochs"
        svg = charts.inline_svg(figure, name, label)
        found.append(page.Chart(svg, meaning, title, size="large" if large else "small"))
    return found


def _points(run: TrainingRun, name: str) -> list[charts.Point]:
    return [(epoch.epoch, value) for epoch in run.epochs if (value := getattr(epoch, name)) is not None]


def _curve(points: list[charts.Point], run: TrainingRun, style: charts.Style, bold: bool) -> list[charts.Line]:
    width, alpha = (2.4, 1.0) if bold else (1.2, 0.75)
    dashes = (0, (5, 2)) if run.side == "scratch" else "-"
    curve = {"color": style.color, "linewidth": width, "alpha": alpha, "linestyle": dashes}
    ring = {"color": style.color, "marker": "o", "markersize": 10, "fillstyle": "none", "clip_on": False}
    kept = [point for point in points if point[0] == run.kept_epoch and len(points) > 1]
    return [(points, curve), charts.line_end(points, style), (kept, ring)]
