"""Corrupted sentences as running text: wordpieces joined to words, shaded by probability."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Sequence

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


class Shades:
    """A scale of shades for the probabilities of all examples of a run, by their rank.

    If shades were proportional to probabilities, a single very high one would leave all others almost unshaded.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self.ascending = sorted(p or 0.0 for example in examples for p in example.probability) or [0.0]
        self.lowest, highest_tenth, self.highest = np.quantile(self.ascending, [0.5, 0.9, 1]).tolist()
        least = self.lowest + 0.6 * max(self.highest - self.lowest, LEAST_RANGE)
        self.written_out = max(highest_tenth, least)  # probabilities from here on are written out

    def shade(self, probability: float) -> float:
        """The shade of a probability: 0 up to the median, and for the maximum the strongest one, at most 1."""
        rank = bisect_left(self.ascending, probability) / max(1, len(self.ascending) - 1)
        strongest = min(1.0, (self.highest - self.lowest) / LEAST_RANGE)
        return strongest * max(0.0, 2 * rank - 1) ** 2


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
