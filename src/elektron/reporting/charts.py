"""Curves of training drawn by matplotlib without a display."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from elektron.reporting import wording
from elektron.reporting.drawing import (
    FONT_SIZE,
    LARGE,
    ROUND,
    SMALL,
    Point,
    Ticks,
    blank,
    columns,
    look,
)
from elektron.reporting.inline_svg import RULE, TEXT, inline_svg
from elektron.reporting.reading import Record, number
from elektron.reporting.runs import Run

# Points of a curve that the eye can tell apart at the width of a chart.
BUCKETS = 300


@dataclass(frozen=True)
class Curve:
    """One figure over the course of training."""

    name: str
    """Its name in the metrics."""
    title: str
    unit: str
    meaning: str
    held_out: bool = False
    """Whether held-out rows have it too."""
    size: tuple[int, int] = SMALL
    chance: float | None = None
    """Value that guessing would get."""
    in_percent: bool = False
    from_zero: bool = False


CURVES = [
    Curve(
        "generator_loss",
        "Generator loss",
        "nats",
        "Falls quickly at first, then ever more slowly. Flat for long: nothing is learned.",
        held_out=True,
        size=LARGE,
    ),
    Curve(
        "discriminator_auc",
        "Discriminator AUC",
        "",
        "High at the very start, while replacements are still random; sinks as the generator "
        "learns; then rises as the discriminator does.",
        held_out=True,
        size=LARGE,
        chance=0.5,
    ),
    Curve(
        "discriminator_loss",
        "Discriminator loss",
        "nats",
        "Small in numbers because most tokens are originals; watch its direction.",
        held_out=True,
    ),
    Curve(
        "correction_loss",
        "Correction loss",
        "nats",
        "The discriminator’s, where it predicts tokens itself.",
        held_out=True,
    ),
    Curve(
        "similarity_loss",
        "Likeness to the generator",
        "nats",
        "KL divergence of its distribution from the generator’s; 0 is the same.",
    ),
    Curve(
        "learning_rate",
        "Learning rate",
        "",
        "AdamW’s; where there is Muon, its rate follows the same schedule.",
        from_zero=True,
    ),
    Curve(
        "gradient_norm_generator",
        "Gradient norm, generator",
        "",
        "Before clipping. Lasting growth comes before divergence; single peaks do no harm.",
        from_zero=True,
    ),
    Curve(
        "gradient_norm_discriminator",
        "Gradient norm, discriminator",
        "",
        "Before clipping, of its loss times its weight (λ).",
        from_zero=True,
    ),
    Curve("tokens_per_second", "Speed", "tokens per second", "Padding included.", from_zero=True),
    Curve(
        "data_wait_share",
        "Waiting for data",
        "share of time",
        "Near zero when the data keep up with the training.",
        in_percent=True,
        from_zero=True,
    ),
]


@dataclass(frozen=True)
class Chart:
    """A drawing with the words around it."""

    title: str
    unit: str
    meaning: str
    drawing: Markup
    large: bool


def curves(runs: list[Run]) -> list[Chart]:
    """A chart for each figure that any of the runs has logged, all runs in each."""
    charts = []
    for curve in CURVES:
        if any(_is_logged(curve, run) for run in runs):
            title = f"{curve.title} over tokens read"
            drawing = inline_svg(draw_curve(curve, runs), curve.name, title)
            large = curve.size == LARGE
            charts.append(Chart(curve.title, curve.unit, curve.meaning, drawing, large))
    return charts


def draw_curve(curve: Curve, runs: list[Run]) -> Figure:
    """One figure of several runs over the tokens they have read."""
    figure, axes = blank(curve.size)
    for index, run in enumerate(runs):
        colour, marker = look(index).colour, look(index).marker
        training = thinned(series(run.metrics.train, curve.name))
        evaluation = series(run.metrics.evaluation, curve.name) if curve.held_out else []
        width, alpha = (0.9, 0.5) if evaluation else (1.2, 0.9)
        axes.plot(*columns(training), color=colour, linewidth=width, alpha=alpha)
        axes.plot(*columns(evaluation), color=colour, linewidth=2.2)
        ends = (evaluation or training)[-1:]
        axes.plot(*columns(ends), marker, color=colour, markersize=5.5, clip_on=False, zorder=4)
    if curve.chance is not None:
        _draw_chance(axes, curve.chance)
    _scale(axes, curve)
    return figure


def series(records: list[Record], name: str) -> list[Point]:
    """`(tokens, value)` of the records that have both."""
    pairs = ((number(record, "tokens"), number(record, name)) for record in records)
    return [(tokens, value) for tokens, value in pairs if tokens is not None and value is not None]


def thinned(points: list[Point], buckets: int = BUCKETS) -> list[Point]:
    """The lowest and the highest point of each bucket: fewer points, and no peak is lost."""
    if len(points) <= 2 * buckets:
        return points
    kept = []
    for bucket in range(buckets):
        start, end = (len(points) * edge // buckets for edge in (bucket, bucket + 1))
        here = points[start:end]
        lowest, highest = min(here, key=lambda p: p[1]), max(here, key=lambda p: p[1])
        kept += sorted({lowest, highest})
    return kept


def _is_logged(curve: Curve, run: Run) -> bool:
    evaluation = run.metrics.evaluation if curve.held_out else []
    return bool(series(run.metrics.train, curve.name) or series(evaluation, curve.name))


def _draw_chance(axes: Axes, value: float) -> None:
    axes.axhline(value, color=RULE, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        "chance", (1, value), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", ha="right", color=TEXT, fontsize=FONT_SIZE - 1.5,
    )  # fmt: skip


def _scale(axes: Axes, curve: Curve) -> None:
    """Limits and labels of both axes."""
    if curve.from_zero:
        axes.set_ylim(bottom=0, top=None if axes.get_ylim()[1] > 0 else 1)
    axes.set_xlim(left=0)
    axes.set_xlabel("tokens read", loc="right")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=ROUND))
    axes.xaxis.set_major_formatter(Ticks(wording.short))
    if curve.in_percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    else:
        axes.yaxis.set_major_formatter(Ticks())
