"""The table of a comparison, the same for the page, for Markdown and for the terminal, and its notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elektron.configuration import written
from elektron.evidence import markdown, wording
from elektron.evidence.drawing import Look, look
from elektron.evidence.resolution import Verdict, chance
from elektron.evidence.variants import Comparison, Probe, Variant, VariantRun, medians

COUNTS = {2: "two", 3: "three", 10: "ten", 35: "35"}


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
    """In the order of FIGURES."""


FIGURES = (
    "generator loss",
    "AUC",
    "FLOPs",
    "time",
    "tokens",
    "parameters",
)


def rows(comparison: Comparison) -> list[Row]:
    """By budget, then in the order of the variants."""
    return [
        Row(
            variant=variant,
            look=look(place),
            budget=budget,
            cells=[_cell(comparison, probe, variant, budget) for probe in comparison.probes],
            figures=figures(comparison.runs_of(variant.name, budget), variant),
        )
        for budget in comparison.budgets
        for place, variant in enumerate(comparison.variants)
    ]


def _cell(comparison: Comparison, probe: Probe, variant: Variant, budget: str) -> Cell:
    spread = comparison.spread(probe, variant.name, budget)
    several = len(spread.values) > 1
    return Cell(
        median=probe.kind.write(spread.median),
        spread=probe.kind.write_interval(spread.ends) if several else "",
        verdict=comparison.verdict(probe, variant.name, budget),
    )


def figures(runs: list[VariantRun], variant: Variant) -> list[str]:
    """Medians over runs of a variant, in the order of FIGURES."""
    return [
        wording.decimal(medians(runs, "generator_loss"), 3),
        wording.decimal(medians(runs, "discriminator_auc"), 3),
        wording.scientific(medians(runs, "flops")),
        wording.duration(medians(runs, "seconds")),
        wording.short(medians(runs, "tokens")),
        wording.short(variant.parameters.get("discriminator")),
    ]


def heading(probe: Probe) -> str:
    """Of a probe's column."""
    return f"{probe.name}, {probe.kind.title} on {probe.split}"


def document(comparison: Comparison) -> str:
    """Table and notes in Markdown, the table's columns aligned so that a terminal shows it too."""
    several_budgets = len(comparison.budgets) > 1
    head = ["variant", *(["budget"] if several_budgets else [])]
    for probe in comparison.probes:
        head += [markdown.plain(heading(probe)), "resolved"]
    head += FIGURES
    lines = []
    for row in rows(comparison):
        line = [markdown.code(row.variant.name), *([row.budget] if several_budgets else [])]
        for cell in row.cells:
            line.append(f"{cell.median} ({cell.spread})" if cell.spread else cell.median)
            line.append(wording.NOTHING if cell.verdict is None else str(cell.verdict))
        lines.append([*line, *row.figures])
    text = "\n".join(f"- {markdown.plain(note)}" for note in notes(comparison))
    return f"{aligned(markdown.table(head, lines))}\n\n{text}\n"


def aligned(table: str) -> str:
    """A table in Markdown with cells as wide as their column."""
    lines = [line.strip("|").split(" | ") for line in table.splitlines()]
    cells = [[cell.strip() for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    made = []
    for line in cells:
        padded = [
            _rule(cell, width)
            if set(cell) <= set("-:")
            else cell.ljust(width)
            if place == 0
            else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        made.append(f"| {' | '.join(padded)} |")
    return "\n".join(made)


def _rule(cell: str, width: int) -> str:
    """The line under the head, which says by a colon that a column stands to the right."""
    return f"{'-' * (width - 1)}:" if cell.endswith(":") else "-" * width


def notes(comparison: Comparison) -> list[str]:
    """What a reader of the table must know, one sentence or two each."""
    found = [_made_how(comparison), *_tuning(comparison)]
    if len(comparison.variants) > 1:
        found.append(_resolved_how(comparison))
    found += [_scored_how(probe) for probe in comparison.probes]
    found.append(
        "Generator loss and AUC (of telling replaced tokens) are of held-out rows; they compare where "
        "objective and generator are the same. FLOPs are those of matrix products, forward and backward; "
        "time is of training alone; parameters are the discriminator's."
    )
    found += _collapsed(comparison) + _devices(comparison)
    return found


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
    return ", ".join(f"{name} {written(value)}" for name, value in chosen.items())


NOT_TUNED = (
    "No learning rate was tuned per variant: each has its recipe's or the one it was given, and might do "
    "better with another."
)


def _tuning(comparison: Comparison) -> list[str]:
    varied = [name for variant in comparison.variants for name in variant.settings]
    about_rates = any(map(_is_rate, [*comparison.tuned, *varied]))
    if not comparison.tuned:
        return [] if about_rates else [NOT_TUNED]
    chosen = "; ".join(f"{v.name}: {_settings(v.chosen)}" for v in comparison.variants)
    found = [
        f"{' and '.join(comparison.tuned)} tuned per variant with seed 1 at {comparison.budgets[0]}, "
        f"by mean rank over the probes on eval: {chosen}."
    ]
    edges = [f"{v.name} ({', '.join(v.at_the_edge)})" for v in comparison.variants if v.at_the_edge]
    if edges:
        found.append(
            f"The best value is the first or last of those tried, so that a better one may lie beyond: "
            f"{', '.join(edges)}."
        )
    return found if about_rates else [*found, NOT_TUNED]


def _is_rate(setting: str) -> bool:
    return setting.endswith("lr")


def _resolved_how(comparison: Comparison) -> str:
    first = comparison.variants[0].name
    if len(comparison.seeds) < 2:
        return f"Resolved against {first}: one seed resolves nothing."
    odds = chance(len(comparison.seeds))
    return (
        f"Resolved against {first}: ahead or behind where all seeds of one are beyond all seeds of the "
        "other and the medians differ by more than half of the 95 % bootstrap interval. Of variants that "
        f"are alike the seeds come apart once in {COUNTS.get(odds, f'{odds:,}')} by chance."
    )


def _scored_how(probe: Probe) -> str:
    rows = f"{wording.whole(probe.rows)} " if probe.rows is not None else ""
    flattered = ""
    if probe.split == "eval":
        flattered = ", which the best epoch was chosen on: they flatter all variants"
    return f"{heading(probe)}: figures of {rows}rows{flattered}.{probe.baseline}"


def _collapsed(comparison: Comparison) -> list[str]:
    """Fine-tunings that learned nothing, whose figures say little about the pre-training."""
    found = []
    for probe in comparison.probes:
        runs = [run for run in comparison.runs if run.probes[probe.name].collapsed]
        if runs:
            which = ", ".join(f"{run.variant} {run.budget} seed {run.seed}" for run in runs)
            found.append(f"{probe.name} collapsed, it predicts the same for every row: {which}.")
    return found


def _devices(comparison: Comparison) -> list[str]:
    names = sorted({run.device for run in comparison.runs if run.device})
    if len(names) < 2:
        return [f"Device: {name}." for name in names]
    unequal = " Equal time is not equal work then." if comparison.budget_kind == "time" else ""
    return [f"The runs were on different devices: {', '.join(names)}.{unequal}"]
