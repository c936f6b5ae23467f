"""Drawings of a fine-tuned model: curves of its runs, seeds, confusion, predicted against true.

What goes into the page takes the page's colours and holds no text that others wrote. `plot` draws
into a file of its own, where labels are written as they are, never as formulas.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ticker import MaxNLocator

from elektron.errors import ElektronError
from elektron.reporting.charts import Chart
from elektron.reporting.drawing import (
    FONT_SIZE,
    LARGE,
    PAGE,
    PAPER,
    ROUND,
    SMALL,
    Palette,
    Ticks,
    blank,
    columns,
    look,
    tick,
)
from elektron.reporting.inline_svg import inline_svg
from elektron.reporting.results import Confusion, Epoch, Result, Tuning
from elektron.terminal import escape_control

PLOT = "plot.png"
SQUARE = (360, 340)
DOTS_PER_INCH = 150
WIDEST_LABEL = 24
# Up to so many classes their counts, and their names, are written into a confusion matrix.
MOST_COUNTS, MOST_NAMES = 20, 60
# The first of these that has a character draws it.
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans", "WenQuanYi Zen Hei", "Arial Unicode MS")


@dataclass(frozen=True)
class Track:
    """One figure of each epoch."""

    title: str
    meaning: str
    value: Callable[[Epoch], float | None]
    write: Callable[[float], str] = tick
    drawn: str = ""
    """The title in a drawing, where it is another."""


def learning_curves(result: Result) -> list[Chart]:
    """A chart for each figure that any of the runs has by epoch, all runs in each."""
    kind = result.kind(result.figure)
    tracks = [
        Track("Training loss", "Averaged over each epoch.", lambda epoch: epoch.train_loss),
        Track(
            "Loss on eval",
            "Where it rises while the training loss falls, the run learns by heart.",
            lambda epoch: epoch.loss,
        ),
        Track(
            f"{kind.title} on eval",
            "A ring marks the epoch that was kept.",
            lambda epoch: epoch.figure,
            kind.write_tick,
            f"{kind.drawn} on eval",
        ),
    ]
    # Of a single epoch there is no curve: its figures are in the tables.
    known = [
        track for track in tracks if any(len(track_points(track, run)) > 1 for run in result.runs)
    ]
    large = len(known) < 3
    return [
        Chart(
            track.title,
            "",
            track.meaning,
            inline_svg(
                draw_track(track, result.runs, LARGE if large else SMALL),
                f"track-{place}",
                f"{track.drawn or track.title} over epochs",
            ),
            large,
        )
        for place, track in enumerate(known)
    ]


def track_points(track: Track, run: Tuning) -> list[tuple[float, float]]:
    """Epochs and values, where they are known."""
    pairs = ((epoch.epoch, track.value(epoch)) for epoch in run.epochs)
    return [(epoch, value) for epoch, value in pairs if value is not None]


def draw_track(track: Track, runs: Sequence[Tuning], size: tuple[int, int]) -> Figure:
    """One figure of several runs over their epochs; the kept run is bold."""
    figure, axes = blank(size, left=52)
    for index, run in enumerate(runs):
        shown, points = look(index), track_points(track, run)
        width, alpha = (2.4, 1.0) if run.kept or len(runs) == 1 else (1.2, 0.75)
        style = "-" if run.side == "pretrained" else (0, (5, 2))
        axes.plot(*columns(points), color=shown.colour, linewidth=width, alpha=alpha, ls=style)
        ends = points[-1:]
        axes.plot(*columns(ends), shown.marker, color=shown.colour, markersize=5.5, clip_on=False)
        kept = [point for point in points if point[0] == run.kept_epoch and len(points) > 1]
        axes.plot(
            *columns(kept), "o", markersize=10, markerfacecolor="none",
            markeredgecolor=shown.colour, clip_on=False,
        )  # fmt: skip
    axes.set_xlim(left=0)
    axes.set_xlabel("epoch", loc="right")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=ROUND, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    axes.xaxis.set_major_formatter(Ticks())
    axes.yaxis.set_major_formatter(Ticks(track.write))
    return figure


def intervals(results: Sequence[Result], figure: str) -> Markup:
    """The same figure of several models, each with its interval; the first at the top."""
    drawing, axes = blank((LARGE[0], 50 + 34 * len(results)), left=32)
    kind = results[0].kind(figure)
    rows = list(enumerate(results))
    for index, result in rows:
        shown, place = look(index), len(rows) - 1 - index
        value = result.figures.get(figure)
        if value is None:
            continue
        ends = result.intervals.get(figure, (value, value))
        axes.plot(ends, [place, place], color=shown.colour, linewidth=2.2)
        axes.plot([value], [place], shown.marker, color=shown.colour, markersize=8)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_yticks([])
    axes.margins(x=0.08)
    axes.grid(axis="x", color=PAGE.grid, linewidth=1)
    axes.set_xlabel(kind.drawn, loc="right")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=ROUND))
    axes.xaxis.set_major_formatter(Ticks(kind.write_tick))
    return inline_svg(drawing, "intervals", f"{kind.drawn} of every model with its interval")


def scatter(result: Result) -> Markup | None:
    """Predicted against true numbers; None where there are none."""
    if not result.details.points:
        return None
    return inline_svg(draw_scatter(result, PAGE), "scatter", "Predicted against true numbers")


def draw_scatter(result: Result, palette: Palette) -> Figure:
    """A point a row, and the line on which predictions are right."""
    figure, axes = blank(SQUARE, left=52, palette=palette)
    truth, predicted = columns(result.details.points)
    ends = [min(truth + predicted), max(truth + predicted)]
    axes.plot(ends, ends, color=palette.text, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
    alpha = 0.75 if len(truth) < 200 else 0.35
    axes.plot(truth, predicted, "o", color=palette.runs[0], markersize=4, alpha=alpha, mew=0)
    axes.set_xlabel("true number", loc="right")
    axes.set_ylabel("predicted", loc="top", color=palette.text, fontsize=FONT_SIZE - 1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=ROUND))
        axis.set_major_formatter(Ticks())
    return figure


def plot(result: Result) -> Path | None:
    """Draw `plot.png` into the model's folder: confusion, predicted against true, or figures.

    Raises:
        ElektronError: the file cannot be written.
    """
    figure = _picture(result)
    if figure is None:
        return None
    path = result.folder / PLOT
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Glyph \d+")  # no font has it: a box stands
            figure.savefig(path, dpi=DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
    except OSError as error:
        raise ElektronError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def _picture(result: Result) -> Figure | None:
    if result.details.confusion is not None and result.details.confusion.labels:
        return draw_confusion(result.details.confusion)
    if result.details.points:
        return draw_scatter(result, PAPER)
    return draw_figures(result)


def draw_confusion(confusion: Confusion) -> Figure:
    """A row for each true class, shaded by the share of it."""
    counts = np.array(confusion.counts, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    classes = len(counts)
    side = min(14.0, 3.2 + 0.42 * classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="YlOrBr", vmin=0, vmax=1)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=PAPER.text)
    axes.set_xlabel("predicted", color=PAPER.text)
    axes.set_ylabel("true", color=PAPER.text)
    if classes <= MOST_NAMES:
        _name_classes(axes, confusion.labels)
    if classes <= MOST_COUNTS:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.6 else "#23201b"
            axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=colour)
    return figure


def _name_classes(axes: Axes, labels: Sequence[str]) -> None:
    names = [_label(name) for name in labels]
    font: dict[str, Any] = {
        "parse_math": False,
        "fontfamily": fonts(),
        "fontsize": 10 if len(names) < 25 else 7,
    }
    axes.set_xticks(
        range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", **font
    )
    axes.set_yticks(range(len(names)), names, **font)


def _label(name: str, widest: int = WIDEST_LABEL) -> str:
    """A name that has room beside an axis, without control characters."""
    name = escape_control(name)
    return name if len(name) <= widest else f"{name[: widest - 1]}…"


def fonts() -> list[str]:
    """Those of FONTS that there are."""
    there = set(fontManager.get_font_names())
    return [name for name in FONTS if name in there] or ["sans-serif"]


def draw_figures(result: Result) -> Figure | None:
    """Bars of the figures that have the main one's scale, with intervals; None without any."""
    main = result.kind(result.figure)
    known = [name for name in result.figures if result.kind(name).scale == main.scale]
    if not known or main.full is None:
        return None
    names = [_label(result.kind(name).title, 40) for name in reversed(known)]
    left = 20 + 7 * max(map(len, names))
    figure, axes = blank((330 + left, 60 + 30 * len(known)), left=left, palette=PAPER)
    for place, name in enumerate(reversed(known)):
        value = result.figures[name]
        axes.barh(place, value, height=0.6, color=PAPER.runs[0], alpha=0.8)
        ends = result.intervals.get(name)
        if ends is not None:
            axes.plot(ends, [place, place], color="#23201b", linewidth=1.6)
    axes.set_yticks(range(len(known)), names, parse_math=False, fontfamily=fonts())
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=PAPER.grid, linewidth=1)
    axes.set_xlim(min(0.0, *(result.figures[name] for name in known)), 1.03 * main.full)
    axes.xaxis.set_major_formatter(Ticks(main.write_tick))
    axes.set_xlabel("lines: 95 % intervals", loc="right")
    return figure
