"""Entities by their characters, as spaCy, doccano and Label Studio write them, as tags of tokens.

A span is `[begin, end, label]` or an object with these; `end` is the character after the last.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any, NamedTuple

from elektron.errors import ElektronError
from elektron.finetuning.metrics.writing import TOKEN
from elektron.finetuning.readers.records import Counts

BEGINS, ENDS, LABELS = ("start", "start_offset"), ("end", "end_offset"), ("label", "labels", "type")


class Span(NamedTuple):
    begin: int
    end: int
    label: str


def spans_of(value: Any) -> list[Any] | None:
    """The list of spans in a field, also under `entities` as spaCy has it; None where there are none."""
    if isinstance(value, dict):
        value = value.get("entities")
    return value if isinstance(value, list) and all(map(_is_span, value)) else None


def tagged(text: str, items: list[Any], where: str, counts: Counts) -> tuple[list[str], list[str]]:
    """The tokens of a text, and their tags in BIO; a span that begins or ends inside a word cuts it.

    Raises:
        ElektronError: a span is not one of the text.
    """
    spans: dict[int, Span] = {}
    end = 0
    ordered = sorted((_span(item, text, where) for item in items), key=lambda span: (span.begin, -span.end))
    for span in ordered:
        if span.begin < end:
            counts.add("spans overlap with an earlier or longer one and are left out", where)
        elif span.begin < span.end:
            spans[span.begin], end = span, span.end
    limits = sorted({limit for span in spans.values() for limit in span[:2]})
    tokens, tags = [], []
    current = None
    for begin, end in (token.span() for token in TOKEN.finditer(text)):
        inner = limits[bisect_right(limits, begin) : bisect_left(limits, end)]
        if inner:
            counts.add("words are cut where a span begins or ends inside them", where)
        for start, stop in zip([begin, *inner], [*inner, end], strict=True):
            current = spans.get(start, current)
            tokens.append(text[start:stop])
            if current is None or start >= current.end:
                tags.append("O")
            else:
                tags.append(f"{'B' if start == current.begin else 'I'}-{current.label}")
    return tokens, tags


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
            f"{where}: a span goes from {begin!r:.20} to {end!r:.20}, but the text has {len(text)} characters"
        )
    inner = text[begin:end]
    stated = item.get("text") if isinstance(item, dict) else None
    if isinstance(stated, str) and stated.strip() != inner.strip():
        raise ElektronError(
            f"{where}: characters {begin} to {end} are {inner!r:.40}, not {stated!r:.40} as the span says"
        )
    if inner.strip():
        begin, end = end - len(inner.lstrip()), begin + len(inner.rstrip())
    else:
        begin = end
    return Span(begin, end, label.strip())


def _first(item: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((item[name] for name in names if item.get(name) is not None), None)
