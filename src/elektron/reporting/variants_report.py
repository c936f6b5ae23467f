"""What a comparison leaves beside its runs: all figures, the table in Markdown, and a page with a plot."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from urllib.parse import quote

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from elektron.io.files import atomic_write
from elektron.reporting import page, wording
from elektron.reporting.charts import Chart
from elektron.reporting.drawing import LARGE, ROUND, blank, columns, look
from elektron.reporting.inline_svg import inline_svg
from elektron.reporting.variants import Comparison, median
from elektron.reporting.variants_table import FIGURES, document, notes, rows

FIGURES_FILE = "comparison.json"
TABLE = "comparison.md"
PAGE = "comparison.html"
LEFT = 62
"""Pixels for the figures beside the axis: `84.25 %` is wider than most."""
APART = 9
"""Points between the marks of variants that have used the same compute."""
ROOM = 1.6
"""Factor by which the axis of compute goes on beyond the runs."""


def write_comparison(folder: Path, comparison: Comparison) -> str:
    """Write the three files; the text of the table.

    Raises:
        ElektronError: the page cannot be written.
    """
    figures = json.dumps(comparison.as_json(), indent=1, ensure_ascii=False, default=str)
    atomic_write(folder / FIGURES_FILE, figures)
    table = document(comparison)
    atomic_write(folder / TABLE, table)
    page.write_page(folder / PAGE, render(comparison))
    return table


def render(comparison: Comparison) -> str:
    """The page."""
    return page.render(
        "variants.html.jinja",
        comparison=comparison,
        rows=rows(comparison),
        figures=FIGURES,
        notes=notes(comparison),
        charts=charts(comparison),
        several_budgets=len(comparison.budgets) > 1,
        link=link,
    )


def link(folder: str) -> str:
    """A folder below the comparison's as an address: `./`, so that no name reads as a scheme."""
    return "./" + quote(folder)


def charts(comparison: Comparison) -> list[Chart]:
    """Every probe's figure over the operations counted."""
    lines = ", a line goes through the medians." if len(comparison.budgets) > 1 else "."
    found = []
    for place, probe in enumerate(comparison.probes):
        probed = comparison.first(probe)
        drawing = inline_svg(
            draw(comparison, probe),
            f"probe-{place}",
            f"{probed.kind.drawn} of every run over its FLOPs",
        )
        unit = f"{probed.kind.title} on {probed.split}"
        found.append(Chart(probe, unit, f"A mark is a run{lines}", drawing, large=True))
    return found


def draw(comparison: Comparison, probe: str) -> Figure:
    """A mark for each run; a line through each variant's medians where there are several budgets."""
    figure, axes = blank(LARGE, left=LEFT)
    axes.set_xscale("log")
    for place, variant in enumerate(comparison.variants):
        style, lines, marks = look(place), [], []
        for budget in comparison.budgets:
            runs = comparison.runs_of(variant.name, budget)
            compute = median(runs, "flops")
            if compute is not None:
                lines.append((compute, comparison.spread(probe, variant.name, budget).median))
            marks += [(run.flops, run.probes[probe].value) for run in runs if run.flops]
        # Marks at the same compute stand side by side.
        aside = (place - (len(comparison.variants) - 1) / 2) * APART
        if comparison.budget_kind == "time":
            aside = 0.0
        where = axes.transData + ScaledTranslation(aside / 72, 0, figure.dpi_scale_trans)
        if len(lines) > 1:
            axes.plot(*columns(lines), color=style.colour, linewidth=1.6, transform=where)
        mark: dict[str, Any] = {
            "color": style.colour,
            "markersize": 6.5,
            "alpha": 0.75,
            "clip_on": False,
        }
        axes.plot(*columns(marks), style.marker, transform=where, **mark)
    kind = comparison.first(probe).kind
    axes.set_xlabel("FLOPs", loc="right")
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: kind.write_tick(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: wording.scientific(value)))
    points = [(run.flops, run.probes[probe].value) for run in comparison.runs if run.flops]
    if points:  # lines that are moved aside have no data limits of their own
        low, high = min(x for x, _ in points) / ROOM, max(x for x, _ in points) * ROOM
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(FixedLocator(round_numbers(low, high)))
        bottom, top = min(y for _, y in points), max(y for _, y in points)
        margin = 0.12 * (top - bottom) or 0.05 * abs(top) or 1.0
        axes.set_ylim(bottom - margin, top + margin)
    return figure


def round_numbers(low: float, high: float) -> list[float]:
    """One to five of 1, 2 and 5 times a power of ten between two numbers, which must differ by a factor above 2.5."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [m * 10.0**e for e in exponents for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    return found[:: math.ceil(len(found) / 5)]
