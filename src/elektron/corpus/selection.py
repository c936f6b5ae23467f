"""Drop exact copies of documents and assign the rest to splits, by hashes of their text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from elektron.corpus.documents import Document
from elektron.corpus.manifest import Split

DIGEST_BYTES = 16


class SeenTexts:
    """A set of texts that stores 16 bytes for each (a Python set takes about 100).

    The digests are in sorted arrays, each more than twice as long as the next, so that a lookup takes a few
    binary searches. Among 10¹² texts, the probability that two share a digest is 10⁻¹⁵.
    """

    def __init__(self) -> None:
        self.runs: list[NDArray[np.bytes_]] = []

    def add(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Add texts; returns for each whether it is new."""
        digests = np.array(
            [hashlib.blake2b(t.encode(), digest_size=DIGEST_BYTES).digest() for t in texts], dtype=f"S{DIGEST_BYTES}"
        )
        distinct, first = np.unique(digests, return_index=True)
        new = np.ones(len(distinct), dtype=bool)
        for run in self.runs:
            positions = np.minimum(np.searchsorted(run, distinct), len(run) - 1)
            new &= run[positions] != distinct
        if new.any():
            merged = distinct[new]
            while self.runs and len(self.runs[-1]) <= 2 * len(merged):
                merged = np.concatenate([self.runs.pop(), merged])
                merged.sort(kind="stable")  # merges sorted runs
            self.runs.append(merged)
        is_new = np.zeros(len(texts), dtype=bool)
        is_new[first[new]] = True
        return is_new


class Selection:
    """Drops copies of earlier documents, and assigns the other documents to splits."""

    def __init__(self, validation: float, seed: int, deduplicate: bool) -> None:
        self.validation = validation
        self.seed = seed
        self.seen = SeenTexts() if deduplicate else None
        self.duplicates = 0
        self.first_held_out: float | None = None

    def select(self, documents: Sequence[Document]) -> Iterator[tuple[Split, Document]]:
        """Yield `(split, document)` for each of the next documents that is not a copy of an earlier one."""
        if self.seen is not None:
            new = self.seen.add([document.text for document in documents])
            self.duplicates += len(documents) - int(new.sum())
            documents = [d for d, is_new in zip(documents, new, strict=True) if is_new]
        draws = [self._draw(document) for document in documents]
        if self.first_held_out is None and draws:
            # The lowest draw of the first call is always held out: in a small corpus no draw may be below the fraction.
            self.first_held_out = min(draws) if self.validation else -1.0
        for document, draw in zip(documents, draws, strict=True):
            held_out = draw < self.validation or draw == self.first_held_out
            yield ("validation" if held_out else "train"), document

    def _draw(self, document: Document) -> float:
        """A number in [0, 1) that is the same for all documents of a group."""
        key = document.group or document.text
        salt = self.seed.to_bytes(16, "big")
        digest = hashlib.blake2b(key.encode(), digest_size=8, salt=salt)
        return int.from_bytes(digest.digest(), "big") / 2**64
