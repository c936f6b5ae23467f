"""Corrupted sentences as running text: wordpieces joined to words again."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from elektron.evidence.runs import Example

CONTINUATION = "##"
NO_SPACE_BEFORE = frozenset(".,;:!?)]}%…”’")
NO_SPACE_AFTER = frozenset("([{“‘$#@")
NO_SPACE_AROUND = frozenset("-_/'’")
# The strongest shade stands for the highest probability in a run's examples, but never for less.
LEAST_STRONGEST = 0.2
# From this share of the strongest shade on a token carries its probability in figures as well.
SHOWN_IN_FIGURES = 0.6


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


def strongest(examples: list[Example]) -> float:
    """The probability that the strongest shade stands for."""
    return max([LEAST_STRONGEST, *(p for example in examples for p in example.probability)])


def running_text(example: Example, strongest: float) -> list[Token]:
    """The tokens of an example, with the spaces that a reader expects."""
    tokens = []
    before = ""
    for index, piece in enumerate(example.tokens):
        shade = example.probability[index] / strongest
        replaced = example.replaced[index]
        tokens.append(
            Token(
                text=_bare(piece),
                space=bool(before) and spaced(before, piece),
                shade=shade,
                figures=shade >= SHOWN_IN_FIGURES,
                probability=example.probability[index],
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
