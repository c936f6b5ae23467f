"""Metrics of tagged tokens: of entities if the tags mark where these begin and end, else of single tags."""

from __future__ import annotations

import functools
import itertools
import operator
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from seqeval import scheme as seqeval

from elektron.finetuning.metrics.measure import Counts, Measure, Rows, macro, micro, per_class, ratio

Sentence = Sequence[str]
Span = tuple[str, int, int]
"""Entity type or tag, index of the first token, index after the last token."""

ENTITY_TAG = re.compile(r"O|[BIMESLU](?:[-_].+)?", re.DOTALL)
"""`B-PER`, `B_PER`, or `B` alone if there is one type of entity, as in word segmentation; its type is `_`."""


@dataclass(frozen=True)
class Scheme:
    """How tags say where entities begin and end."""

    name: str
    letters: frozenset[str]
    rules: type[seqeval.Token]


IOB1 = Scheme("IOB1", frozenset("BIO"), seqeval.IOB1)
SCHEMES = (
    Scheme("IOB2", frozenset("BIO"), seqeval.IOB2),
    Scheme("IOE2", frozenset("IEO"), seqeval.IOE2),
    Scheme("IOBES", frozenset("IOBES"), seqeval.IOBES),
    Scheme("BMES", frozenset("BMESO"), seqeval.IOBES),
    Scheme("BILOU", frozenset("BILOU"), seqeval.BILOU),
)
"""If the letters fit several schemes, the first is taken: O and S alone mean the same in IOBES and BMES."""


def tagging(truth: Sequence[Sentence], predicted: Sequence[Sentence]) -> Measure:
    """Metrics of predictions with one tag per token, sentence by sentence; each is from 0 to 1.

    accuracy is the fraction of tokens whose tag is right. If tags mark entities, precision, recall and f1 are over
    entities. An entity is right only if its first and last token and its type are (as in CoNLL-2003). Entities are
    those of seqeval in strict mode: a sequence of tags that the scheme forbids is no entity. The scheme is detected
    from the tags: IOB2 (also called BIO), IOB1, IOE2, IOBES (BIOES), BMES, which is IOBES with M for I, or BILOU.

    Tags without a scheme, such as parts of speech, have accuracy and f1 only; f1 is the mean over
    the tags that occur, as scikit-learn's macro average.
    """
    scheme = find_scheme(truth, predicted)
    # Cached because seqeval is slow and many sentences have the same tags, such as all O.
    read = functools.cache(functools.partial(spans, scheme=scheme))
    counted = []
    for pair in zip(truth, predicted, strict=True):
        true_spans, predicted_spans = (read(tuple(sentence)) for sentence in pair)
        groups = (true_spans & predicted_spans, predicted_spans, true_spans)
        counted.append([Counter(kind for kind, _, _ in group) for group in groups])
    kinds = sorted({kind for counters in counted for counter in counters for kind in counter})
    counts = Counts(*([[row[kind] for kind in kinds] for row in rows] for rows in zip(*counted, strict=True)))
    tokens = np.array([len(sentence) for sentence in truth])
    right = np.array([sum(map(operator.eq, *pair)) for pair in zip(truth, predicted, strict=True)])

    def compute(rows: Rows) -> dict[str, float]:
        totals = counts.total(rows)
        accuracy = float(ratio(right[rows].sum(), tokens[rows].sum()))
        return {"accuracy": accuracy} | (micro(totals) if scheme else {"f1": macro(totals)["f1"]})

    details = {"per_class": per_class(counts.total(slice(None)), kinds)}
    return Measure(rows=len(tokens), compute=compute, details=details)


def find_scheme(truth: Sequence[Sentence], predicted: Sequence[Sentence]) -> Scheme | None:
    """The scheme of the tags; None if they have none.

    Predicted tags are read too, because the true tags of a few sentences may lack a letter of the
    scheme. If both together fit no scheme, the true tags alone decide.
    """
    true_tags = {tag for sentence in truth for tag in sentence}
    predicted_tags = {tag for sentence in predicted for tag in sentence}
    for tags in (true_tags | predicted_tags, true_tags):
        if all(ENTITY_TAG.fullmatch(tag) for tag in tags):
            letters = {tag[0] for tag in tags}
            for scheme in SCHEMES:
                if letters <= scheme.letters:
                    return IOB1 if scheme.name == "IOB2" and begins_inside(truth) else scheme
    return None


def begins_inside(sentences: Sequence[Sentence]) -> bool:
    """Whether entities begin with I, and with B only after another entity of the same type, as in IOB1."""
    inside = False
    for sentence in sentences:
        for before, tag in itertools.pairwise(["O", *sentence]):
            if tag[0] == "B" and (before == "O" or before[1:] != tag[1:]):
                return False
            inside = inside or tag[0] == "I"
    return inside


def spans(tags: tuple[str, ...], scheme: Scheme | None) -> frozenset[Span]:
    """The entities of a sentence, or its tokens if tags have no scheme."""
    if scheme is None:
        return frozenset((tag, index, index + 1) for index, tag in enumerate(tags))
    tokens = seqeval.Tokens([for_seqeval(tag, scheme) for tag in tags], scheme.rules)
    return frozenset((entity.tag, entity.start, entity.end) for entity in tokens.entities)


def for_seqeval(tag: str, scheme: Scheme) -> str:
    """The tag as seqeval writes it; O for a tag that the scheme does not have."""
    if not ENTITY_TAG.fullmatch(tag) or tag[0] not in scheme.letters:
        return "O"
    letter = "I" if tag[0] == "M" else tag[0]
    return f"{letter}-{tag[2:]}" if len(tag) > 1 else letter
