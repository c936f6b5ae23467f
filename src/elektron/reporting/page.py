"""What every report is made of: sections of tables, charts and text, rendered to HTML by `page.html.jinja`.

Everything printed is escaped, with control characters written out. A page is one file without a script; its content
policy forbids a browser to load anything. Tables are rendered to Markdown too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from elektron.configuration import format_value
from elektron.errors import ElektronError
from elektron.io.files import atomic_write, make_parents, refuse_foreign
from elektron.reporting import markdown
from elektron.reporting.charts import Style
from elektron.reporting.formatting import MetricFormat
from elektron.reporting.reading import Record
from elektron.reporting.seed_comparison import Interval, Spread
from elektron.terminal import escape_control

OURS = b'<p class="eyebrow">Elektron'
"""Is in every page."""


@dataclass(frozen=True)
class Token:
    """A token of running text."""

    text: str
    space: bool = True
    """Whether a space is before it."""
    shade: float = 0.0
    """From 0 to 1, the strongest; down to -1 in another color."""
    note: str = ""
    """Small, beside it: a probability or a tag."""
    correction: str | None = None
    """The right one, where this is wrong."""
    dotted: bool = False
    title: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell of a table, or a run of text with a form of its own."""

    text: str = ""
    code: bool = False
    strong: bool = False
    style: Style | None = None
    """Its marker is before the text."""
    badge: str = ""
    href: str = ""
    below: Sequence[tuple[str, str]] = ()
    """Small lines under the text, each with its CSS class."""
    bar: float | None = None
    """From 0 to 1, instead of a text."""
    tokens: Sequence[Token] = ()

    def markdown(self) -> str:
        """Without links and markers."""
        text = (markdown.code if self.code else markdown.plain)(self.text)
        below = "; ".join(markdown.plain(line) for line, _ in self.below if line)
        return f"{text} ({below})" if below else text


Inline = Cell | str


def code(text: str) -> Cell:
    """Text as code."""
    return Cell(text, code=True)


def named(text: str, style: Style | None = None, badge: str = "", remark: str = "") -> Cell:
    """The name of a run: its marker, what it is, and what is wrong with it."""
    return Cell(text, style=style, badge=badge, below=[(remark, "remark")] if remark else ())


class Block:
    """Part of a section."""

    @property
    def template(self) -> str:
        """The macro that renders it."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Text(Block):
    """A paragraph."""

    parts: Sequence[Inline]
    css: str = ""


def text(*parts: Inline) -> Text:
    """A paragraph."""
    return Text(parts)


def note(*parts: Inline) -> Text:
    """A paragraph of smaller importance."""
    return Text(parts, "note")


@dataclass(frozen=True)
class Heading(Block):
    """A heading inside a section."""

    content: Inline


@dataclass(frozen=True)
class Code(Block):
    """Code to copy."""

    text: str


@dataclass(frozen=True)
class Warnings(Block):
    """What a reader must know; a calm sentence where there is nothing."""

    items: Sequence[Sequence[Inline]]
    otherwise: str


@dataclass(frozen=True)
class Tile:
    """One main metric with its meaning."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Tiles(Block):
    """The main metrics."""

    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Facts(Block):
    """Names and values in a row."""

    facts: Mapping[str, str]


@dataclass(frozen=True)
class Table(Block):
    """A table; all columns but the first and the named ones are aligned to the right."""

    head: Sequence[Inline]
    rows: Sequence[Sequence[Inline]]
    left: Sequence[int] = ()
    """Further columns that are aligned to the left."""
    widths: Sequence[int] = ()
    """Of the columns in percent, where they are fixed; all are aligned to the left then."""
    highlighted: Sequence[bool] = ()
    """For each row."""

    def markdown(self) -> str:
        """In Markdown, whose tables have a head."""
        head = self.head or [""] * len(self.rows[0])
        lines = [
            [(cell if isinstance(cell, Cell) else Cell(cell)).markdown() for cell in row] for row in [head, *self.rows]
        ]
        return markdown.table(lines[0], lines[1:])


@dataclass(frozen=True)
class Matrix(Block):
    """A confusion matrix: a row for each true class."""

    labels: Sequence[str]
    counts: Sequence[Sequence[int]]

    @property
    def totals(self) -> list[int]:
        """Rows of each true class, at least 1."""
        return [max(1, sum(counts)) for counts in self.counts]


@dataclass(frozen=True)
class Heatmap(Block):
    """Numbers as shades: those of `strongest`, one for each row, and above have the strongest."""

    corner: str
    columns: Sequence[str]
    rows: Sequence[str]
    values: Sequence[Sequence[float]]
    strongest: Sequence[float]


@dataclass(frozen=True)
class Chart(Block):
    """A drawing with the words around it."""

    svg: Markup
    caption: str = ""
    title: str = ""
    unit: str = ""
    size: str = ""
    """`large` or `small` in a grid, `square` alone."""


@dataclass(frozen=True)
class Group(Block):
    """Blocks in a grid of charts (`charts`) or side by side (`beside`)."""

    css: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Legend(Block):
    """What markers and strokes mean."""

    items: Sequence[Inline]


@dataclass(frozen=True)
class Sentences(Block):
    """Texts token by token, with a legend of the shades."""

    lowest: str
    highest: str
    texts: Sequence[Sequence[Token]]


@dataclass(frozen=True)
class Details(Block):
    """Blocks that can be folded."""

    summary: Inline
    blocks: Sequence[Block]
    open: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading of its own; it is left out without blocks."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Report:
    """A page."""

    title: str
    kind: str
    """`pre-training report`, for the line over the heading."""
    heading: Sequence[Inline]
    lead: str = ""
    blocks: Sequence[Block] = ()
    """Before the first section."""
    sections: Sequence[Section] = ()

    def html(self) -> str:
        """The page."""
        return templates().get_template("page.html.jinja").render(report=self)

    def write(self, out: Path) -> None:
        """Write the page.

        Raises:
            ElektronError: it cannot be written, or another file is there.
        """
        if out.is_dir():
            raise ElektronError(f"{out} is a folder: give the name of a file, such as report.html")
        refuse_foreign(out, OURS)
        try:
            make_parents(out)
            atomic_write(out, self.html())
        except OSError as error:
            raise ElektronError(f"{out}: the page cannot be written ({error.strerror}): choose another name") from error


def templates(autoescape: bool = True, finalize: Callable[[Any], Any] | None = None) -> Environment:
    """The templates of this package.

    Args:
        autoescape: whether what is printed is escaped for HTML.
        finalize: applied to everything that is printed (default: control characters are written out).
    """
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize or _control_characters_visible,
    )


def _control_characters_visible(value: Any) -> Any:
    """Applied to every expression of the template before it is escaped."""
    return escape_control(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def metric_cells(
    values: Sequence[float | None],
    metric: MetricFormat,
    ranked: Sequence[bool],
    intervals: Sequence[Interval | None] = (),
) -> list[Cell]:
    """A metric of several runs; the best of those that are ranked is marked, unless all look equal."""
    best = metric.best([value for value, rank in zip(values, ranked, strict=True) if rank])
    cells = []
    for place, (value, rank) in enumerate(zip(values, ranked, strict=True)):
        is_best = rank and metric.format_value(value) == best
        below = [(metric.format_interval(intervals[place]), "")] if intervals else []
        below += [("best", "best")] if is_best else []
        cells.append(Cell(metric.format_value(value), strong=is_best, below=below))
    return cells


def sides_table(
    sides: Mapping[str, Spread],
    metric: MetricFormat,
    baselines: Mapping[str, float],
) -> Table:
    """A metric of two sides over their seeds, and of baselines by their names."""
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
    """All settings of one or several runs, under dotted names, and those that differ.

    Args:
        configs: each run's name and settings.
        kind: what the runs are called: `run` or `model`.
    """
    if not any(settings for _, settings in configs):
        return Section("Configuration", [])
    names = [name for name, _ in configs] if len(configs) > 1 else [Cell("value")]
    groups: dict[str, list[str]] = {"": []}
    differing = []
    for name in dict.fromkeys(name for _, settings in configs for name in settings):
        groups.setdefault(name.partition(".")[0] if "." in name else "", []).append(name)
        values = [settings.get(name) for _, settings in configs]
        if any(value != values[0] for value in values):
            differing.append(name)

    def row(name: str, shown: str) -> list[Inline]:
        return [code(shown), *(code(format_value(settings.get(name))) for _, settings in configs)]

    blocks: list[Block] = []
    if len(configs) > 1 and differing:
        table = Table(["setting", *names], [row(name, name) for name in differing])
        blocks += [text(f"The settings in which these {kind}s differ:"), table]
    elif len(configs) > 1:
        blocks.append(text(f"All {kind}s have the same settings."))
    tables = [
        Table(
            [group or kind, *names],
            [row(name, name.partition(".")[2] if group else name) for name in members],
            highlighted=[name in differing for name in members],
        )
        for group, members in groups.items()
        if members
    ]
    css = "settings" if len(configs) == 1 else "settings many"
    blocks.append(Details("All settings", [Group(css, tables)], open=len(configs) == 1))
    return Section("Configuration", blocks)


def versions_section(versions: Sequence[tuple[Cell, Record]]) -> Section:
    """The versions of the libraries that each run was made with."""
    notes = []
    for name, libraries in versions:
        listed = " · ".join(f"{library} {format_value(value)}" for library, value in libraries.items())
        if listed:
            notes.append(note(name, f": {listed}") if len(versions) > 1 else note(listed))
    return Section("Versions", notes)
