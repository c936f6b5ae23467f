"""Tables and sections that several reports have."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from elektron.configuration import format_value
from elektron.reporting.formatting import MetricFormat
from elektron.reporting.page import Block, Cell, Details, Group, Inline, Section, Table, code, note, text
from elektron.reporting.reading import Record
from elektron.reporting.seed_comparison import Interval, Spread


def metric_cells(
    values: Sequence[float | None],
    metric: MetricFormat,
    ranked: Sequence[bool],
    intervals: Sequence[Interval | None] = (),
) -> list[Cell]:
    """Cells with a metric of several runs; the best of those that are ranked is marked, unless all look equal."""
    best = metric.best(itertools.compress(values, ranked))
    return [
        metric_cell(value, metric, interval, rank and metric.format_value(value) == best)
        for value, rank, interval in zip(values, ranked, intervals or [None] * len(values), strict=True)
    ]


def metric_cell(value: float | None, metric: MetricFormat, interval: Interval | None, is_best: bool = False) -> Cell:
    """A cell with a metric, and below it the interval and whether it is the best."""
    below = [(metric.format_interval(interval), ""), ("best" if is_best else "", "best")]
    return Cell(metric.format_value(value), strong=is_best, below=below)


def sides_table(sides: Mapping[str, Spread], metric: MetricFormat, baselines: Mapping[str, float]) -> Table:
    """A table of a metric: a row for each side with its seeds, and one for each baseline."""
    rows = []
    for name, spread in sides.items():
        seeds = " · ".join(map(metric.format_value, spread.values))
        rows.append([name, metric.format_value(spread.median), metric.format_interval(spread.ends), seeds])
    rows += [[name, metric.format_value(value), "", ""] for name, value in baselines.items()]
    return Table(["network", "median", "range", f"{metric.title}, seed by seed"], rows)


def settings_section(configs: Sequence[tuple[Cell, Record]], kind: str) -> Section:
    """A section with all settings of runs or models (`kind`), under dotted names, and those that differ."""
    several, settings = len(configs) > 1, [settings for _, settings in configs]
    names = [name for name, _ in configs] if several else [Cell("value")]
    groups: dict[str, list[str]] = {"": []}
    for name in dict.fromkeys(itertools.chain(*settings)):
        groups.setdefault(name.partition(".")[0] if "." in name else "", []).append(name)

    def differs(name: str) -> bool:
        return any(each.get(name) != settings[0].get(name) for each in settings)

    def row(name: str, shown: str) -> list[Inline]:
        return [code(shown), *(code(format_value(each.get(name))) for each in settings)]

    tables = []
    for group, members in groups.items():
        rows = [row(name, name.removeprefix(f"{group}.")) for name in members]
        tables += [Table([group or kind, *names], rows, highlighted=list(map(differs, members)))] if rows else []
    if not tables:
        return Section("Configuration", [])
    blocks: list[Block] = []
    if differing := list(filter(differs, itertools.chain(*groups.values()))):
        blocks.append(text(f"The settings in which these {kind}s differ:"))
        blocks.append(Table(["setting", *names], [row(name, name) for name in differing]))
    elif several:
        blocks.append(text(f"All {kind}s have the same settings."))
    css = "settings many" if several else "settings"
    blocks.append(Details("All settings", [Group(css, tables)], open=not several))
    return Section("Configuration", blocks)


def versions_section(versions: Sequence[tuple[Cell, Record]]) -> Section:
    """The versions of the libraries that each run was made with."""
    notes = []
    for name, libraries in versions:
        listed = " · ".join(f"{library} {format_value(value)}" for library, value in libraries.items())
        notes += [note(name, f": {listed}") if len(versions) > 1 else note(listed)] if listed else []
    return Section("Versions", notes)
