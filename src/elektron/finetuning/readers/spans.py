"""Entities by their characters, as spaCy, doccano and Label Studio write them, as tags of tokens.

A span is `[begin, end, label]` or an object with these; `end` is the character after the last.
"""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any, NamedTuple

from elektron.errors import ElektronError
from elektron.finetuning.metrics.writing import TOKEN

log = logging.getLogger(__name__)

ENTITIES = "entities"
"""In spaCy's form the spans stand under this name."""
BEGINS, ENDS, LABELS = ("start", "start_offset"), ("end", "end_offset"), ("label", "labels", "type")


class Span(NamedTuple):
    """A stretch of a text and what it is."""

    begin: int
    end: int
    label: str


def spans_of(value: Any) -> list[Any] | None:
    """The list of spans that a field holds; None where it holds something else."""
    if isinstance(value, dict):
        value = value.get(ENTITIES)
    if not isinstance(value, list) or not all(map(_is_span, value)):
        return None
    return value


@dataclass
class SpanReader:
    """Turns the spans of texts into tags of tokens, and counts what does not fit."""

    inside_words: int = 0
    overlapping: int = 0
    first: str = ""

    def tagged(self, text: str, items: list[Any], where: str) -> tuple[list[str], list[str]]:
        """The tokens of a text, and their tags as BIO has them. A span that ends inside a word cuts it.

        Raises:
            ElektronError: a span is not one of the text.
        """
        spans: dict[int, Span] = {}
        end = 0
        for span in sorted(
            (_span(item, text, where) for item in items), key=lambda span: (span.begin, -span.end)
        ):
            if span.begin < end:
                self.overlapping += 1
                self.first = self.first or where
            elif span.begin < span.end:
                spans[span.begin], end = span, span.end
        limits = sorted({limit for span in spans.values() for limit in span[:2]})
        tokens, tags = [], []
        current = None
        for begin, end in (token.span() for token in TOKEN.finditer(text)):
            inner = limits[bisect_right(limits, begin) : bisect_left(limits, end)]
            if inner:
                self.inside_words += 1
                self.first = self.first or where
            for start, stop in zip([begin, *inner], [*inner, end], strict=True):
                current = spans.get(start, current)
                tokens.append(text[start:stop])
                if current is None or start >= current.end:
                    tags.append("O")
                else:
                    tags.append(f"{'B' if start == current.begin else 'I'}-{current.label}")
        return tokens, tags

    def report(self, name: str) -> None:
        """Say what did not fit."""
        if self.overlapping or self.inside_words:
            log.warning(
                "%s: %d spans overlap with one that begins earlier or is longer, and are left out; "
                "%d words are cut where a span begins or ends inside them (the first: %s)",
                name,
                self.overlapping,
                self.inside_words,
                self.first,
            )


def _is_span(item: Any) -> bool:
    if isinstance(item, list):
        return len(item) > 2 and isinstance(item[0], int) and isinstance(item[1], int)
    return isinstance(item, dict) and _first(item, BEGINS) is not None


def _span(item: Any, text: str, where: str) -> Span:
    """A span without white space around it."""
    if isinstance(item, dict):
        begin, end, label = (_first(item, names) for names in (BEGINS, ENDS, LABELS))
    else:
        begin, end, label = item[:3]
    label = label[0] if isinstance(label, list) and len(label) == 1 else label
    if not isinstance(label, str) or not label.strip():
        raise ElektronError(f"{where}: the label of a span must be text, got {label!r:.60}")
    if not isinstance(begin, int) or not isinstance(end, int) or not 0 <= begin <= end <= len(text):
        raise ElektronError(
            f"{where}: a span goes from {begin!r:.20} to {end!r:.20}, "
            f"but the text has {len(text)} characters"
        )
    said = item.get("text") if isinstance(item, dict) else None
    inner = text[begin:end]
    if isinstance(said, str) and said.strip() != inner.strip():
        raise ElektronError(
            f"{where}: characters {begin} to {end} are {inner!r:.40}, not {said!r:.40} as the span says"
        )
    return Span(
        end - len(inner.lstrip()) if inner.strip() else end,
        begin + len(inner.rstrip()),
        label.strip(),
    )


def _first(item: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((item[name] for name in names if item.get(name) is not None), None)
