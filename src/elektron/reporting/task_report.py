"""The page on a fine-tuned model, or on several side by side.

What the page says is gathered here; how it looks is in `task_report.html.jinja`, for several in
`task_comparison.html.jinja`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from elektron.reporting import comparison, page, predictions, task_charts
from elektron.reporting.drawing import seed_dots
from elektron.reporting.reading import Record
from elektron.reporting.results import Result, read_result
from elektron.reporting.seeds import Worth, was_it_worth_it
from elektron.reporting.task_comparison import side_by_side
from elektron.reporting.task_summary import (
    baseline_figure,
    facts,
    headlines,
    lead,
    seed_spreads,
    seeds_sentences,
    task_name,
    warnings,
)
from elektron.reporting.task_tables import (
    confused_pairs,
    figures,
    matrix,
    per_class,
    run_names,
    runs_table,
    search_table,
)
from elektron.reporting.usage import usage
from elektron.reporting.worth import Spread

REPORT = "report.html"


def write_report(folder: Path) -> Path:
    """Write `report.html` into the folder of a fine-tuned model; the path of the file.

    Raises:
        ElektronError: a file in the folder is damaged, or the page cannot be written.
    """
    out = folder / REPORT
    page.write_page(out, render([read_result(folder)]))
    return out


def plot(folder: Path) -> Path | None:
    """Draw `plot.png` into the folder; the path of the file, None where there is nothing to draw.

    Raises:
        ElektronError: a file in the folder is damaged, or the picture cannot be written.
    """
    return task_charts.plot(read_result(folder))


def render(results: Sequence[Result]) -> str:
    """The page on one fine-tuned model or several."""
    if len(results) == 1:
        return page.render("task_report.html.jinja", **_content(results[0]))
    return page.render("task_comparison.html.jinja", **side_by_side(results))


def _content(result: Result) -> Record:
    """What the page on one model says."""
    worth = was_it_worth_it(result)
    spreads = seed_spreads(result)
    return {
        "result": result,
        "details": result.details,
        "task": task_name(result),
        "lead": lead(result),
        "headlines": headlines(result),
        "figures": figures(result),
        "warnings": warnings(result),
        "facts": facts(result),
        "charts": task_charts.learning_curves(result),
        "run_names": run_names(result),
        "runs": runs_table(result),
        "search": search_table(result),
        "seeds": seeds_sentences(result, spreads),
        "worth": worth,
        "main": result.kind(result.figure),
        "baseline": baseline_figure(result),
        "dots": _dots(result, worth, spreads),
        "matrix": matrix(result.details.confusion),
        "pairs": confused_pairs(result.details.confusion),
        "per_class": per_class(result),
        "scatter": task_charts.scatter(result),
        "examples": predictions.examples(result),
        "usage": usage(result, str(result.home)),
        "settings": comparison.settings([result]),
    }


def _dots(result: Result, worth: Worth | None, spreads: dict[str, Spread]) -> Markup | None:
    kind = result.kind(result.figure)
    if worth is not None:
        return seed_dots(worth.spreads, kind, worth.split, "worth")
    if not spreads:
        return None
    split = list(spreads)[-1]
    return seed_dots({"seeds": spreads[split]}, kind, split, "seeds")
