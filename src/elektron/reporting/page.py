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

from elektron.errors import ElektronError
from elektron.io.files import atomic_write, make_parents, refuse_foreign
from elektron.reporting import markdown
from elektron.reporting.charts import Style
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
        below = "; ".join(markdown.plain(line) for line in (self.badge, *(line for line, _ in self.below)) if line)
        return f"{text} ({below})" if below else text


Inline = Cell | str


def code(text: str) -> Cell:
    """Text as code."""
    return Cell(text, code=True)


def named(text: str, style: Style | None = None, badge: str = "", remark: str = "") -> Cell:
    """The name of a run: its marker, what it is, and what is wrong with it."""
    return Cell(text, style=style, badge=badge, below=[(remark, "remark")] if remark else ())


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
