"""The parts of a report: sections of tables, charts and text, which `page.html.jinja` renders to HTML.

Everything printed is escaped, and control characters are made visible. A page is a single file without scripts; its
Content-Security-Policy forbids the browser to load anything. Tables can also be rendered to Markdown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from elektron.errors import ElektronError
from elektron.io.files import atomic_write, make_parents, refuse_foreign
from elektron.reporting import markdown
from elektron.reporting.charts import Style
from elektron.terminal import escape_control

PAGE_MARKER = b'<p class="eyebrow">Elektron'
"""A marker that every page contains: only a file with it may be overwritten."""


@dataclass(frozen=True)
class Token:
    """A token of running text."""

    text: str
    space: bool = True
    """Whether a space precedes it."""
    shade: float = 0.0
    """Strength of the shade, from 0 to 1; negative values, down to -1, have another color."""
    note: str = ""
    """Small text beside it, such as a probability or a tag."""
    correction: str | None = None
    """The right token or tag, if this one is wrong."""
    dotted: bool = False
    title: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell of a table, or a part of a paragraph with its own formatting."""

    text: str = ""
    code: bool = False
    strong: bool = False
    style: Style | None = None
    """The style of a run, whose marker precedes the text."""
    badge: str = ""
    href: str = ""
    below: Sequence[tuple[str, str]] = ()
    """Small lines under the text, each with its CSS class."""
    bar: float | None = None
    """The length of a bar, from 0 to 1, that is shown instead of the text."""
    tokens: Sequence[Token] = ()

    def markdown(self) -> str:
        """Render the cell to Markdown, without links and markers."""
        text = (markdown.code if self.code else markdown.plain)(self.text)
        below = "; ".join(markdown.plain(line) for line in (self.badge, *(line for line, _ in self.below)) if line)
        return f"{text} ({below})" if below else text


Inline = Cell | str


def code(text: str) -> Cell:
    """Text as code."""
    return Cell(text, code=True)


def named(text: str, style: Style | None = None, badge: str = "", remark: str = "") -> Cell:
    """A cell with the name of a run, its marker, a badge such as its status, and a remark below."""
    return Cell(text, style=style, badge=badge, below=[(remark, "remark")])


class Block:
    """Part of a section; `page.html.jinja` has a macro of the same name for it."""


@dataclass(frozen=True)
class Text(Block):
    """A paragraph."""

    parts: Sequence[Inline]
    css: str = ""


def text(*parts: Inline) -> Text:
    """A paragraph."""
    return Text(parts)


def note(*parts: Inline) -> Text:
    """A less prominent paragraph."""
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
    """A list of warnings, or the sentence `otherwise` if there are none."""

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
    """Widths of the columns in percent, if they are fixed; all columns are then aligned to the left."""
    highlighted: Sequence[bool] = ()
    """Whether each row is highlighted."""

    def markdown(self) -> str:
        """Render the table to Markdown; without a head it gets an empty one."""
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


@dataclass(frozen=True)
class Heatmap(Block):
    """Numbers as shades; in each row, the row's value of `strongest` and all above it have the strongest shade."""

    corner: str
    columns: Sequence[str]
    rows: Sequence[str]
    values: Sequence[Sequence[float]]
    strongest: Sequence[float]


@dataclass(frozen=True)
class Chart(Block):
    """A drawing with its title and caption."""

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
    """Blocks that can be collapsed."""

    summary: Inline
    blocks: Sequence[Block]
    open: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page with its own heading; it is left out if it has no blocks."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Report:
    """A page."""

    title: str
    kind: str
    """Shown above the heading, such as `pre-training report`."""
    heading: Sequence[Inline]
    lead: str = ""
    blocks: Sequence[Block] = ()
    """Blocks before the first section."""
    sections: Sequence[Section] = ()

    def html(self) -> str:
        """Render the page."""
        return templates().get_template("page.html.jinja").render(report=self)

    def write(self, out: Path) -> None:
        """Write the page.

        Raises:
            ElektronError: it cannot be written, or another file is there.
        """
        if out.is_dir():
            raise ElektronError(f"{out} is a folder: give the name of a file, such as report.html")
        refuse_foreign(out, PAGE_MARKER)
        try:
            make_parents(out)
            atomic_write(out, self.html())
        except OSError as error:
            raise ElektronError(f"{out}: the page cannot be written ({error.strerror}): choose another name") from error


def show_control_characters(value: Any) -> Any:
    """Replace control characters in a string by visible escapes; any other value, Markup included, is unchanged."""
    return escape_control(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def templates(autoescape: bool = True, finalize: Callable[[Any], Any] = show_control_characters) -> Environment:
    """The environment that loads the templates of this package; `finalize` is applied before anything is escaped."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )
