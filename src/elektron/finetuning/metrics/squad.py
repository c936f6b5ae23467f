"""Figures of extracted answers: SQuAD's own definitions (Rajpurkar et al., 2016 and 2018)."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import regex
from numpy.typing import NDArray

from elektron.finetuning.metrics.measure import require_rows
from elektron.finetuning.metrics.writing import CHARACTER, characters_apart

ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
ANY_PUNCTUATION = regex.compile(r"\p{P}")
ARTICLES = regex.compile(r"\b(a|an|the)\b")


@dataclass(eq=False)
class Answers:
    """Predicted answers to questions that have one or several right answers, or none.

    exact_match and f1 go from 0 to 100, as SQuAD prints them, and are means over questions: exact
    match is whether the answer is one of the right ones, F1 how many of its words are, with the
    right answer that suits best; both after `normalize_answer`. Where only some questions have an
    answer, has_answer_… are the figures of those and no_answer_… of the others, where both figures
    are whether the empty answer was given.

    Chinese and Japanese characters count as a word each, as in CMRC 2018; SQuAD's own script would
    take a whole phrase for one word. English figures do not change by that.
    """

    gold: Sequence[Sequence[str]]
    """Right answers; a question whose answers are all empty, or that has none, has no answer."""
    predicted: Sequence[str]
    """Empty for no answer."""

    def __post_init__(self) -> None:
        require_rows(self.gold, self.predicted)
        rights = [right_answers(answers) for answers in self.gold]
        self._has_answer = np.array([rights_of_one != [""] for rights_of_one in rights])
        self._scores = 100 * np.array(
            [
                (best(exact_match, answers, given), best(f1, answers, given))
                for answers, given in zip(rights, self.predicted, strict=True)
            ]
        )

    def __len__(self) -> int:
        return len(self.gold)

    @property
    def has_answer(self) -> NDArray[np.bool_]:
        """Which questions have an answer."""
        return self._has_answer

    @property
    def f1_of_each(self) -> NDArray[np.float64]:
        """F1 of every question, 0 to 100."""
        return self._scores[:, 1]

    def __call__(self, chosen: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Figures over the questions `chosen`, or all."""
        rows = slice(None) if chosen is None else chosen
        scores, has_answer = self._scores[rows], self._has_answer[rows]
        figures = means("", scores)
        if not self._has_answer.all():
            for prefix, part in (("has_answer_", has_answer), ("no_answer_", ~has_answer)):
                if part.any():
                    figures |= means(prefix, scores[part])
        return figures


def means(prefix: str, scores: NDArray[np.float64]) -> dict[str, float]:
    """Mean exact match and F1 of `(questions, 2)` scores."""
    exact, overlap = scores.mean(axis=0).tolist()
    return {f"{prefix}exact_match": exact, f"{prefix}f1": overlap}


def best_null_threshold(
    gold: Sequence[Sequence[str]], span_texts: Sequence[str], differences: Sequence[float]
) -> tuple[float, dict[str, float]]:
    """Above which difference to answer "no answer", for the highest F1; SQuAD 2.0's sweep.

    Questions are sorted by difference and given their spans one after another, and the threshold is
    the difference of the last one at the best point, the first of equals. Unlike the official
    script, questions of the same difference, which no threshold can part, are taken together, and
    where no span at all is best the threshold lies below every difference rather than at 0.

    Args:
        gold: right answers of each question.
        span_texts: its best span.
        differences: score of no answer less score of the best span.

    Returns:
        The threshold, and the figures of `Answers` where every question whose difference is greater
        is answered with "".
    """
    spans = Answers(gold, span_texts)
    by_question = np.asarray(differences, dtype=np.float64)
    order = np.argsort(by_question, kind="stable")
    ascending = by_question[order]
    # What a question wins or loses by its span: without it, it is right if it has no answer.
    gains = np.where(spans.has_answer, spans.f1_of_each, spans.f1_of_each - 100)[order]
    parts = np.append(ascending[1:] > ascending[:-1], True)
    totals = np.append(0.0, np.cumsum(gains)[parts])
    below_all = np.nextafter(ascending[0], -np.inf)
    threshold = float(np.append(below_all, ascending[parts])[totals.argmax()])
    answers = [
        "" if difference > threshold else text
        for text, difference in zip(span_texts, by_question, strict=True)
    ]
    return threshold, Answers(gold, answers)()


def right_answers(answers: Sequence[str]) -> list[str]:
    """Those that are more than articles and punctuation; the empty one where none is."""
    return [answer for answer in answers if normalize_answer(answer)] or [""]


def best(score: Callable[[str, str], float], answers: Sequence[str], given: str) -> float:
    """The score with the right answer that suits best."""
    return max(score(answer, given) for answer in answers)


def exact_match(answer: str, given: str) -> float:
    """1 if both are the same after normalisation, else 0."""
    return float(normalize_answer(answer) == normalize_answer(given))


def f1(answer: str, given: str) -> float:
    """Harmonic mean of the shares of words that the two have in common; of an empty one, whether both are."""
    right, found = answer_words(answer), answer_words(given)
    if not right or not found:
        return float(right == found)
    common = (Counter(right) & Counter(found)).total()
    return 2 * common / (len(right) + len(found))


def answer_words(text: str) -> list[str]:
    """Words of the normalised text; Chinese and Japanese by character."""
    return characters_apart(normalize_answer(text)).split()


def normalize_answer(text: str) -> str:
    """In lower case, without punctuation and English articles, single spaces between words.

    Punctuation is ASCII's, as in SQuAD's script; in a text with Chinese or Japanese characters it is
    that of every script.
    """
    bare = text.lower().translate(ASCII_PUNCTUATION)
    if CHARACTER.search(bare):
        bare = ANY_PUNCTUATION.sub("", bare)
    return " ".join(ARTICLES.sub(" ", bare).split())
