"""The table of a comparison, the same for the page, for Markdown and for the terminal, and its notes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from elektron.configuration import format_value
from elektron.reporting import markdown, wording
from elektron.reporting.drawing import Look, look
from elektron.reporting.resolution import SEEDS_TO_CLAIM, Verdict, chance
from elektron.reporting.variants import Comparison, Variant, VariantRun, median

FIGURES = ("generator loss", "AUC", "FLOPs", "time", "tokens", "parameters")
NOT_TUNED = (
    "No learning rate was tuned per variant: each has its recipe's or the one it was given, and might do "
    "better with another."
)


@dataclass(frozen=True)
class Cell:
    """A probe's figure over the seeds."""

    median: str
    spread: str
    """From the least to the greatest; empty for one seed."""
    verdict: Verdict | None
    """None for the variant that the others are compared with."""


@dataclass(frozen=True)
class Row:
    """A variant at a budget."""

    variant: Variant
    look: Look
    budget: str
    cells: list[Cell]
    figures: list[str]
    """Medians over the seeds, in the order of FIGURES."""


def rows(comparison: Comparison) -> list[Row]:
    """By budget, then in the order of the variants."""
    return [
        Row(
            variant=variant,
            look=look(place),
            budget=budget,
            cells=[_cell(comparison, probe, variant, budget) for probe in comparison.probes],
            figures=_figures(comparison.runs_of(variant.name, budget)),
        )
        for budget in comparison.budgets
        for place, variant in enumerate(comparison.variants)
    ]


def _cell(comparison: Comparison, probe: str, variant: Variant, budget: str) -> Cell:
    spread, kind = comparison.spread(probe, variant.name, budget), comparison.first(probe).kind
    return Cell(
        median=kind.write(spread.median),
        spread=kind.write_interval(spread.ends) if len(spread.values) > 1 else "",
        verdict=comparison.verdict(probe, variant.name, budget),
    )


def _figures(runs: list[VariantRun]) -> list[str]:
    return [
        wording.decimal(median(runs, "generator_loss"), 3),
        wording.decimal(median(runs, "discriminator_auc"), 3),
        wording.scientific(median(runs, "flops")),
        wording.duration(median(runs, "seconds")),
        wording.short(median(runs, "tokens")),
        wording.short(runs[0].parameters.get("discriminator")),
    ]


def heading(comparison: Comparison, probe: str) -> str:
    """Of a probe's column."""
    probed = comparison.first(probe)
    return f"{probe}, {probed.kind.title} on {probed.split}"


def document(comparison: Comparison) -> str:
    """Table and notes in Markdown, the table's columns aligned so that a terminal shows it too."""
    table = Table(box=box.MARKDOWN)
    several_budgets = len(comparison.budgets) > 1
    table.add_column("variant")
    probes = [
        name
        for probe in comparison.probes
        for name in (markdown.plain(heading(comparison, probe)), "resolved")
    ]
    for name in [*(["budget"] if several_budgets else []), *probes, *FIGURES]:
        table.add_column(Text(name), justify="right")
    for row in rows(comparison):
        line = [markdown.code(row.variant.name), *([row.budget] if several_budgets else [])]
        for cell in row.cells:
            line.append(f"{cell.median} ({cell.spread})" if cell.spread else cell.median)
            line.append(str(cell.verdict or wording.NOTHING))
        table.add_row(*map(Text, [*line, *row.figures]))
    written_table = io.StringIO()
    Console(file=written_table, width=10_000, color_system=None).print(table)
    text = "\n".join(f"- {markdown.plain(note)}" for note in notes(comparison))
    return f"{written_table.getvalue().strip()}\n\n{text}\n"


def notes(comparison: Comparison) -> list[str]:
    """What a reader of the table must know, one sentence or two each."""
    found = [_made_how(comparison), *_tuning(comparison)]
    if len(comparison.variants) > 1:
        found.append(_resolved_how(comparison))
    found += [_scored_how(comparison, probe) for probe in comparison.probes]
    found.append(
        "Generator loss and AUC (of telling replaced tokens) are of held-out rows; they compare where "
        "objective and generator are the same. FLOPs are those of matrix products, forward and backward; "
        "time is of training alone; parameters are the discriminator's."
    )
    return found + _collapsed(comparison) + _devices(comparison)


def _made_how(comparison: Comparison) -> str:
    seeds = comparison.seeds
    by = "seed 1" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    kind = "wall-clock time of training" if comparison.budget_kind == "time" else "counted FLOPs"
    shared = f", with {_settings(comparison.shared)} in all variants" if comparison.shared else ""
    spread = ""
    if len(seeds) > 1:
        spread = " Figures are medians over the seeds, with the least and the greatest."
    return (
        f"Recipe {comparison.recipe} on {comparison.data}{shared}; every variant pre-trained and "
        f"fine-tuned with {by} at equal {kind}: {', '.join(comparison.budgets)}.{spread}"
    )


def _settings(chosen: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {format_value(value)}" for name, value in chosen.items())


def _tuning(comparison: Comparison) -> list[str]:
    varied = [name for variant in comparison.variants for name in variant.settings]
    found = []
    if comparison.tuned:
        chosen = "; ".join(f"{v.name}: {_settings(v.chosen)}" for v in comparison.variants)
        found.append(
            f"{' and '.join(comparison.tuned)} tuned per variant with seed 1 at "
            f"{comparison.budgets[0]}, by mean rank over the probes on eval: {chosen}."
        )
    edges = [f"{v.name} ({', '.join(v.at_the_edge)})" for v in comparison.variants if v.at_the_edge]
    if edges:
        found.append(
            "The best value is the first or last of those tried, so that a better one may lie beyond: "
            f"{', '.join(edges)}."
        )
    if not any(name.endswith("learning_rate") for name in [*comparison.tuned, *varied]):
        found.append(NOT_TUNED)
    return found


def _resolved_how(comparison: Comparison) -> str:
    first = comparison.variants[0].name
    if len(comparison.seeds) < SEEDS_TO_CLAIM:
        return f"Resolved against {first}: fewer than {SEEDS_TO_CLAIM} seeds resolve nothing."
    return (
        f"Resolved against {first}: ahead or behind where all seeds of one are beyond all seeds of the "
        "other and the medians differ by more than half of the 95 % bootstrap interval. Of variants that "
        f"are alike the seeds come apart once in {chance(len(comparison.seeds)):,} by chance."
    )


def _scored_how(comparison: Comparison, probe: str) -> str:
    probed = comparison.first(probe)
    rows = f"{wording.whole(probed.rows)} " if probed.rows is not None else ""
    flattered = ""
    if probed.split == "eval":
        flattered = ", which the best epoch was chosen on: they flatter all variants"
    return f"{heading(comparison, probe)}: figures of {rows}rows{flattered}."


def _collapsed(comparison: Comparison) -> list[str]:
    """Fine-tunings that learned nothing, whose figures say little about the pre-training."""
    found = []
    for probe in comparison.probes:
        runs = [run for run in comparison.runs if run.probes[probe].collapsed]
        if runs:
            which = ", ".join(f"{run.variant} {run.budget} seed {run.seed}" for run in runs)
            found.append(f"{probe} collapsed, it predicts the same for every row: {which}.")
    return found


def _devices(comparison: Comparison) -> list[str]:
    names = sorted({run.device for run in comparison.runs if run.device})
    if len(names) < 2:
        return [f"Device: {name}." for name in names]
    unequal = " Equal time is not equal work then." if comparison.budget_kind == "time" else ""
    return [f"The runs were on different devices: {', '.join(names)}.{unequal}"]
