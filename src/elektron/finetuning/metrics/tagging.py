"""Figures of tagged tokens: entities where tags mark their limits, plain tags where they do not."""

from __future__ import annotations

import functools
import itertools
import operator
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from seqeval import scheme as seqeval

from elektron.finetuning.metrics import precision_recall
from elektron.finetuning.metrics.measure import require_rows
from elektron.finetuning.metrics.precision_recall import Tallies

Sentence = Sequence[str]
Item = tuple[str, int, int]
"""Kind, first token, token after the last."""

ENTITY_TAG = re.compile(r"O|[BIMESLU](?:[-_].+)?", re.DOTALL)
"""`B-PER`, `B_PER`, or `B` alone where there is one kind of entity, as in word segmentation; its type is `_`."""


@dataclass(frozen=True)
class Scheme:
    """How tags say where entities begin and end."""

    name: str
    letters: frozenset[str]
    rules: type[seqeval.Token]


IOB1 = Scheme("IOB1", frozenset("BIO"), seqeval.IOB1)
# Where letters fit several, the first is taken: O and S alone could be IOBES or BMES, alike then.
SCHEMES = (
    Scheme("IOB2", frozenset("BIO"), seqeval.IOB2),
    Scheme("IOE2", frozenset("IEO"), seqeval.IOE2),
    Scheme("IOBES", frozenset("IOBES"), seqeval.IOBES),
    Scheme("BMES", frozenset("BMESO"), seqeval.IOBES),
    Scheme("BILOU", frozenset("BILOU"), seqeval.BILOU),
)


@dataclass(eq=False)
class Tags:
    """Predictions of one tag a token, sentence by sentence; every figure goes from 0 to 1.

    accuracy is the share of tokens whose tag is right. Where tags mark entities, precision, recall
    and f1 are over entities, right only with the right limits and the right type (CoNLL-2003's
    figures), as seqeval counts them in strict mode: a sequence of tags that the scheme forbids is
    no entity. The scheme is found from the tags: IOB2 (also called BIO), IOB1, IOE2, IOBES (BIOES),
    BMES, which is IOBES with M for I, or BILOU.

    Tags without a scheme, such as parts of speech, have accuracy and f1 only; f1 is the mean over
    the tags that occur, as scikit-learn's macro average.
    """

    truth: Sequence[Sentence]
    predicted: Sequence[Sentence]

    def __post_init__(self) -> None:
        require_rows(self.truth, self.predicted)
        for truth, predicted in zip(self.truth, self.predicted, strict=True):
            if len(truth) != len(predicted):
                raise ValueError(f"{len(truth)} tokens but {len(predicted)} predicted tags")
        self._scheme = find_scheme(self.truth, self.predicted)
        self._tokens = np.array([len(sentence) for sentence in self.truth])
        self._right = np.array(
            [
                sum(map(operator.eq, truth, predicted))
                for truth, predicted in zip(self.truth, self.predicted, strict=True)
            ]
        )
        self._kinds, self._tallies = self._count()

    @property
    def scheme(self) -> str | None:
        """Its name; None for tags that mark no entities."""
        return self._scheme.name if self._scheme else None

    def __len__(self) -> int:
        return len(self.truth)

    def __call__(self, chosen: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Figures over the sentences `chosen`, or all."""
        rows = slice(None) if chosen is None else chosen
        totals = self._tallies.total(chosen)
        accuracy = float(precision_recall.share(self._right[rows].sum(), self._tokens[rows].sum()))
        if self._scheme is None:
            return {"accuracy": accuracy, "f1": precision_recall.macro_f1(totals)}
        return {"accuracy": accuracy, **precision_recall.micro(totals)}

    def per_type(self) -> dict[str, dict[str, float]]:
        """precision, recall, f1 (0 to 1) and support of every entity type, or of every tag."""
        return precision_recall.by_kind(self._tallies.total(), self._kinds)

    def _count(self) -> tuple[list[str], Tallies]:
        """The kinds of items, and how many of each every sentence has."""
        # seqeval is slow; what most sentences are, all O or predicted rightly, is read once.
        read = functools.cache(functools.partial(items, scheme=self._scheme))
        rows = []
        for sentences in zip(self.truth, self.predicted, strict=True):
            true, predicted = (read(tuple(sentence)) for sentence in sentences)
            rows.append((kinds_of(true & predicted), kinds_of(predicted), kinds_of(true)))
        kinds = sorted({kind for row in rows for counts in row for kind in counts})
        return kinds, Tallies.of_counts(rows, kinds)


def find_scheme(truth: Sequence[Sentence], predicted: Sequence[Sentence]) -> Scheme | None:
    """The scheme of the tags, None where they have none.

    Predicted tags help to find it, for a few sentences may lack a letter that the scheme has; where
    they do not fit, the truth decides alone.
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
    """Whether entities begin with I, and B only parts one from another of its type, as in IOB1."""
    inside = False
    for sentence in sentences:
        for before, tag in itertools.pairwise(["O", *sentence]):
            if tag[0] == "B" and (before == "O" or before[1:] != tag[1:]):
                return False
            inside = inside or tag[0] == "I"
    return inside


def items(tags: tuple[str, ...], scheme: Scheme | None) -> frozenset[Item]:
    """The entities of a sentence, or its tokens where tags have no scheme."""
    if scheme is None:
        return frozenset((tag, index, index + 1) for index, tag in enumerate(tags))
    tokens = seqeval.Tokens([spelled(tag, scheme) for tag in tags], scheme.rules)
    return frozenset((found.tag, found.start, found.end) for found in tokens.entities)


def spelled(tag: str, scheme: Scheme) -> str:
    """The tag as seqeval spells it; one that the scheme does not have is outside of entities."""
    if not ENTITY_TAG.fullmatch(tag) or tag[0] not in scheme.letters:
        return "O"
    letter = "I" if tag[0] == "M" else tag[0]
    return f"{letter}-{tag[2:]}" if len(tag) > 1 else letter


def kinds_of(found: frozenset[Item]) -> Counter[str]:
    """How many of each kind."""
    return Counter(kind for kind, _, _ in found)
