"""Find personal data and secrets with a recognisable form, and replace them with placeholder tokens.

The patterns are in `detectors`. Data without a recognisable form is not found, see NOT_FOUND.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import NamedTuple

from elektron.corpus.config import RedactKind
from elektron.corpus.detectors import CONTEXT, SEARCHES, Check, Span
from elektron.errors import requires_extra

PLACEHOLDERS = {kind: f"[{kind.upper()}]" for kind in SEARCHES} | {"url": "[CREDENTIALS]"}
"""Placeholder tokens by kind, in search order."""
NOT_FOUND = (
    "names, addresses, dates of birth, account and document numbers without a checksum, passwords "
    "outside URLs, and whatever is written out in words are not found"
)
LIBRARIES = {"iban": "stdnum", "resident_id": "stdnum", "phone": "phonenumbers"}
"""The module of the extra `privacy` that a kind needs, by kind."""
FILLER = "\ue000"
"""Character that overwrites detections during a search; no pattern matches it."""
SHOWN = 60
"""Maximum number of characters of a detection that are shown."""
TYPOGRAPHIC = (("\u00a0", " "), ("\u202f", " "), ("\u2011", "-"))
"""No-break spaces and hyphens, as in text from HTML and PDF, and the plain characters that the patterns expect."""


class Detection(NamedTuple):
    """One piece of personal data in a text."""

    start: int
    end: int
    kind: str


class Redactor:
    """Finds and replaces personal data of the chosen kinds; the result depends on the text alone."""

    def __init__(self, kinds: Sequence[str]) -> None:
        """`kinds` are as `expand_kinds` returns them."""
        with requires_extra("privacy", "--redact"):
            for kind in LIBRARIES.keys() & set(kinds):
                import_module(LIBRARIES[kind])
        self.searches = [(kind, *search) for kind in kinds for search in SEARCHES[kind]]

    def find(self, text: str) -> list[Detection]:
        """The personal data in the order of the text, without overlaps."""
        for typographic, plain in TYPOGRAPHIC:
            text = text.replace(typographic, plain)
        detections: list[Detection] = []
        for kind, pattern, check in self.searches:
            new = [Detection(*span, kind) for span in _spans(text, pattern, check)]
            if new:
                text = replaced(text, new, lambda detection: FILLER * (detection.end - detection.start))
                detections += new
        return sorted(detections)

    def redact(self, text: str) -> tuple[str, Counter[str]]:
        """The text with placeholders, and how many there are of each kind."""
        detections = self.find(text)
        counts = Counter(detection.kind for detection in detections)
        return replaced(text, detections, lambda detection: PLACEHOLDERS[detection.kind]), counts


def expand_kinds(kinds: Iterable[RedactKind] | None) -> list[str]:
    """Each kind once, in search order; `all` stands for all of them."""
    wanted = set(kinds or ())
    return [kind for kind in PLACEHOLDERS if kind in wanted or "all" in wanted]


def replaced(text: str, detections: Sequence[Detection], by: Callable[[Detection], str]) -> str:
    """Replace each detection by `by(detection)`; they must be in order and must not overlap."""
    pieces, end = [], 0
    for detection in detections:
        pieces += [text[end : detection.start], by(detection)]
        end = detection.end
    return "".join([*pieces, text[end:]])


def by_kind(counts: Mapping[str, int]) -> str:
    """Counts as text, such as `3 email, 1 phone`; kinds with a count of 0 are included."""
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.items())


def hidden(text: str) -> str:
    """A detection with most of its letters and digits masked, to be shown to a person."""
    kept = min(3, len(text) // 4)
    short = " ".join(text.split())[:SHOWN]
    return short[:kept] + re.sub(r"\w", "•", short[kept:])


def in_context(text: str, detections: Sequence[Detection], index: int) -> str:
    """A detection, partly hidden, with up to CONTEXT characters on each side but no part of another detection."""
    start, end, _ = detections[index]
    previous_end = detections[index - 1].end if index else 0
    next_start = detections[index + 1].start if index + 1 < len(detections) else len(text)
    left = text[max(previous_end, start - CONTEXT) : start]
    right = text[end : min(next_start, end + CONTEXT)]
    return " ".join(f"{left}⟦{hidden(text[start:end])}⟧{right}".split())


def library_versions() -> str:
    """The versions of the installed libraries on which the detections depend."""
    distributions = {"stdnum": "python-stdnum", "phonenumbers": "phonenumbers"}
    return ", ".join(f"{name} {version(name)}" for module, name in distributions.items() if find_spec(module))


def _spans(text: str, pattern: re.Pattern[str], check: Check) -> Iterator[Span]:
    """The spans that the check accepts; after a rejected candidate, the search continues one character further."""
    position = end = 0
    while match := pattern.search(text, position):
        span = check(match)
        if span is not None and span[0] >= end:  # a check may extend the match to the left
            yield span
            end = span[1]
        position = match.start() + 1 if span is None else span[1]
