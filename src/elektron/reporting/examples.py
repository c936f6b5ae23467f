"""Corrupted sentences as running text: wordpieces joined to words again."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from elektron.reporting.runs import Example

CONTINUATION = "##"
NO_SPACE_BEFORE = frozenset(".,;:!?)]}%…”’")
NO_SPACE_AFTER = frozenset("([{“‘$#@")
NO_SPACE_AROUND = frozenset("-_/'’")
# After a short run all probabilities are alike: shades cover at least this range of them.
LEAST_RANGE = 0.2
# From this shade on a token carries its probability in figures as well, if it is among the highest tenth.
SHOWN_IN_FIGURES = 0.6
HIGHEST = 0.9


@dataclass(frozen=True)
class Token:
    """A token as the page shows it."""

    text: str
    space: bool
    """Whether a space stands before it."""
    shade: float
    """From 0 to 1, the strongest."""
    figures: bool
    """Whether the probability is written beside it."""
    probability: float
    original: str | None
    """The word that was here, if the token was replaced."""
    guessed: bool
    """Whether the generator filled in what had been there."""


class Shades(NamedTuple):
    """Which probabilities the shades of a run's examples stand for."""

    lowest: float
    """No shade: the median, up to which tokens are ordinary."""
    highest: float
    """The strongest shade."""
    in_figures: float
    """From this one on probabilities are written out."""


def shades(examples: list[Example]) -> Shades:
    """Of the probabilities in all examples of a run."""
    found = [p for example in examples for p in example.probability] or [0.0]
    lowest, tenth, highest = (float(p) for p in np.quantile(found, [0.5, HIGHEST, 1]))
    highest = max(highest, lowest + LEAST_RANGE)
    return Shades(lowest, highest, max(tenth, lowest + SHOWN_IN_FIGURES * (highest - lowest)))


def running_text(example: Example, shades: Shades) -> list[Token]:
    """The tokens of an example, with the spaces that a reader expects."""
    tokens = []
    before = ""
    for index, piece in enumerate(example.tokens):
        probability = example.probability[index]
        replaced = example.replaced[index]
        tokens.append(
            Token(
                text=_bare(piece),
                space=bool(before) and spaced(before, piece),
                shade=max(0.0, probability - shades.lowest) / (shades.highest - shades.lowest),
                figures=probability >= shades.in_figures,
                probability=probability,
                original=_bare(example.original[index]) if replaced else None,
                guessed=example.masked[index] and not replaced,
            )
        )
        before = piece
    return tokens


def spaced(before: str, piece: str) -> bool:
    """Whether a space stands between two wordpieces."""
    if piece.startswith(CONTINUATION) and len(piece) > len(CONTINUATION):
        return False
    if piece in NO_SPACE_BEFORE | NO_SPACE_AROUND or before in NO_SPACE_AFTER | NO_SPACE_AROUND:
        return False
    return not (_written_without_spaces(before[-1:]) and _written_without_spaces(piece[:1]))


def _bare(piece: str) -> str:
    return piece.removeprefix(CONTINUATION) or piece


def _written_without_spaces(character: str) -> bool:
    """Whether it belongs to Chinese or Japanese writing, its punctuation included."""
    return bool(character) and (
        unicodedata.east_asian_width(character) in "WF"
        and "HANGUL" not in unicodedata.name(character, "")
    )
