"""Metrics of extracted answers: SQuAD's own definitions (Rajpurkar et al., 2016 and 2018)."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
import regex
from numpy.typing import NDArray

from elektron.finetuning.metrics.measure import Measure, Rows
from elektron.finetuning.metrics.writing import CHARACTER

ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
ANY_PUNCTUATION = regex.compile(r"\p{P}")
ARTICLES = regex.compile(r"\b(a|an|the)\b")


def squad(gold: Sequence[Sequence[str]], predicted: Sequence[str]) -> Measure:
    """Metrics of predicted answers to questions that have one or several right answers, or none.

    exact_match and f1 are from 0 to 100, as SQuAD prints them, and are means over questions. Exact
    match is whether the answer is one of the right ones; F1 is that of the words in the answer and in
    the most similar right answer; both after `normalize_answer`. If only some questions have an
    answer, has_answer_… are the metrics of these and no_answer_… those of the others.

    Each Chinese or Japanese character counts as a word, as in CMRC 2018; SQuAD's own script would
    take a whole phrase for one word. This does not change the metrics of English.

    Args:
        gold: right answers; a question whose answers are all empty, or that has none, has no answer.
        predicted: predicted answers; an empty string for no answer.
    """
    has_answer, scores = scores_of(gold, predicted)
    subsets = {"": np.ones(len(scores), dtype=np.bool_)}
    if not has_answer.all():
        subsets |= {"has_answer_": has_answer, "no_answer_": ~has_answer}

    def compute(rows: Rows) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for prefix, subset in subsets.items():
            if subset[rows].any():
                exact_match, f1 = scores[rows][subset[rows]].mean(axis=0).tolist()
                metrics |= {f"{prefix}exact_match": exact_match, f"{prefix}f1": f1}
        return metrics

    return Measure(rows=len(scores), compute=compute)


def scores_of(gold: Sequence[Sequence[str]], predicted: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """`(questions,)`: whether each has an answer; `(questions, 2)`: exact match and F1, 0 to 100."""
    # Answers that consist of articles and punctuation do not count; a question with no others has no answer.
    answers = [list(filter(None, map(normalize_answer, texts))) or [""] for texts in gold]
    scores = []
    for references, text in zip(answers, map(normalize_answer, predicted), strict=True):
        scores.append([float(text in references), max(f1(reference, text) for reference in references)])
    return np.array([references != [""] for references in answers]), 100 * np.array(scores)


def best_null_threshold(gold: Sequence[Sequence[str]], span_texts: Sequence[str], margins: Sequence[float]) -> float:
    """The margin above which to predict "no answer", for the highest F1; computed as in SQuAD 2.0's script.

    Questions are sorted by margin and given their spans one after another. The threshold is the margin
    of the last question that has a span at the first maximum of F1. Unlike in the official script,
    questions with the same margin, which no threshold can separate, are given their spans together,
    and if F1 is highest without any span, the threshold is below every margin and not 0.

    Args:
        gold: right answers of each question.
        span_texts: best span of each question.
        margins: score of "no answer" minus score of the best span, for each question.
    """
    has_answer, scores = scores_of(gold, span_texts)
    order = np.argsort(margins, kind="stable")
    ascending = np.asarray(margins, dtype=np.float64)[order]
    # Without its span, a question is right if it has no answer.
    gains = (scores[:, 1] - np.where(has_answer, 0, 100))[order]
    last_of_equals = np.append(ascending[1:] > ascending[:-1], True)
    totals = np.append(0.0, np.cumsum(gains)[last_of_equals])
    thresholds = np.append(np.nextafter(ascending[0], -np.inf), ascending[last_of_equals])
    return float(thresholds[totals.argmax()])


def f1(reference: str, predicted: str) -> float:
    """F1 of the words of two normalized answers; if one is empty, 1 if both are, else 0."""
    true, words = (CHARACTER.sub(r" \g<0> ", text).split() for text in (reference, predicted))
    if not true or not words:
        return float(true == words)
    common = (Counter(true) & Counter(words)).total()
    return 2 * common / (len(true) + len(words))


def normalize_answer(text: str) -> str:
    """Convert to lower case, remove punctuation and English articles, and put single spaces between words.

    Only ASCII punctuation is removed, as in SQuAD's script; in a text with Chinese or Japanese
    characters, that of every script.
    """
    bare = text.lower().translate(ASCII_PUNCTUATION)
    if CHARACTER.search(bare):
        bare = ANY_PUNCTUATION.sub("", bare)
    return " ".join(ARTICLES.sub(" ", bare).split())
