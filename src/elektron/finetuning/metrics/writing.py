"""Split text of any script into words, also of scripts without spaces between words, such as Chinese."""

from __future__ import annotations

from collections.abc import Iterable

import regex

CHARACTER = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
"""A character that may be a word of its own: Chinese characters and Japanese syllables."""
WITHOUT_SPACES = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")
LETTER = regex.compile(r"\p{L}")
LATIN = regex.compile(r"[A-Za-z]")
_LETTERS = rf"(?:(?!{CHARACTER.pattern})[\p{{L}}\p{{M}}\p{{N}}_])"
# Combining marks belong to the letter before them; joiners (Persian, Indic scripts) occur inside words.
WORD = regex.compile(rf"{CHARACTER.pattern}\p{{M}}*|{_LETTERS}(?:{_LETTERS}|[\u200c\u200d](?={_LETTERS}))*")
TOKEN = regex.compile(rf"{WORD.pattern}|(?!\s)\X")
"""A word, or another visible character with the marks combined with it, such as an emoji."""

NEARLY_ALL = 0.99
"""Texts with at least this fraction of letters a to z are taken for English; other European languages have less."""


def is_chinese(texts: Iterable[str]) -> bool:
    """Whether most of the letters are Chinese characters or Japanese syllables."""
    return fraction(CHARACTER, texts) > 0.5


def is_written_without_spaces(texts: Iterable[str]) -> bool:
    """Whether most of the letters are of a script with no spaces between words."""
    return fraction(WITHOUT_SPACES, texts) > 0.5


def is_plain_latin(texts: Iterable[str]) -> bool:
    """Whether nearly all letters are a to z."""
    return fraction(LATIN, texts) >= NEARLY_ALL


def fraction(pattern: regex.Pattern[str], texts: Iterable[str]) -> float:
    """The fraction of the letters that a pattern matches; 0 without letters."""
    matches = letters = 0
    for text in texts:
        matches += len(pattern.findall(text))
        letters += len(LETTER.findall(text))
    return matches / letters if letters else 0.0


def words(text: str) -> list[str]:
    """The words and numbers of a text, without punctuation; Chinese and Japanese by character."""
    return WORD.findall(text)
