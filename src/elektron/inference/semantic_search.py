"""Semantic search: the passages of a corpus whose embeddings are nearest to that of a query."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from elektron.corpus.documents import Corpus
from elektron.errors import ElektronError
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.base import Prediction
from elektron.finetuning.tasks.embedding import unit
from elektron.inference.passages import PASSAGE_WORDS, read_passages

Embed = Callable[[Sequence[Record]], list[Prediction]]
"""An embedding model: from records with `text` to their embeddings."""


class SemanticSearch:
    """The passages of a corpus with their embeddings in memory.

    Args:
        sources: a corpus, any that `elektron prepare` reads.
        embed: gives the embeddings of passages and queries.
        count: passages found for a query.

    Raises:
        ElektronError: a source cannot be read, or is empty.
    """

    def __init__(self, sources: Sequence[str], embed: Embed, count: int) -> None:
        self.passages = [passage for passage, _ in read_passages(Corpus(sources), PASSAGE_WORDS)]
        if not self.passages:
            raise ElektronError(f"{', '.join(sources)}: there is no text in it")
        self.embed = embed
        self.count = count
        texts = [Record({"text": each.text}, {}, each.source) for each in self.passages]
        self.vectors = self._embeddings(texts)

    def predictions(self, queries: Sequence[Record]) -> list[Prediction]:
        """For each query `passages`, nearest first: `text`, `title`, `source`, and the cosine as `score`."""
        cosines = self._embeddings(queries) @ self.vectors.T
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, : self.count]
        return [
            {
                "passages": [
                    {
                        "text": self.passages[place].text,
                        "title": self.passages[place].title,
                        "source": self.passages[place].source,
                        "score": round(float(row[place]), 4),
                    }
                    for place in places
                ]
            }
            for row, places in zip(cosines, nearest, strict=True)
        ]

    def _embeddings(self, records: Sequence[Record]) -> NDArray[np.float32]:
        found = self.embed(records)
        return unit(np.array([each["embedding"] for each in found], dtype=np.float32))
