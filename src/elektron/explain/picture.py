"""One text with shaded words as a picture."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle

from elektron.explain.explainer import Explanation
from elektron.explain.page import described, shaded
from elektron.reporting.charts import DOTS_PER_INCH, INK, RUN_COLORS, TEXT, fonts
from elektron.reporting.page import Token
from elektron.terminal import escape_control

WIDTH = 8.0
"""Inches."""
FONT_SIZE, NAME_SIZE = 12.0, 10.0
MARGIN, LINE = 36.0, 44.0
"""Pixels."""
MOST_ANSWERS = 12
FOR, AGAINST = RUN_COLORS[0], RUN_COLORS[1]

Drawn = tuple[float, float, float, Token, FontProperties]
"""Left, top and width in pixels."""


def picture(explanation: Explanation) -> Figure:
    """The answers of a text below one another, each over the text."""
    figure = Figure(figsize=(WIDTH, WIDTH), dpi=DOTS_PER_INCH)
    renderer = FigureCanvasAgg(figure).get_renderer()
    normal = FontProperties(family=fonts(), size=FONT_SIZE)
    small = FontProperties(family=fonts(), size=NAME_SIZE)
    right = WIDTH * DOTS_PER_INCH - MARGIN
    drawn: list[Drawn] = []
    top = MARGIN

    def write(tokens: Sequence[Token], font: FontProperties) -> None:
        nonlocal top
        left = MARGIN
        for token in tokens:
            for piece in pieces(token):
                width = renderer.get_text_width_height_descent(piece.text, font, ismath=False)[0]
                if left + width > right and left > MARGIN:
                    left, top = MARGIN, top + LINE
                    if not piece.text.strip():
                        continue
                drawn.append((left, top, width, piece, font))
                left += width
        top += LINE

    for explained in explanation.answers[:MOST_ANSWERS]:
        write([Token(explained.answer.name + described(explained), space=False)], small)
        for tokens in shaded(explanation.reading, explained):
            write(tokens, normal)
        top += LINE / 2
    if not explanation.answers:
        write([Token("No tag but O is predicted.", space=False)], small)
    write([Token("orange: speaks for the answer · blue: speaks against it", space=False)], small)
    height = top + MARGIN - LINE / 2
    figure.set_size_inches(WIDTH, height / DOTS_PER_INCH)
    for left, its_top, width, token, font in drawn:
        draw(figure, left, height - its_top, width, token, font)
    return figure


def pieces(token: Token) -> list[Token]:
    """A token, or the words of one that has no shade and may be long."""
    text = " " * token.space + escape_control(token.text)
    if token.title:
        return [Token(text, False, token.shade, dotted=token.dotted, title=token.title)]
    words = text.split(" ")
    return [Token(word + " " * (number < len(words) - 1), False) for number, word in enumerate(words)]


def draw(figure: Figure, left: float, top: float, width: float, token: Token, font: FontProperties) -> None:
    """One token on its shade; pixels from the left and from the bottom."""
    height = figure.get_figheight() * DOTS_PER_INCH
    total = WIDTH * DOTS_PER_INCH
    color = to_rgb(FOR if token.shade >= 0 else AGAINST)
    strength = 0.75 * abs(token.shade)
    background = tuple(1 - strength * (1 - part) for part in color)
    place = (left / total, (top - 0.8 * LINE) / height)
    size = (width / total, 0.8 * LINE / height)
    figure.add_artist(Rectangle(place, *size, facecolor=background, transform=figure.transFigure))
    if token.dotted:
        line = Rectangle(place, size[0], 2 / height, facecolor=TEXT, transform=figure.transFigure)
        figure.add_artist(line)
    figure.text(
        left / total,
        (top - 0.58 * LINE) / height,
        token.text,
        color=INK if font.get_size() == FONT_SIZE else TEXT,
        fontproperties=font,
        parse_math=False,
    )
