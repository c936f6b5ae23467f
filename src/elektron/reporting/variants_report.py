"""The results of `elektron compare`: `comparison.json`, a table in Markdown, and an HTML page."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from elektron.io.files import atomic_write, to_json
from elektron.reporting import charts, markdown, page
from elektron.reporting.formatting import MetricFormat, compact, decimal, duration, integer, metric_format, scientific
from elektron.reporting.page import Cell, Inline, Report, Section, Table, note
from elektron.reporting.seed_comparison import MIN_SEEDS, Interval, Outcome, Spread, compare_seeds, separation_odds
from elektron.sweep import format_settings

MARKDOWN, PAGE = "comparison.md", "comparison.html"
PRETRAINING_COLUMNS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "generator_loss": ("generator loss", lambda value: decimal(value, 3)),
    "discriminator_auc": ("AUC", lambda value: decimal(value, 3)),
    "flops": ("FLOPs", scientific),
    "seconds": ("time", duration),
    "tokens": ("tokens", compact),
    "discriminator_parameters": ("parameters", compact),
}
"""Title and format of the columns on pre-training, which have medians over the seeds."""


@dataclass(frozen=True)
class ProbeResult:
    """A run's result on a probe, which is a task that its discriminator is fine-tuned on."""

    command: str
    """The arguments of `elektron finetune`."""
    task: str
    metric: str
    """The task's main metric; the rest is about its value on `split`."""
    split: Literal["test", "eval"]
    rows: float | None
    value: float
    interval: Interval | None
    collapsed: str | None
    """The constant prediction, if the model has collapsed to one."""
    baselines: dict[str, float] = field(default_factory=dict)
    """The metric of simple methods on the same rows."""

    @property
    def format(self) -> MetricFormat:
        """How the metric is written."""
        return metric_format(self.metric, self.task)


@dataclass(frozen=True)
class VariantRun:
    """`result.json`: one pre-training of a variant, and its probes by name."""

    variant: str
    budget: str
    seed: int
    folder: str
    """Path relative to the comparison's folder; it has a folder for each probe, and `pretraining`."""
    flops: float | None = None
    seconds: float | None = None
    tokens: float | None = None
    generator_loss: float | None = None
    discriminator_auc: float | None = None
    parameters: dict[str, int] = field(default_factory=dict)
    device: str | None = None
    probes: dict[str, ProbeResult] = field(default_factory=dict)

    @property
    def discriminator_parameters(self) -> int | None:
        """The number of the discriminator's parameters."""
        return self.parameters.get("discriminator")

    def link(self, name: str) -> str:
        """URL of the report on a probe, or on `pretraining`, relative to the comparison's folder."""
        # `./` prevents a name from being read as a URL scheme
        return "./" + quote(f"{self.folder}/{name}/report.html")


@dataclass(frozen=True)
class VariantResult:
    """A variant: one way to pre-train."""

    name: str
    settings: dict[str, Any]
    """The settings in which it differs from the others."""


@dataclass(frozen=True)
class Comparison:
    """The content of `comparison.json`."""

    recipe: str
    data: str
    shared: dict[str, Any]
    """Settings that were given to all variants."""
    budget_kind: Literal["time", "flops"]
    budgets: list[str]
    """The budgets, smallest first."""
    seeds: list[int]
    probes: dict[str, str]
    """The arguments of `elektron finetune`, by the name of the probe."""
    variants: list[VariantResult]
    """The first is what the others are compared with."""
    runs: list[VariantRun]

    def first(self, probe: str) -> ProbeResult:
        """The first run's result on a probe, for task, metric and rows, which are the same for all runs."""
        return self.runs[0].probes[probe]

    def heading(self, probe: str) -> str:
        """The heading of a probe's column: its name, metric and split."""
        first = self.first(probe)
        return f"{probe}, {first.format.title} on {first.split}"

    def runs_of(self, variant: str, budget: str) -> list[VariantRun]:
        """The runs of a variant at a budget, one per seed."""
        return [run for run in self.runs if (run.variant, run.budget) == (variant, budget)]

    def median(self, name: str, variant: str, budget: str) -> float | None:
        """The median of a pre-training metric over the seeds that have it."""
        runs = self.runs_of(variant, budget)
        values = [value for run in runs if (value := getattr(run, name)) is not None]
        return statistics.median(values) if values else None

    def spread(self, probe: str, variant: str, budget: str) -> Spread:
        """A probe's metric over the seeds."""
        return Spread([run.probes[probe].value for run in self.runs_of(variant, budget)])

    def outcome(self, probe: str, variant: str, budget: str) -> Outcome | None:
        """Whether a variant is ahead of the first one; None for the first one itself."""
        first = self.variants[0].name
        if variant == first:
            return None
        base, other = ([run.probes[probe] for run in self.runs_of(name, budget)] for name in (first, variant))
        return compare_seeds(
            [result.value for result in base],
            [result.value for result in other],
            [result.interval for result in (*base, *other)],
            self.first(probe).format.less_is_better,
        )


def write_comparison(folder: Path, comparison: Comparison) -> str:
    """Write `comparison.json`, `comparison.md` and `comparison.html`, and return the text of the Markdown file.

    Raises:
        ElektronError: the page cannot be written.
    """
    atomic_write(folder / "comparison.json", to_json(comparison, indent=1))
    text = comparison_markdown(comparison)
    atomic_write(folder / MARKDOWN, text)
    variants_report(comparison).write(folder / PAGE)
    return text


def comparison_markdown(comparison: Comparison) -> str:
    """The table of results and its notes in Markdown."""
    bullets = "\n".join(f"- {markdown.plain(sentence)}" for sentence in notes(comparison))
    return f"{quality_table(comparison).markdown()}\n\n{bullets}\n"


def variants_report(comparison: Comparison) -> Report:
    """Create the HTML report."""
    count = len(comparison.variants)
    variants = f"{count} variant{'s' if count > 1 else ''}"
    compute = "equal compute" if count > 1 else "several budgets" if len(comparison.budgets) > 1 else "one budget"
    commands: list[page.Block] = []
    for probe, command in comparison.probes.items():
        commands += [page.Heading(probe), page.Code(f"elektron finetune {command}")]
    drawn = page.Group("charts", [quality_chart(comparison, p) for p in comparison.probes])
    return Report(
        title=f"{variants} compared",
        kind="comparison",
        heading=[f"{variants} at {compute}"],
        sections=[
            Section("Quality", [quality_table(comparison), *map(note, notes(comparison))]),
            Section("Quality against compute", [page.Legend(_names(comparison)), drawn]),
            Section("Runs", [note("Each value links to its report."), _runs_table(comparison)]),
            Section("Probes", commands),
        ],
    )


def _names(comparison: Comparison) -> list[Cell]:
    """The names of the variants, each with its marker."""
    return [Cell(v.name, style=charts.style(index), code=True) for index, v in enumerate(comparison.variants)]


def quality_table(comparison: Comparison) -> Table:
    """A row for each variant at each budget: medians over the seeds, ranges and verdicts."""
    several = len(comparison.budgets) > 1
    head = ["variant", *(["budget"] if several else []), *map(comparison.heading, comparison.probes)]
    rows = []
    for budget, name in itertools.product(comparison.budgets, _names(comparison)):
        row: list[Inline] = [name, *([budget] if several else [])]
        row += [_quality(comparison, probe, name.text, budget) for probe in comparison.probes]
        row += [
            format_number(comparison.median(metric, name.text, budget))
            for metric, (_, format_number) in PRETRAINING_COLUMNS.items()
        ]
        rows.append(row)
    return Table([*head, *(title for title, _ in PRETRAINING_COLUMNS.values())], rows)


def _quality(comparison: Comparison, probe: str, variant: str, budget: str) -> Cell:
    spread, metric = comparison.spread(probe, variant, budget), comparison.first(probe).format
    css = {"ahead": "best", "behind": "remark"}
    below = [(metric.format_interval(spread.ends), "")] if len(spread.values) > 1 else []
    if outcome := comparison.outcome(probe, variant, budget):
        below.append((str(outcome), f"verdict {css.get(outcome.result, '')}"))
    return Cell(metric.format_value(spread.median), below=below)


def quality_chart(comparison: Comparison, probe: str) -> page.Chart:
    """Draw a mark for each run over its FLOPs; with several budgets, a curve through each variant's medians."""
    first, several = comparison.first(probe), len(comparison.budgets) > 1
    figure = charts.line_chart(
        quality_lines(comparison, probe), "FLOPs", scientific, first.format.format_tick, log_x=True
    )
    title = f"{first.format.title_in_chart} of every run over its FLOPs"
    svg = charts.inline_svg(figure, f"probe-{list(comparison.probes).index(probe)}", title)
    caption = f"A mark is a run{', a curve goes through the medians' if several else ''}."
    return page.Chart(svg, caption, probe, f"{first.format.title} on {first.split}", "large")


def quality_lines(comparison: Comparison, probe: str) -> list[charts.Line]:
    """Medians and runs of each variant."""
    drawn: list[charts.Line] = []
    for index, variant in enumerate(comparison.variants):
        style, name = charts.style(index), variant.name
        medians = [
            (flops, comparison.spread(probe, name, budget).median)
            for budget in comparison.budgets
            if (flops := comparison.median("flops", name, budget)) is not None
        ]
        runs = [run for run in comparison.runs if run.variant == name]
        marks = [(run.flops, run.probes[probe].value) for run in runs if run.flops is not None]
        if len(medians) > 1:
            drawn.append((medians, {"color": style.color, "linewidth": 1.6}))
        options = {"color": style.color, "markersize": 6.5, "alpha": 0.75, "clip_on": False}
        drawn.append((marks, options | {"marker": style.marker, "linestyle": ""}))
    return drawn


def _runs_table(comparison: Comparison) -> Table:
    rows: list[list[Inline]] = []
    for run in comparison.runs:
        row: list[Inline] = [run.variant, run.budget, str(run.seed)]
        row.append(Cell("report", href=run.link("pretraining")))
        for probe in comparison.probes:
            result = run.probes[probe]
            row.append(Cell(result.format.format_value(result.value), href=run.link(probe)))
        rows.append(row)
    return Table(["variant", "budget", "seed", "pre-training", *comparison.probes], rows)


def notes(comparison: Comparison) -> Iterator[str]:
    """Yield sentences that explain the table."""
    seeds = comparison.seeds
    by = "seed 1" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    kind = "wall-clock time of training" if comparison.budget_kind == "time" else "counted FLOPs"
    shared = f", with {format_settings(comparison.shared)} in all variants" if comparison.shared else ""
    medians = " Values are medians over the seeds, with the lowest and the highest." if len(seeds) > 1 else ""
    yield (
        f"Recipe {comparison.recipe} on {comparison.data}{shared}; every variant pre-trained and "
        f"fine-tuned with {by} at equal {kind}: {', '.join(comparison.budgets)}.{medians}"
    )
    varied = [name for variant in comparison.variants for name in variant.settings]
    if not any(name.endswith("learning_rate") for name in varied):
        yield (
            "No learning rate was tuned per variant: each has its recipe's or the one it was given, and might do "
            "better with another."
        )
    first = comparison.variants[0].name
    if len(comparison.variants) > 1 and len(seeds) < MIN_SEEDS:
        yield f"Against {first}: no comparison with fewer than {MIN_SEEDS} seeds."
    elif len(comparison.variants) > 1:
        yield (
            f"Against {first}: ahead or behind where all seeds of one are beyond all seeds of the other and the "
            "medians differ by more than half of the 95 % bootstrap interval. By chance, this happens to variants "
            f"that do not differ in one of {separation_odds(len(seeds)):,} cases."
        )
    for probe in comparison.probes:
        result = comparison.first(probe)
        rows = f"{integer(result.rows)} rows" if result.rows is not None else "rows"
        of_eval = ", on which the best epoch was chosen: too high for all variants" if result.split == "eval" else ""
        values = ", ".join(f"{result.format.format_value(value)} ({name})" for name, value in result.baselines.items())
        baselines = f" Simple baselines: {values}." if values else ""
        yield f"{comparison.heading(probe)}: {rows}{of_eval}.{baselines}"
    yield (
        "Generator loss and AUC (of detecting replaced tokens) are of held-out rows; they can be compared where "
        "objective and generator are the same. FLOPs are those of matrix products, forward and backward; time is of "
        "training alone; parameters are the discriminator's."
    )
    for run in comparison.runs:
        for probe, result in run.probes.items():
            if result.collapsed:
                yield f"{probe} collapsed in {run.folder}: it predicts the same for every row."
    devices = sorted({run.device for run in comparison.runs if run.device})
    if len(devices) == 1:
        yield f"Device: {devices[0]}."
    elif devices:
        unequal = " Equal time then does not mean equal compute." if comparison.budget_kind == "time" else ""
        yield f"The runs were on different devices: {', '.join(devices)}.{unequal}"
