"""Curves of training and the dots of the second act, drawn by matplotlib without a display."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from elektron.evidence import wording
from elektron.evidence.inline_svg import (
    CSS_VARIABLES,
    GRID,
    RULE,
    RUN_COLOURS,
    TEXT,
    inline_svg,
)
from elektron.evidence.runs import Record, Run, SecondAct, number

# A run's marker in matplotlib, and the character that stands for it in the page's legend.
MARKERS = [
    ("o", "●"), ("s", "■"), ("^", "▲"), ("D", "◆"), ("v", "▼"), ("P", "✚"), ("X", "✖"), ("*", "★"),
]  # fmt: skip

# Round numbers on the axes.
ROUND = [1, 2, 2.5, 5, 10]

# Points of a curve that the eye can tell apart at the width of a chart.
BUCKETS = 300

# Width and height in CSS pixels. Both kinds are shown at about this size, so that their text is
# of about one size.
LARGE, SMALL = (440, 265), (340, 180)
FONT_SIZE = 11.5
MARGINS = {"left": 46, "right": 14, "top": 10, "bottom": 36}

Point = tuple[float, float]


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
        "Before clipping, λ included.",
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
class Look:
    """How a run is told from the others: by colour and by the marker at the end of its curve."""

    colour: str
    """In a drawing."""
    css_colour: str
    marker: str
    """In a drawing."""
    character: str


def look(index: int) -> Look:
    """That of the run at this place in the report; the first 64 differ."""
    turn, place = divmod(index, len(RUN_COLOURS))
    colour = RUN_COLOURS[place]
    return Look(colour, f"var({CSS_VARIABLES[colour]})", *MARKERS[(place + turn) % len(MARKERS)])


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
    figure, axes = _empty(curve.size)
    for index, run in enumerate(runs):
        colour, marker = look(index).colour, look(index).marker
        training = thinned(series(run.metrics.train, curve.name))
        evaluation = series(run.metrics.evaluation, curve.name) if curve.held_out else []
        width, alpha = (0.9, 0.5) if evaluation else (1.2, 0.9)
        axes.plot(*_columns(training), color=colour, linewidth=width, alpha=alpha)
        axes.plot(*_columns(evaluation), color=colour, linewidth=2.2)
        ends = (evaluation or training)[-1:]
        axes.plot(*_columns(ends), marker, color=colour, markersize=5.5, clip_on=False, zorder=4)
    if curve.chance is not None:
        _draw_chance(axes, curve.chance)
    _scale(axes, curve)
    return figure


def accuracy_dots(act: SecondAct, name: str) -> Markup:
    """Both arms of the second act: a dot a seed, a bar at the mean."""
    figure, axes = _empty((LARGE[0], 130), left=92)
    for row, arm, colour in ((0, act.scratch, RUN_COLOURS[1]), (1, act.pretrained, RUN_COLOURS[0])):
        seeds = [row] * len(arm.accuracies)
        axes.plot([arm.mean] * 2, [row - 0.26, row + 0.26], color=colour, linewidth=2.2)
        axes.plot(arm.accuracies, seeds, "o", color=colour, markersize=7, alpha=0.65)
    axes.set_ylim(-0.6, 1.6)
    axes.set_yticks([0, 1], ["from scratch", "pre-trained"])
    axes.margins(x=0.12)
    axes.set_xlabel("accuracy on test documents", loc="right")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=ROUND))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2f}"))
    return inline_svg(figure, name, "Accuracy of every seed, pre-trained and from scratch")


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


def _empty(size: tuple[int, int], left: int = MARGINS["left"]) -> tuple[Figure, Axes]:
    """A drawing whose margins line up with those of its neighbours."""
    width, height = size
    figure = Figure(figsize=(width / 72, height / 72))  # SVG has 72 units an inch
    axes = figure.add_axes(
        (
            left / width,
            MARGINS["bottom"] / height,
            1 - (left + MARGINS["right"]) / width,
            1 - (MARGINS["bottom"] + MARGINS["top"]) / height,
        )
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(length=0, pad=6, colors=TEXT, labelsize=FONT_SIZE)
    axes.xaxis.label.set(color=TEXT, fontsize=FONT_SIZE - 1)
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    return figure, axes


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
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: wording.short(tokens)))
    if curve.in_percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))


def _columns(points: list[Point]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _tick(value: float) -> str:
    return wording.short(value) if abs(value) >= 1000 else f"{value:g}".replace("-", "−")
