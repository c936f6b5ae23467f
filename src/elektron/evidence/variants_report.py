"""What a comparison leaves beside its runs: all figures, the table in Markdown, and a page."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from urllib.parse import quote

from elektron.evidence import page
from elektron.evidence.variants import Comparison
from elektron.evidence.variants_chart import charts
from elektron.evidence.variants_table import FIGURES, document, notes, rows
from elektron.folders import write_whole

FIGURES_FILE = "comparison.json"
TABLE = "comparison.md"
PAGE = "comparison.html"


def write_comparison(folder: Path, comparison: Comparison) -> str:
    """Write the three files; the text of the table.

    Raises:
        ElektronError: the page cannot be written.
    """
    figures = dataclasses.asdict(comparison)
    write_whole(
        folder / FIGURES_FILE, json.dumps(figures, indent=1, ensure_ascii=False, default=str)
    )
    table = document(comparison)
    write_whole(folder / TABLE, table)
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
