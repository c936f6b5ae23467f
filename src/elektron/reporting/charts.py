"""The charts of all reports, drawn with matplotlib as inline SVG.

Names of runs are not drawn into the SVG; they are in the legend of the page, which escapes them.
"""

from __future__ import annotations

import io
import math
import re
import statistics
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, Formatter, MaxNLocator, NullLocator

from elektron.reporting import formatting
from elektron.reporting.formatting import MetricFormat
from elektron.reporting.seed_comparison import Interval, Spread

# The page's colours in light mode; in inline SVG they become its CSS variables, light or dark.
TEXT, GRID, RULE = "#6a6459", "#ece8df", "#b3ab9d"
RUN_COLORS = [
    "#b95f0c", "#2462a8", "#12806a", "#a32c74", "#6a4bc0", "#6c7017", "#c0352f", "#4d5868",
]  # fmt: skip
CSS_VARIABLES = {TEXT: "--chart-text", GRID: "--chart-grid", RULE: "--chart-rule"} | {
    color: f"--run-{index}" for index, color in enumerate(RUN_COLORS, start=1)
}
# A run's marker in matplotlib, and the character for it in the page's legend.
MARKERS = [
    ("o", "●"), ("s", "■"), ("^", "▲"), ("D", "◆"), ("v", "▼"), ("P", "✚"), ("X", "✖"), ("*", "★"),
]  # fmt: skip

# Width and height in CSS pixels. Charts are shown at about this size, so that their text has the same size.
SIZES = {"large": (440, 265), "small": (340, 180), "square": (360, 340)}
FONT_SIZE = 11.5
MARGINS = {"left": 46, "right": 14, "top": 10, "bottom": 36}

Point = tuple[float, float]
Line = tuple[Sequence[Point], dict[str, Any]]
"""Points, and keyword arguments of `Axes.plot`."""
FormatNumber = Callable[[float], str]


@dataclass(frozen=True)
class Style:
    """How a run is distinguished from others: by color and by marker."""

    color: str
    css_color: str
    marker: str
    character: str
    """The marker in the page's legend."""


def style(index: int) -> Style:
    """The style of the run at this place in the report; the first 64 differ."""
    rounds, place = divmod(index, len(RUN_COLORS))
    color = RUN_COLORS[place]
    return Style(color, f"var({CSS_VARIABLES[color]})", *MARKERS[(place + rounds) % len(MARKERS)])


def tick(value: float) -> str:
    """The label of a tick."""
    return formatting.compact(value) if abs(value) >= 1000 else f"{value:g}".replace("-", "−")


class Ticks(Formatter):
    """Tick labels, with more digits where two would look the same."""

    def __init__(self, format_number: FormatNumber = tick) -> None:
        self._format = format_number

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Format all ticks of an axis."""
        texts = [self._format(value) for value in values]
        shown = [text for text in texts if text]
        if len(set(shown)) < len(shown):
            exact = [f"{value:,.10g}".replace("-", "−") for value in values]
            return [long if text else "" for long, text in zip(exact, texts, strict=True)]
        return texts


def line_chart(
    drawn: Sequence[Line],
    x_label: str,
    format_x: FormatNumber = tick,
    format_y: FormatNumber = tick,
    *,
    size: str = "large",
    log_x: bool = False,
    y_from_zero: bool = False,
    dashed: Sequence[Sequence[Point]] = (),
    dashed_label: str = "",
    integer_x: bool = False,
) -> Figure:
    """Draw a chart of curves and marks.

    Args:
        drawn: the curves and marks.
        x_label: what the x axis is.
        format_x: formats the ticks of the x axis.
        format_y: formats the ticks of the y axis.
        size: a key of SIZES.
        log_x: whether the x axis is logarithmic; a linear one begins at 0.
        y_from_zero: whether the y axis begins at 0.
        dashed: reference curves.
        dashed_label: label of the reference curves.
        integer_x: whether the x axis has ticks at integers only.
    """
    figure, axes = _new_axes(SIZES[size], 62 if log_x else 52 if format_y is not tick else MARGINS["left"])
    for points, options in drawn:
        axes.plot([x for x, _ in points], [y for _, y in points], **options)
    for points in dashed:
        axes.plot(*zip(*points, strict=True), color=RULE, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    if dashed:
        axes.annotate(
            dashed_label, max(max(points) for points in dashed), xytext=(0, 5),
            textcoords="offset points", ha="right", color=TEXT, fontsize=FONT_SIZE - 1.5,
        )  # fmt: skip
    if y_from_zero:
        axes.set_ylim(bottom=0, top=None if axes.get_ylim()[1] > 0 else 1)
    _label_axis(axes.xaxis, x_label, format_x, integer=integer_x)
    _label_axis(axes.yaxis, "", format_y)
    if not log_x:
        axes.set_xlim(left=0)
        return figure
    axes.margins(y=0.12)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(Ticks(format_x))
    if places := [x for points, _ in drawn for x, _ in points]:
        low, high = min(places) / 1.6, max(places) * 1.6
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(FixedLocator(round_numbers(low, high)))
    return figure


def line_end(points: Sequence[Point], run: Style) -> Line:
    """The marker at the end of a run's curve."""
    options = {"color": run.color, "marker": run.marker, "markersize": 5.5, "clip_on": False}
    return points[-1:], options | {"zorder": 4}


def round_numbers(low: float, high: float) -> list[float]:
    """Up to five numbers 1, 2 or 5 × 10ⁿ in a range; at least one if its ends differ by a factor above 2.5."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    numbers = [m * 10.0**e for e in exponents for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    return numbers[:: math.ceil(len(numbers) / 5)]


def dot_plot(
    values: Sequence[Sequence[float]],
    x_label: str,
    format_number: FormatNumber,
    labels: Sequence[str] = (),
    intervals: Sequence[Interval | None] = (),
) -> Figure:
    """Draw the values of sides or models, one row each, the first at the top, with an interval or the median."""
    size = (SIZES["large"][0], 45 + 40 * len(values))
    figure, axes = _new_axes(size, left=32 + 6 * max(map(len, labels), default=0))
    for index, row in enumerate(values):
        run, y = style(index), len(values) - 1 - index
        if intervals and (ends := intervals[index]):
            axes.plot(ends, [y, y], color=run.color, linewidth=2.2)
        elif row and not intervals:
            axes.plot([statistics.median(row)] * 2, [y - 0.26, y + 0.26], color=run.color, linewidth=2.2)
        axes.plot(row, [y] * len(row), run.marker, color=run.color, markersize=7, alpha=0.65 if labels else 1)
    axes.set_ylim(-0.6, len(values) - 0.4)
    axes.set_yticks(range(len(values)), labels[::-1] or [""] * len(values))
    axes.margins(x=0.12)
    axes.grid(axis="x", color=GRID, linewidth=1)
    _label_axis(axes.xaxis, x_label, format_number, bins=6)
    return figure


def dots_of_seeds(sides: Mapping[str, Spread], metric: MetricFormat, split: str, name: str) -> Markup:
    """Draw a metric of one or several sides as inline SVG, with one dot per seed."""
    label = f"{metric.title_in_chart} on {split}"
    values = [spread.values for spread in sides.values()]
    figure = dot_plot(values, label, metric.format_tick, list(sides))
    return inline_svg(figure, name, f"{label} of every seed, {' and '.join(sides)}")


def scatter(points: Sequence[Point]) -> Figure:
    """Draw predicted against true numbers, and the line on which predictions are right."""
    figure, axes = _new_axes(SIZES["square"], left=52)
    truth, predicted = map(list, zip(*points, strict=True))
    ends = [min(truth + predicted), max(truth + predicted)]
    axes.plot(ends, ends, color=TEXT, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
    alpha = 0.75 if len(truth) < 200 else 0.35
    axes.plot(truth, predicted, "o", color=RUN_COLORS[0], markersize=4, alpha=alpha, mew=0)
    axes.set_ylabel("predicted", loc="top", color=TEXT, fontsize=FONT_SIZE - 1)
    _label_axis(axes.xaxis, "true number", tick)
    _label_axis(axes.yaxis, "", tick)
    return figure


def inline_svg(figure: Figure, name: str, title: str) -> Markup:
    """A drawing as an `<svg>` element for a page, with the page's colors and font.

    Args:
        figure: the drawing.
        name: salt of its element ids, so that those of several drawings on one page differ.
        title: for screen readers.
    """
    file = io.StringIO()
    metadata = dict.fromkeys(["Date", "Creator", "Format", "Type"])
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    root = ET.fromstring(file.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}style", "}metadata")):  # a style would apply to the whole page
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        if element.tag == "g":
            element.attrib.pop("id", None)  # counted from 1 in each drawing; all other ids are hashes with the salt
        if style := element.get("style"):
            style = re.sub(r"font-family: [^;]*;?", "", style)
            element.set("style", re.sub("|".join(CSS_VARIABLES), lambda c: f"var({CSS_VARIABLES[c[0]]})", style))
    root.attrib = {"class": "chart", "viewBox": root.attrib["viewBox"], "role": "img", "aria-label": title}
    return Markup(ET.tostring(root, encoding="unicode"))


def _new_axes(size: tuple[int, int], left: int) -> tuple[Figure, Axes]:
    """A new figure and axes, with the same margins in every chart so that charts side by side are aligned."""
    width, height = size
    figure = Figure(figsize=(width / 72, height / 72))  # SVG has 72 units an inch
    inner_width = width - left - MARGINS["right"]
    inner_height = height - MARGINS["bottom"] - MARGINS["top"]
    axes = figure.add_axes((left / width, MARGINS["bottom"] / height, inner_width / width, inner_height / height))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(length=0, pad=6, colors=TEXT, labelsize=FONT_SIZE)
    axes.xaxis.label.set(color=TEXT, fontsize=FONT_SIZE - 1)
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    return figure, axes


def _label_axis(axis: Axis, label: str, format_number: FormatNumber, bins: int = 5, *, integer: bool = False) -> None:
    if label:
        axis.axes.set_xlabel(label, loc="right")
    axis.set_major_locator(MaxNLocator(bins, steps=[1, 2, 2.5, 5, 10], integer=integer))
    axis.set_major_formatter(Ticks(format_number))
