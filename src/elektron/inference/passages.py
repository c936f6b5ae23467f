"""A corpus in passages: questions are answered from the best of them, or the nearest to a query are found.

To answer questions, passages are retrieved with BM25 (Robertson & Zaragoza 2009, from `bm25s`), as in DrQA (Chen et
al. 2017) and BERTserini (Yang et al. 2019). The model answers the question from each of the best ones, and the best
answer is returned with its passage and the file that it is from. Semantic search compares embeddings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

import bm25s
import numpy as np
import regex
from bm25s.stopwords import STOPWORDS_EN_PLUS
from numpy.typing import NDArray

from elektron.corpus.documents import Corpus
from elektron.errors import ElektronError
from elektron.finetuning.metrics.writing import CHARACTER
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.base import Prediction
from elektron.finetuning.tasks.embedding import unit
from elektron.progress import Progress

PASSAGE_WORDS = 150
"""Long enough for an answer and what it refers to, short enough to be about one thing."""
CHARACTERS_OF_A_WORD = 2
"""Of Chinese and Japanese, marks included: there are no spaces to count words by."""
EMBEDDED_AT_ONCE = 1024
TITLE_WORDS = 12
"""A first line of more words is no heading."""

LINE = regex.compile(r"[^\n]*\n*")
# Only the first mark of several may begin an end, and nothing that was taken is given back: however
# many marks or blanks there are, each is looked at a few times only.
SENTENCE_END = regex.compile(r"(?<![.!?])[.!?]++[\"'”’)\]]*+\s++|(?<![。！？])[。！？]++[」』”’）]*+\s*+")
WIDE = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\u3001-\u303f\uff01-\uff60]")
WORD = regex.compile(rf"(?:\A\s*+)?(?:{WIDE.pattern}|(?:(?!{WIDE.pattern})\S)++)\s*+")
TERM = regex.compile(rf"{CHARACTER.pattern}+|[[\p{{L}}\p{{M}}\p{{N}}]--{CHARACTER.pattern}]+", regex.VERSION1)
STOPWORDS = frozenset(STOPWORDS_EN_PLUS)

NOWHERE: Prediction = {
    "answer": "",
    "start": -1,
    "end": -1,
    "score": 1.0,
    "passage": "",
    "title": "",
    "source": "",
    "passage_score": 0.0,
}
"""The prediction for a question that no passage answers."""

Answerer = Callable[[Sequence[Record]], list[Prediction]]
"""A model: from records, as with `question` and `context`, to a prediction for each."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document."""

    text: str
    title: str
    """The document's first line, cut where it is long."""
    source: str
    """`FILE, document 7`."""
    score: float = 0.0
    """For the question that it was retrieved for: that of BM25, or the cosine."""


class Passages:
    """The passages of a corpus with a BM25 index in memory."""

    def __init__(self, sources: Sequence[str], words: int = PASSAGE_WORDS) -> None:
        """Read a corpus, any that `elektron prepare` reads.

        Raises:
            ElektronError: a source cannot be read, or there is not a word in it.
        """
        self.passages: list[Passage] = []
        self._terms: dict[str, int] = {}
        numbers: list[list[int]] = []
        for passage, heading in read_passages(Corpus(sources), words):
            self.passages.append(passage)
            numbers.append([self._terms.setdefault(term, len(self._terms)) for term in terms(heading)])
        if not self._terms:
            raise ElektronError(f"{', '.join(sources)}: there are no words in it to find it by")
        self._index = bm25s.BM25()
        self._index.index((numbers, self._terms), create_empty_token=False, show_progress=False)

    def __len__(self) -> int:
        return len(self.passages)

    def search(self, question: str, count: int) -> list[Passage]:
        """The `count` passages with the highest scores, best first; fewer where fewer have a word of it."""
        known = [self._terms[term] for term in query_terms(question) if term in self._terms]
        if not known:
            return []
        scores = self._index.get_scores(known)
        best = np.argsort(-scores, kind="stable")[:count]
        return [
            replace(self.passages[number], score=round(float(scores[number]), 4))
            for number in best
            if scores[number] > 0
        ]


@dataclass
class OpenBook:
    """Answers questions from a corpus."""

    passages: Passages
    answerer: Answerer
    count: int
    """Passages that are read for each question."""

    def predictions(self, questions: Sequence[Record]) -> list[Prediction]:
        """For each question the best answer and its passage.

        `start` and `end` are characters of the `passage`, `score` is the model's for the answer and
        `passage_score` BM25's for the passage. Where no passage has an answer, all are empty, and
        `score` is the highest for "no answer".
        """
        found = [
            (number, question, passage)
            for number, question in enumerate(questions)
            for passage in self.passages.search(str(question.values["question"]), self.count)
        ]
        records = [
            replace(question, values=question.values | {"context": passage.text}) for _, question, passage in found
        ]
        answers: list[list[Prediction]] = [[] for _ in questions]
        for (number, _, passage), prediction in zip(found, self.answerer(records), strict=True):
            source = {
                "source": passage.source,
                "title": passage.title,
                "passage": passage.text,
                "passage_score": passage.score,
            }
            answers[number].append(prediction | source)
        return [best_answer(of_one) for of_one in answers]


class SemanticSearch:
    """The passages of a corpus with their embeddings in memory.

    Args:
        sources: a corpus, any that `elektron prepare` reads.
        embed: an embedding model: from records with `text` to their embeddings.
        count: passages found for a query.

    Raises:
        ElektronError: a source cannot be read, or is empty.
    """

    def __init__(self, sources: Sequence[str], embed: Answerer, count: int) -> None:
        self.passages = [passage for passage, _ in read_passages(Corpus(sources), PASSAGE_WORDS)]
        if not self.passages:
            raise ElektronError(f"{', '.join(sources)}: there is no text in it")
        self.embed = embed
        self.count = count
        records = [Record({"text": each.text}, {}, each.source) for each in self.passages]
        parts: list[NDArray[np.float32]] = []
        with Progress("embedding passages", len(records), "passages") as bar:
            for start in range(0, len(records), EMBEDDED_AT_ONCE):
                parts.append(self._embeddings(records[start : start + EMBEDDED_AT_ONCE]))
                bar.update(start + len(parts[-1]))
        self.vectors = np.concatenate(parts)

    def predictions(self, queries: Sequence[Record]) -> list[Prediction]:
        """For each query `passages`, nearest first: `text`, `title`, `source`, and the cosine as `score`."""
        found: list[Prediction] = []
        for query in self._embeddings(queries):
            cosines = self.vectors @ query
            nearest = np.argsort(-cosines, kind="stable")[: self.count]
            passages = [replace(self.passages[n], score=round(float(cosines[n]), 4)) for n in nearest]
            found.append({"passages": list(map(asdict, passages))})
        return found

    def _embeddings(self, records: Sequence[Record]) -> NDArray[np.float32]:
        return unit(np.array([each["embedding"] for each in self.embed(records)], dtype=np.float32))


def best_answer(answers: Sequence[Prediction]) -> Prediction:
    """The best answer among the passages of a question, by the model's score plus the retriever's.

    Probabilities of spans add up to 1 in each passage and cannot be compared between passages; the margin
    of the best span over "no answer" can (Wang et al. 2019), and BM25's score is added to it with the
    same weight (Yang et al. 2019). For 200 training questions against 50,000 passages, exact match was 74
    with both scores, 68 with the model's alone and 60 with the first passage only.
    """
    given = [answer for answer in answers if answer["answer"]]
    if not given:
        return NOWHERE | {"score": max((answer["score"] for answer in answers), default=1.0)}
    best = max(given, key=lambda answer: answer["passage_score"] - answer["no_answer_margin"])
    return {name: best[name] for name in NOWHERE}


def terms(text: str) -> list[str]:
    """The index terms of a text: words in lower case; of Chinese and Japanese, pairs of characters."""
    found: list[str] = []
    for run in TERM.findall(text.lower()):
        if len(run) == 1 or run.isascii() or not CHARACTER.match(run):
            found.append(run)
        else:
            found += map("".join, pairwise(run))
    return found


def query_terms(question: str) -> list[str]:
    """The terms of a question without stop words, unless there are no others."""
    all_terms = terms(question)
    return [term for term in all_terms if term not in STOPWORDS] or all_terms


def split(text: str, words: int = PASSAGE_WORDS) -> list[str]:
    """A text in passages of at most about `words` words.

    Lines are joined as long as they fit; a line that is too long is split into sentences, and a sentence
    that is too long into words.
    """
    passages: list[list[str]] = []
    room = 0.0
    for piece in _pieces(text, words):
        size = length(piece)
        if size > room or not passages:
            passages.append([])
            room = words
        passages[-1].append(piece)
        room -= size
    joined = ("".join(pieces).strip() for pieces in passages)
    return [passage for passage in joined if passage]


def length(text: str) -> float:
    """Words of a text; CHARACTERS_OF_A_WORD Chinese or Japanese characters count as one."""
    if text.isascii():
        return len(text.split())
    rest, characters = WIDE.subn(" ", text)
    return len(rest.split()) + characters / CHARACTERS_OF_A_WORD


def title_of(document: str) -> str:
    """Its first line, or the beginning of it."""
    first = document.split("\n", 1)[0].strip()
    found = WORD.findall(first)
    if len(found) <= TITLE_WORDS:
        return first
    return "".join(found[:TITLE_WORDS]).strip() + " …"


def read_passages(corpus: Corpus, words: int) -> Iterator[tuple[Passage, str]]:
    """Each passage, and the text that is indexed: the document's title and the passage."""
    documents: Counter[str] = Counter()
    unit = "documents" if corpus.total_bytes is None else "bytes"
    with Progress("reading passages", corpus.total_bytes, unit) as progress:
        for number, document in enumerate(corpus, start=1):
            documents[document.source] += 1
            source = f"{document.source}, document {documents[document.source]}"
            title = title_of(document.text)
            for place, text in enumerate(split(document.text, words)):
                heading = "" if place == 0 or title.endswith(" …") else title
                yield Passage(text, title, source), f"{heading}\n{text}"
            progress.update(number if corpus.total_bytes is None else corpus.bytes_read)


def _pieces(text: str, words: int) -> Iterator[str]:
    """Lines, or sentences or words where these are longer than a passage; together the whole text."""
    for line in LINE.findall(text):
        if length(line) <= words:
            yield line
            continue
        for sentence in _sentences(line):
            if length(sentence) <= words:
                yield sentence
            else:
                yield from WORD.findall(sentence)


def _sentences(line: str) -> Iterator[str]:
    """The sentences of a line, with the blanks behind them."""
    begin = 0
    for end in SENTENCE_END.finditer(line):
        yield line[begin : end.end()]
        begin = end.end()
    if begin < len(line):
        yield line[begin:]
