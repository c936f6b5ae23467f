"""Metrics of generated text: translations and summaries."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from itertools import chain, pairwise, zip_longest
from types import SimpleNamespace
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray

from elektron.finetuning.metrics.measure import Measure, Rows
from elektron.finetuning.metrics.writing import (
    KANA,
    fraction,
    is_chinese,
    is_plain_latin,
    is_written_without_spaces,
    words,
)

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
SENTENCE_END = regex.compile(r"(?<=[.!?])\s+|(?<=[。！？…][”’」』]?)(?![。！？…”’」』])\s*")

SOME_KANA = 0.05
"""Texts are taken for Japanese if a larger fraction of their letters is kana."""

References = Sequence[Sequence[str]]
"""One or several reference texts for each output."""


class CorpusScore:
    """A corpus metric of sacrebleu, 0 to 100, which is computed over any rows from the statistics of each row."""

    def __init__(self, metric: Any, references: References, outputs: Sequence[str]) -> None:
        # sacrebleu's `corpus_score` is these two private methods with a sum in between; tests
        # compare with it. It takes None where a row has fewer references than another.
        streams = list(zip_longest(*references))
        self.metric = metric
        self.statistics = np.array(metric._extract_corpus_statistics(outputs, streams))
        self.signature = str(metric.get_signature())

    def __call__(self, rows: Rows) -> float:
        total = self.statistics[rows].sum(axis=0).tolist()
        return float(self.metric._compute_score_from_stats(total).score)


def bleu(references: References, outputs: Sequence[str], chinese: bool) -> CorpusScore:
    """BLEU; Chinese is tokenized by sacrebleu's `zh` instead of `13a`, other scripts without spaces by `char`."""
    from sacrebleu.metrics.bleu import BLEU

    tokenize = "zh" if chinese else "13a"
    texts = list(chain.from_iterable(references))
    if fraction(KANA, texts) > SOME_KANA or (not chinese and is_written_without_spaces(texts)):
        tokenize = "char"
    return CorpusScore(BLEU(tokenize=tokenize), references, outputs)


def translation(references: References, outputs: Sequence[str], chinese: bool) -> Measure:
    """Metrics of translations; `chinese` is whether the target language is Chinese.

    bleu (Papineni et al., 2002) and chrf (Popović, 2015, β = 2) are from 0 to 100, computed by
    sacrebleu (Post, 2018) over the corpus. Only values with the same signature are comparable.
    """
    from sacrebleu.metrics.chrf import CHRF

    scores = {"bleu": bleu(references, outputs, chinese), "chrf": CorpusScore(CHRF(), references, outputs)}
    return Measure(
        rows=len(outputs),
        compute=lambda rows: {name: score(rows) for name, score in scores.items()},
        notes={name: score.signature for name, score in scores.items()},
    )


def summarization(references: References, outputs: Sequence[str]) -> Measure:
    """Metrics of summaries, or of any texts that may have several correct forms.

    rouge1, rouge2, rougeL and rougeLsum (Lin, 2004) are F-measures by Google's rouge_score, the best
    over the references of a row, averaged over rows; bleu is sacrebleu's. These are from 0 to 100.

    ROUGE compares stemmed words if the references are in English. In other languages it compares unchanged words, in
    Chinese and Japanese characters, because rouge_score's own tokenizer drops all letters but a to z. For rougeLsum
    each line is a sentence, and a text of one line is split after `.`, `!`, `?` and their Chinese counterparts.

    distinct_1 and distinct_2 (Li et al., 2016) are the fractions of distinct words, and of distinct
    pairs of adjacent words, in all outputs; distinct_outputs is the fraction of distinct outputs.
    They are from 0 to 1; near 0, the model writes the same for all inputs.
    """
    references = [of_row or [""] for of_row in references]
    chinese = is_chinese(chain.from_iterable(references))
    english = is_plain_latin(chain.from_iterable(references))
    corpus_bleu = bleu(references, outputs, chinese)
    rouge_of_rows = rouge(references, outputs, english)

    def compute(rows: Rows) -> dict[str, float]:
        means = rouge_of_rows[rows].mean(axis=0).tolist()
        return dict(zip(ROUGE, means, strict=True)) | {"bleu": corpus_bleu(rows)}

    by_output = [words(output) for output in outputs]
    distinct: dict[str, list[Any]] = {
        "distinct_1": list(chain.from_iterable(by_output)),
        "distinct_2": list(chain.from_iterable(map(pairwise, by_output))),
        "distinct_outputs": list(outputs),
    }
    tokens = "words+stemmer" if english else "characters" if chinese else "words"
    return Measure(
        rows=len(outputs),
        compute=compute,
        not_resampled={name: len(set(items)) / len(items) if items else 0.0 for name, items in distinct.items()},
        notes={"bleu": corpus_bleu.signature, "rouge": f"tok:{tokens}|lsum:lines|version:{version('rouge_score')}"},
    )


def rouge(references: References, outputs: Sequence[str], english: bool) -> NDArray[np.float64]:
    """`(rows, 4)` F-measures from 0 to 100, in the order of `ROUGE`."""
    from rouge_score.rouge_scorer import RougeScorer

    # For other languages: lower-case words of any script, Chinese and Japanese by character.
    tokenizer = None if english else SimpleNamespace(tokenize=lambda text: words(text.lower()))
    scorer = RougeScorer(ROUGE, use_stemmer=True, tokenizer=tokenizer)
    rows = []
    for of_row, output in zip(references, outputs, strict=True):
        scores = scorer.score_multi([by_line(text) for text in of_row], by_line(output))
        rows.append([100 * scores[name].fmeasure for name in ROUGE])
    return np.array(rows)


def by_line(text: str) -> str:
    """Put each sentence on a line, unless the text has several lines already."""
    stripped = text.strip()
    return stripped if "\n" in stripped else SENTENCE_END.sub("\n", stripped)
