"""What all drawings share: sizes, round numbers on the axes, how runs are told apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, MaxNLocator

from elektron.reporting import wording
from elektron.reporting.inline_svg import (
    CSS_VARIABLES,
    GRID,
    RULE,
    RUN_COLOURS,
    TEXT,
    inline_svg,
)
from elektron.reporting.kinds import Kind
from elektron.reporting.worth import Spread

# A run's marker in matplotlib, and the character that stands for it in the page's legend.
MARKERS = [
    ("o", "●"), ("s", "■"), ("^", "▲"), ("D", "◆"), ("v", "▼"), ("P", "✚"), ("X", "✖"), ("*", "★"),
]  # fmt: skip

# Round numbers on the axes.
ROUND = [1, 2, 2.5, 5, 10]

# Width and height in CSS pixels. Both kinds are shown at about this size, so that their text is
# of about one size.
LARGE, SMALL = (440, 265), (340, 180)
FONT_SIZE = 11.5
MARGINS = {"left": 46, "right": 14, "top": 10, "bottom": 36}

Point = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """How a run is told from the others: by colour and by the marker at the end of its curve."""

    colour: str
    """In a drawing."""
    css_colour: str
    marker: str
    """In a drawing."""
    character: str


def look(index: int) -> Look:
    """That of the run at this place in the report; the first 64 differ."""
    roles, place = divmod(index, len(RUN_COLOURS))
    colour = RUN_COLOURS[place]
    return Look(colour, f"var({CSS_VARIABLES[colour]})", *MARKERS[(place + roles) % len(MARKERS)])


@dataclass(frozen=True)
class Palette:
    """The colours of a drawing."""

    text: str
    grid: str
    rule: str
    runs: list[str]


# Of a drawing in the page, where they become the page's own, light or dark.
PAGE = Palette(TEXT, GRID, RULE, RUN_COLOURS)
# Of a drawing in a file of its own: the page's light ones.
PAPER = Palette("#6a6459", "#ece8df", "#b3ab9d", ["#b95f0c", "#2462a8"])


def blank(
    size: tuple[int, int], left: int = MARGINS["left"], palette: Palette = PAGE
) -> tuple[Figure, Axes]:
    """A drawing whose margins line up with those of its neighbours."""
    width, height = size
    figure = Figure(figsize=(width / 72, height / 72))  # SVG has 72 units an inch
    axes = figure.add_axes(
        (
            left / width,
            MARGINS["bottom"] / height,
            1 - (left + MARGINS["right"]) / width,
            1 - (MARGINS["bottom"] + MARGINS["top"]) / height,
        )
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(palette.rule)
    axes.tick_params(length=0, pad=6, colors=palette.text, labelsize=FONT_SIZE)
    axes.xaxis.label.set(color=palette.text, fontsize=FONT_SIZE - 1)
    axes.grid(axis="y", color=palette.grid, linewidth=1)
    axes.set_axisbelow(True)
    return figure, axes


def seed_dots(sides: Mapping[str, Spread], kind: Kind, split: str, name: str) -> Markup:
    """Sides of a comparison, the first at the top: a dot a seed, a bar at the median."""
    figure = f"{kind.drawn} on {split}"
    drawing, axes = blank((LARGE[0], 40 + 45 * len(sides)), left=92)
    names = list(sides)[::-1]
    colours = RUN_COLOURS[: len(sides)][::-1]
    for row, (side, colour) in enumerate(zip((sides[n] for n in names), colours, strict=True)):
        axes.plot([side.median] * 2, [row - 0.26, row + 0.26], color=colour, linewidth=2.2)
        axes.plot(
            side.values, [row] * len(side.values), "o", color=colour, markersize=7, alpha=0.65
        )
    axes.set_ylim(-0.6, len(sides) - 0.4)
    axes.set_yticks(range(len(sides)), names)
    axes.margins(x=0.12)
    axes.set_xlabel(figure, loc="right")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=ROUND))
    axes.xaxis.set_major_formatter(Ticks(kind.write_tick))
    return inline_svg(drawing, name, f"{figure} of every seed, {' and '.join(sides)}")


def columns(points: list[Point]) -> tuple[list[float], list[float]]:
    """All x and all y."""
    return [x for x, _ in points], [y for _, y in points]


def tick(value: float) -> str:
    """A number beside an axis."""
    return wording.short(value) if abs(value) >= 1000 else f"{value:g}".replace("-", "−")


class Ticks(Formatter):
    """Numbers beside an axis, with more digits where some would read the same, as years do."""

    def __init__(self, write: Callable[[float], str] = tick) -> None:
        self._write = write

    def __call__(self, value: float, pos: int | None = None) -> str:
        """What stands at a tick, whatever stands at others."""
        return self._write(value)

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """What stands at all ticks."""
        written = [self._write(value) for value in values]
        shown = [text for text in written if text]
        if len(set(shown)) == len(shown):
            return written
        return [
            f"{value:,.10g}".replace("-", "−") if text else ""
            for value, text in zip(values, written, strict=True)
        ]
