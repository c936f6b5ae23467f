"""Running text, which has no tokens of its own, cut into tokens."""

from __future__ import annotations

import re

WORD = re.compile(r"[一-鿿㐀-䶿぀-ヿ]|[^\W一-鿿㐀-䶿぀-ヿ]+|[^\w\s]")
"""A Chinese or Japanese character, a word, or a punctuation mark."""


def word_places(text: str) -> list[tuple[int, int]]:
    """Where each token begins and ends, in characters."""
    return [found.span() for found in WORD.finditer(text)]


def words_of(text: str) -> list[str]:
    """Its tokens."""
    return WORD.findall(text)
