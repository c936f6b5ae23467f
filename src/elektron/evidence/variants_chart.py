"""The plot of a comparison: quality against compute, a drawing for each probe."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from elektron.evidence import wording
from elektron.evidence.charts import Chart
from elektron.evidence.drawing import LARGE, ROUND, Point, Ticks, blank, columns, look
from elektron.evidence.inline_svg import inline_svg
from elektron.evidence.variants import Comparison, Probe, medians

LEFT = 62
"""Pixels for the figures beside the axis: `84.25 %` is wider than most."""
APART = 9
"""Pixels between the marks of variants that have used the same compute."""
ROOM = 1.6
"""Factor by which the axis of compute goes on beyond the runs."""


def charts(comparison: Comparison) -> list[Chart]:
    """Every probe's figure over the operations counted."""
    return [
        Chart(
            title=probe.name,
            unit=f"{probe.kind.title} on {probe.split}",
            meaning="A mark is a run"
            + (", a line goes through the medians." if len(comparison.budgets) > 1 else "."),
            drawing=_drawing(comparison, probe, f"probe-{place}"),
            large=True,
        )
        for place, probe in enumerate(comparison.probes)
    ]


def _drawing(comparison: Comparison, probe: Probe, name: str) -> Markup:
    title = f"{probe.kind.drawn} of every run over its FLOPs"
    return inline_svg(draw(comparison, probe), name, title)


def draw(comparison: Comparison, probe: Probe) -> Figure:
    """A mark for each run; a line through each variant's medians where there are several budgets."""
    figure, axes = blank(LARGE, left=LEFT)
    axes.set_xscale("log")
    count = len(comparison.variants)
    for place, variant in enumerate(comparison.variants):
        style, lines, marks = look(place), [], []
        for budget in comparison.budgets:
            runs = comparison.runs_of(variant.name, budget)
            compute = medians(runs, "flops")
            if compute is not None:
                lines.append((compute, comparison.spread(probe, variant.name, budget).median))
            marks += [(run.flops, run.probes[probe.name].value) for run in runs if run.flops]
        beside = ScaledTranslation(_aside(comparison, place, count) / 72, 0, figure.dpi_scale_trans)
        where = axes.transData + beside
        if len(lines) > 1:
            axes.plot(*columns(lines), color=style.colour, linewidth=1.6, transform=where)
        axes.plot(
            *columns(marks),
            style.marker,
            color=style.colour,
            markersize=6.5,
            alpha=0.75,
            transform=where,
            clip_on=False,
        )
    _scale(axes, _points(comparison, probe), probe)
    return figure


def _aside(comparison: Comparison, place: int, count: int) -> float:
    """Marks at the same compute stand side by side."""
    return (place - (count - 1) / 2) * APART if comparison.budget_kind == "flops" else 0.0


def _points(comparison: Comparison, probe: Probe) -> list[Point]:
    return [(run.flops, run.probes[probe.name].value) for run in comparison.runs if run.flops]


def _scale(axes: Axes, points: Sequence[Point], probe: Probe) -> None:
    """Limits, round numbers and labels of both axes."""
    axes.set_xlabel("FLOPs", loc="right")
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    axes.yaxis.set_major_formatter(Ticks(probe.kind.write_tick))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(Ticks(wording.scientific))
    if not points:
        return
    low, high = min(x for x, _ in points) / ROOM, max(x for x, _ in points) * ROOM
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(round_numbers(low, high)))
    bottom, top = min(y for _, y in points), max(y for _, y in points)
    margin = 0.12 * (top - bottom) or 0.05 * abs(top) or 1.0
    axes.set_ylim(bottom - margin, top + margin)


def round_numbers(low: float, high: float) -> list[float]:
    """One to four round numbers between two positive ones, or their mean, for an axis of powers."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5)):
        found = [m * 10.0**e for e in exponents for m in steps if low <= m * 10.0**e <= high]
        if len(found) >= 2:
            return found[:: math.ceil(len(found) / 4)]
    return found or [math.sqrt(low * high)]
