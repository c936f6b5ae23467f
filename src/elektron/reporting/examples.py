"""Corrupted sentences as running text: wordpieces joined to words, shaded by probability."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elektron.reporting.formatting import percent
from elektron.reporting.page import Token
from elektron.reporting.pretraining_run import Example

CONTINUATION = "##"
NO_SPACE_BEFORE = frozenset(".,;:!?)]}%…”’")
NO_SPACE_AFTER = frozenset("([{“‘$#@")
NO_SPACE_AROUND = frozenset("-_/'’")
LEAST_RANGE = 0.2
"""If the median and the highest probability differ by less, as after a short run, all shades are weaker."""


@dataclass(frozen=True)
class Shades:
    """A scale of shades for probabilities, by their rank among all that are shown.

    If shades were proportional to probabilities, a single very high one would leave all others almost unshaded.
    """

    ascending: Sequence[float]
    """All probabilities of the examples."""
    lowest: float
    """The median, which has no shade."""
    highest: float
    """The maximum, which has the strongest shade."""
    written_out: float
    """Probabilities from here on are written out."""

    def shade(self, probability: float) -> float:
        """The shade of a probability: 0 up to the median, at most 1."""
        rank = bisect_left(self.ascending, probability) / max(1, len(self.ascending) - 1)
        strongest = min(1.0, (self.highest - self.lowest) / LEAST_RANGE)
        return strongest * max(0.0, 2 * rank - 1) ** 2


def shades(examples: Sequence[Example]) -> Shades:
    """Compute the scale of shades over all examples of a run."""
    ascending = sorted(p or 0.0 for example in examples for p in example.probability) or [0.0]
    median, highest_tenth, highest = np.quantile(ascending, [0.5, 0.9, 1]).tolist()
    written_out = max(highest_tenth, median + 0.6 * max(highest - median, LEAST_RANGE))
    return Shades(ascending, median, highest, written_out)


def running_text(example: Example, scale: Shades) -> list[Token]:
    """Convert the tokens of an example to running text, with spaces between words."""
    tokens, before = [], ""
    columns = (example.tokens, example.original, example.masked, example.replaced)
    for piece, original, masked, replaced, predicted in zip(*columns, example.probability, strict=True):
        probability = min(1.0, max(0.0, predicted or 0.0))
        title = f"{percent(probability)} replaced"
        if replaced:
            title += f"; the original is “{_without_prefix(original)}”"
        elif masked:
            title += "; masked, and guessed right"
        tokens.append(
            Token(
                text=_without_prefix(piece),
                space=bool(before) and is_spaced(before, piece),
                shade=scale.shade(probability),
                note=percent(probability, 0) if probability >= scale.written_out else "",
                correction=_without_prefix(original) if replaced else None,
                dotted=masked and not replaced,
                title=title,
            )
        )
        before = piece
    return tokens


def is_spaced(before: str, piece: str) -> bool:
    """Whether running text has a space between two wordpieces."""
    if piece.startswith(CONTINUATION) and len(piece) > len(CONTINUATION):
        return False
    if piece in NO_SPACE_BEFORE | NO_SPACE_AROUND or before in NO_SPACE_AFTER | NO_SPACE_AROUND:
        return False
    return not (_written_without_spaces(before[-1:]) and _written_without_spaces(piece[:1]))


def _written_without_spaces(character: str) -> bool:
    """Whether a character is Chinese or Japanese, punctuation included."""
    wide = bool(character) and unicodedata.east_asian_width(character) in "WF"
    return wide and "HANGUL" not in unicodedata.name(character, "")


def _without_prefix(piece: str) -> str:
    return piece.removeprefix(CONTINUATION) or piece
