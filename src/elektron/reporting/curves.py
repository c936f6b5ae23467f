"""Charts of the metrics of pre-training runs over tokens, with the value of a trivial prediction as a dashed line."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from elektron.pretraining.health import base_rate_loss
from elektron.reporting import charts, page
from elektron.reporting.charts import Line, Point
from elektron.reporting.formatting import compact, metric_format
from elektron.reporting.pretraining_run import PretrainingRun
from elektron.reporting.reading import Record, number

POINTS_IN_CURVE = 600
"""More cannot be distinguished at the width of a chart."""
HELD_OUT = ("generator_loss", "discriminator_auc", "discriminator_loss", "lm_loss")
"""Metrics that are drawn for training rows and held-out rows; the first two have large charts."""
TRAINING_METRICS = (
    *("similarity_loss", "learning_rate", "gradient_norm_generator"),
    *("gradient_norm_discriminator", "tokens_per_second", "data_wait_share"),
)
"""Metrics that are drawn for training rows only, on a y axis that begins at 0."""
UNIGRAMS = "unigram entropy", "Dashed: the loss if only token frequencies were known."
REFERENCES = {
    "generator_loss": UNIGRAMS,
    "lm_loss": UNIGRAMS,
    "discriminator_loss": ("base rate", "Dashed: the loss if every prediction were the fraction of replaced tokens."),
    "discriminator_auc": ("chance", ""),
}
"""Label and meaning of the dashed line in the chart of a metric."""


def curves(runs: Sequence[PretrainingRun]) -> list[page.Chart]:
    """Draw a chart for each metric that any run has logged; each chart has all runs."""
    drawn = []
    for name in (*HELD_OUT, *TRAINING_METRICS):
        lines = [line for index, run in enumerate(runs) for line in curve_lines(name, run, index)]
        if not any(points for points, _ in lines):
            continue
        metric, size = metric_format(name), "large" if name in HELD_OUT[:2] else "small"
        label, meaning = REFERENCES.get(name, ("", ""))
        dashed = [points for run in runs if (points := reference(name, run))]
        figure = charts.line_chart(
            lines,
            "tokens read",
            compact,
            charts.tick if metric.scale == "plain" else metric.format_tick,
            size=size,
            y_from_zero=name in TRAINING_METRICS,
            dashed=dashed,
            dashed_label=label,
        )
        svg = charts.inline_svg(figure, name, f"{metric.title} over tokens read")
        caption = f"{metric.meaning} {meaning if dashed else ''}".rstrip()
        drawn.append(page.Chart(svg, caption, metric.title, size=size))
    return drawn


def curve_lines(name: str, run: PretrainingRun, index: int) -> list[Line]:
    """The lines of one run: training rows thin, held-out rows bold, and a marker at the end."""
    style = charts.style(index)
    training = thinned(series(run.metrics.train, name))
    evaluation = series(run.metrics.evaluation, name) if name in HELD_OUT else []
    width, alpha = (0.9, 0.5) if evaluation else (1.2, 0.9)
    return [
        (training, {"color": style.color, "linewidth": width, "alpha": alpha}),
        (evaluation, {"color": style.color, "linewidth": 2.2}),
        charts.line_end(evaluation or training, style),
    ]


def reference(name: str, run: PretrainingRun) -> list[Point]:
    """The value of a trivial prediction (see REFERENCES) over tokens; empty if it is unknown.

    A value above twice the highest of the run, as in a run that continues a language model, is left out: it would make
    the run's curve flat.
    """
    drawn = series(run.metrics.train, name) + series(run.metrics.evaluation, name)
    if not drawn or name not in REFERENCES:
        return []
    if name == "discriminator_loss":
        shares = series(run.metrics.train, "replaced_share") or series(run.metrics.evaluation, "replaced_share")
        points = [(tokens, base_rate_loss(share)) for tokens, share in thinned(shares)]
        return [(0.0, value) for _, value in points[:1]] + points
    level = 0.5 if name == "discriminator_auc" else number(run.corpus, "unigram_entropy")
    if level is None or level > 2 * max(value for _, value in drawn):
        return []
    return [(0.0, level), (max(drawn)[0], level)]


def series(records: Sequence[Record], name: str) -> list[Point]:
    """`(tokens, value)` of the records that have both."""
    pairs = ((number(record, "tokens"), number(record, name)) for record in records)
    return [(tokens, value) for tokens, value in pairs if tokens is not None and value is not None]


def thinned(points: Sequence[Point], limit: int = POINTS_IN_CURVE) -> list[Point]:
    """Keep the lowest and the highest point of each of `limit / 2` segments, so that no peak is lost."""
    if len(points) <= limit:
        return list(points)
    kept = []
    edges = [len(points) * index // (limit // 2) for index in range(limit // 2 + 1)]
    for start, end in itertools.pairwise(edges):
        by_value = sorted(points[start:end], key=lambda point: point[1])
        kept += sorted({by_value[0], by_value[-1]})
    return kept
