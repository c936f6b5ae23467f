"""Which documents are used, and on which side of the split: copies dropped, some held out.

Both follow from hashes, so neither depends on how many documents there are or who works on them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from elektron.corpus.documents import Document
from elektron.corpus.manifest import Split

DIGEST_BYTES = 16
SAMPLE_DOCUMENTS = 2000
SAMPLE_CHARACTERS = 5000


def draw(document: Document, seed: int) -> float:
    """A number in [0, 1) that is the same for all documents of a group."""
    key = document.group or document.text
    digest = hashlib.blake2b(key.encode(), digest_size=8, salt=seed.to_bytes(16, "big"))
    return int.from_bytes(digest.digest(), "big") / 2**64


class Sample:
    """Beginnings of documents, each of which has the same chance to be kept (reservoir sampling, Vitter 1985)."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._seen = 0
        self._chance = random.Random(0)

    def add(self, text: str) -> None:
        """Keep the beginning of a document, or not."""
        self._seen += 1
        if len(self.texts) < SAMPLE_DOCUMENTS:
            self.texts.append(text[:SAMPLE_CHARACTERS])
        elif (place := self._chance.randrange(self._seen)) < SAMPLE_DOCUMENTS:
            self.texts[place] = text[:SAMPLE_CHARACTERS]


class SeenTexts:
    """Remembers which texts have been seen, by 16-byte digests.

    The digests lie in sorted arrays, each more than twice as long as the next, so that a few
    binary searches find one: 16 bytes a text, and for a moment twice that while arrays are merged.
    (A Python set takes about 100.) That two different texts share a digest is out of the question:
    among 10¹² texts the chance is 10⁻¹⁵.
    """

    def __init__(self) -> None:
        self.runs: list[NDArray[np.bytes_]] = []

    def add(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Remember the texts; for each, whether it is seen for the first time."""
        digests = np.array(
            [hashlib.blake2b(t.encode(), digest_size=DIGEST_BYTES).digest() for t in texts],
            dtype=f"S{DIGEST_BYTES}",
        )
        distinct, first = np.unique(digests, return_index=True)
        new = np.ones(len(distinct), dtype=bool)
        for run in self.runs:
            places = np.minimum(np.searchsorted(run, distinct), len(run) - 1)
            new &= run[places] != distinct
        self._insert(distinct[new])
        first_time = np.zeros(len(texts), dtype=bool)
        first_time[first[new]] = True
        return first_time

    def _insert(self, run: NDArray[np.bytes_]) -> None:
        if not len(run):
            return
        while self.runs and len(self.runs[-1]) <= 2 * len(run):
            run = np.concatenate([self.runs.pop(), run])
            run.sort(kind="stable")  # merges what is sorted already
        self.runs.append(run)


class Selection:
    """Goes through the documents in order and says for each that is used where it belongs."""

    def __init__(self, validation: float, seed: int, deduplicate: bool) -> None:
        self.validation = validation
        self.seed = seed
        self.seen = SeenTexts() if deduplicate else None
        self.duplicates = 0
        self.first_held_out: float | None = None

    def of(self, documents: Sequence[Document]) -> Iterator[tuple[Split, str]]:
        """Split and text of each document of the next part of the corpus that is no copy."""
        if self.seen is not None:
            new = self.seen.add([document.text for document in documents])
            self.duplicates += len(documents) - int(new.sum())
            documents = [d for d, is_new in zip(documents, new, strict=True) if is_new]
        draws = [draw(document, self.seed) for document in documents]
        if self.first_held_out is None and draws:
            # A small corpus may have no document below the share: then the lowest is held out,
            # with whatever else comes of its group.
            self.first_held_out = min(draws) if self.validation else -1.0
        for document, number in zip(documents, draws, strict=True):
            held_out = number < self.validation or number == self.first_held_out
            yield ("validation" if held_out else "train"), document.text
