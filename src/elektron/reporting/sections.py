"""Tables and sections that several reports have."""

from __future__ import annotations

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
    best = metric.best([value for value, rank in zip(values, ranked, strict=True) if rank])
    cells = []
    for place, (value, rank) in enumerate(zip(values, ranked, strict=True)):
        is_best = rank and metric.format_value(value) == best
        below = [(metric.format_interval(intervals[place]), "")] if intervals else []
        below += [("best", "best")] if is_best else []
        cells.append(Cell(metric.format_value(value), strong=is_best, below=below))
    return cells


def sides_table(sides: Mapping[str, Spread], metric: MetricFormat, baselines: Mapping[str, float]) -> Table:
    """A table of a metric: a row for each side with its seeds, and one for each baseline."""
    rows = [
        [
            name,
            metric.format_value(spread.median),
            metric.format_interval(spread.ends),
            " · ".join(map(metric.format_value, spread.values)),
        ]
        for name, spread in sides.items()
    ]
    rows += [[name, metric.format_value(value), "", ""] for name, value in baselines.items()]
    return Table(["network", "median", "range", f"{metric.title}, seed by seed"], rows)


def settings_section(configs: Sequence[tuple[Cell, Record]], kind: str) -> Section:
    """A section with all settings of one or several runs, under dotted names, and those that differ.

    Args:
        configs: each run's name and settings.
        kind: what the runs are called: `run` or `model`.
    """
    several, settings = len(configs) > 1, [settings for _, settings in configs]
    names = [name for name, _ in configs] if several else [Cell("value")]
    groups: dict[str, list[str]] = {"": []}
    for name in dict.fromkeys(name for known in settings for name in known):
        groups.setdefault(name.partition(".")[0] if "." in name else "", []).append(name)

    def differs(name: str) -> bool:
        return any(known.get(name) != settings[0].get(name) for known in settings)

    def row(name: str, shown: str) -> list[Inline]:
        return [code(shown), *(code(format_value(known.get(name))) for known in settings)]

    tables = [
        Table(
            [group or kind, *names],
            [row(name, name.removeprefix(f"{group}.")) for name in members],
            highlighted=[differs(name) for name in members],
        )
        for group, members in groups.items()
        if members
    ]
    if not tables:
        return Section("Configuration", [])
    blocks: list[Block] = []
    if differing := [name for members in groups.values() for name in members if differs(name)]:
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
