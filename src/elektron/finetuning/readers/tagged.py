"""Parse tokens with tags: group rows of one token each into sentences, and make one tag for each token.

The tokens and tags of a sentence are lists, or texts with spaces between them; or they are a text and the
character spans of its entities, as spaCy, doccano and Label Studio write them: `[begin, end, label]` or an object
with these, where `end` is the character after the last.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from elektron.errors import ElektronError
from elektron.finetuning.metrics.writing import TOKEN
from elektron.finetuning.readers.records import Counts, Row, Table
from elektron.finetuning.readers.text_lines import split_spaces
from elektron.finetuning.readers.token_lines import BLOCK
from elektron.finetuning.readers.values import is_empty, literal

MIN_WORD_FRACTION = 0.9
"""In a table with one token per row, more than this fraction of the tokens has no spaces."""
BEGINS, ENDS, LABELS = ("start", "start_offset"), ("end", "end_offset"), ("label", "labels", "type")
BRACKETS = re.compile(r"(?:\((?P<type>[^\s()*]+))?\*?(?P<end>\))?")
"""Spans of CoNLL-2012: `(PER*`, `*`, `*)`, `(GPE)`."""


def has_token_rows(table: Table, names: Mapping[str, str]) -> bool:
    """Whether each row is one token; `names` has the column of each role.

    Raises:
        ElektronError: each row is one token, and nothing says which rows are one sentence.
    """
    sample = table.sample()
    if any(BLOCK in row for row in sample):
        return True
    tags = [row.get(names["tags"]) for row in sample] if "tags" in names else []
    words = sum(_is_word(row.get(names["tokens"])) for row in sample)
    if words <= MIN_WORD_FRACTION * len(sample) or not all(
        isinstance(tag, str) and literal(tag) is None for tag in tags
    ):
        return False
    if "sentence" not in names and len(tags) > 1 and all(map(_is_word, tags)):
        raise ElektronError(
            f"{table.name}: each row has one token, and it is unknown which rows are one "
            "sentence: give the column of its number or id with --sentence (there are: "
            f"{', '.join(table.columns)}), or put a blank line after each sentence"
        )
    return "sentence" in names


def grouped(table: Table, names: Mapping[str, str], labelled: bool) -> Iterator[Row]:
    """Group rows of one token each into sentences; a blank line or another number or id begins the next sentence.

    Raises:
        ElektronError: a token or a tag is empty.
    """
    tags = [str(row.get(names.get("tags", ""))) for row in table.sample()]
    in_brackets = "*" in tags and all(tag and BRACKETS.fullmatch(tag) for tag in tags)

    def sentence_row() -> Row:
        row: dict[str, Any] = {"sentence": sentence_id, "tokens": tokens}
        if len(tags) == len(tokens):
            row["tags"] = _without_brackets(tags) if in_brackets else tags
        return begin, {names[role]: value for role, value in row.items() if role in names}

    begin, sentence_id, block = "", "", None
    tokens: list[str] = []
    for where, row in table.rows:
        token, tag, number = (_field(row, names.get(role)) for role in ("tokens", "tags", "sentence"))
        # In some tables only the first row of a sentence has its number.
        if not tokens or row.get(BLOCK) != block or (number and number != sentence_id):
            if tokens:
                yield sentence_row()
            begin, sentence_id, block, tokens, tags = where, number, row.get(BLOCK), [], []
        if not token or (not tag and labelled):
            raise ElektronError(f"{where}: the {'tag' if token else 'token'} is empty")
        tokens.append(token)
        tags += [tag] if tag else []
    if tokens:
        yield sentence_row()


def tokens_with_tags(values: dict[str, Any], where: str, labelled: bool, counts: Counts) -> dict[str, Any]:
    """The `tokens` and `tags` of one row as two lists of one length; a text without tags stays a text.

    Raises:
        ElektronError: there are not as many tags as tokens, or tags are not text.
    """
    tokens, tags = values["tokens"], values.get("tags")
    spans = spans_of(tags) if isinstance(tokens, str) else None
    if "tags" not in values or (spans is not None and not labelled):
        return {"tokens": tokens}
    if spans is not None:
        tokens, tags = tagged(tokens, spans, where, counts)
    elif isinstance(tokens, str):
        tokens = split_spaces(tokens)
    if isinstance(tags, str):
        tags = split_spaces(tags)
    if not isinstance(tags, list):
        raise ElektronError(f"{where}: the tags must be a list, got {tags!r:.60}")
    for tag in tags:
        if isinstance(tag, int):
            raise ElektronError(
                f"{where}: tags are numbers ({tag}) without names: "
                "give their names, as text or in the features of the data set"
            )
        if not isinstance(tag, str) or is_empty(tag):
            raise ElektronError(f"{where}: a tag must be text, got {tag!r:.60}")
    if labelled and not tokens:
        raise ElektronError(f"{where}: there are no tokens")
    if len(tags) != len(tokens):
        raise ElektronError(f"{where}: {len(tokens)} tokens but {len(tags)} tags")
    return {"tokens": tokens, "tags": tags}


def _is_word(value: Any) -> bool:
    """Whether a field is text without spaces that is no list."""
    return isinstance(value, str) and len(value.split()) < 2 and literal(value) is None


def _field(row: dict[str, Any], column: str | None) -> str:
    value = row.get(column) if column else None
    return "" if is_empty(value) else str(value).strip(" \t")


def _without_brackets(tags: Sequence[str]) -> list[str]:
    """Convert CoNLL-2012's brackets to BIO tags."""
    bio_tags, entity_type = [], None
    for tag in tags:
        begins, ends = match.group("type", "end") if (match := BRACKETS.fullmatch(tag)) else (None, None)
        entity_type = begins or entity_type
        bio_tags.append("O" if entity_type is None else f"{'B' if begins else 'I'}-{entity_type}")
        entity_type = None if ends else entity_type
    return bio_tags


class Span(NamedTuple):
    """A character span of an entity; `end` is the character after the last."""

    begin: int
    end: int
    label: str


def spans_of(value: Any) -> list[Any] | None:
    """The list of spans in a field, which may be under `entities` as in spaCy; None if it is no list of spans."""
    if isinstance(value, dict):
        value = value.get("entities")
    return value if isinstance(value, list) and all(map(_is_span, value)) else None


def tagged(text: str, items: list[Any], where: str, counts: Counts) -> tuple[list[str], list[str]]:
    """The tokens of a text and their BIO tags; a word is split where a span begins or ends inside it.

    Raises:
        ElektronError: a span is invalid or outside the text.
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
    span_text = text[begin:end]
    given_text = item.get("text") if isinstance(item, dict) else None
    if isinstance(given_text, str) and given_text.strip() != span_text.strip():
        raise ElektronError(
            f"{where}: characters {begin} to {end} are {span_text!r:.40}, not {given_text!r:.40} as the span says"
        )
    begin = end - len(span_text.lstrip())
    return Span(begin, begin + len(span_text.strip()), label.strip())


def _first(item: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((item[name] for name in names if item.get(name) is not None), None)
