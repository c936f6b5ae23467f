"""Figures of generated text: translations and summaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import regex
from numpy.typing import NDArray

from elektron.finetuning.metrics.measure import require_rows
from elektron.finetuning.metrics.writing import is_chinese, is_plain_latin, words

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

__all__ = ["Summaries", "Translations", "is_chinese"]

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
SENTENCE_END = regex.compile(r"(?<=[.!?])\s+|(?<=[。！？…][”’」』]?)(?![。！？…”’」』])\s*")


@dataclass(eq=False)
class Corpus:
    """A sacrebleu figure from 0 to 100 over a corpus, from its statistics of each row."""

    metric: BLEU | CHRF
    references: Sequence[Sequence[str]]
    """One or several for each output."""
    outputs: Sequence[str]

    def __post_init__(self) -> None:
        # sacrebleu's `corpus_score` is these two private methods with a sum in between; tests
        # compare with it. It takes None, though annotated otherwise, where a row has fewer
        # references than another.
        most = max(map(len, self.references))
        streams: Any = [
            [of_one[index] if index < len(of_one) else None for of_one in self.references]
            for index in range(most)
        ]
        self._statistics = np.array(self.metric._extract_corpus_statistics(self.outputs, streams))

    @property
    def signature(self) -> str:
        """What sacrebleu asks to be told beside the figure."""
        return str(self.metric.get_signature())

    def __call__(self, chosen: NDArray[np.int64] | None = None) -> float:
        """The figure over the rows `chosen`, or all."""
        rows = slice(None) if chosen is None else chosen
        total = self._statistics[rows].sum(axis=0).tolist()
        return float(self.metric._compute_score_from_stats(total).score)


@dataclass(eq=False)
class Translations:
    """Translations with one or several references each.

    bleu (Papineni et al., 2002) and chrf (Popović, 2015, β = 2) go from 0 to 100, computed by
    sacrebleu (Post, 2018) over the corpus. They may be compared with others of the same
    `signatures` only.
    """

    references: Sequence[Sequence[str]]
    outputs: Sequence[str]
    target_language_chinese: bool
    """Cut by sacrebleu's `zh` tokenizer instead of `13a`."""

    def __post_init__(self) -> None:
        from sacrebleu.metrics.chrf import CHRF

        require_rows(self.references, self.outputs)
        self._bleu = Corpus(bleu(self.target_language_chinese), self.references, self.outputs)
        self._chrf = Corpus(CHRF(), self.references, self.outputs)

    @property
    def signatures(self) -> dict[str, str]:
        """How each figure was computed."""
        return {"bleu": self._bleu.signature, "chrf": self._chrf.signature}

    def __len__(self) -> int:
        return len(self.outputs)

    def __call__(self, chosen: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Figures over the rows `chosen`, or all."""
        return {"bleu": self._bleu(chosen), "chrf": self._chrf(chosen)}


@dataclass(eq=False)
class Summaries:
    """Summaries, or any texts that may be right in several ways, with one or several references each.

    rouge1, rouge2, rougeL and rougeLsum (Lin, 2004) are F-measures by Google's rouge_score, the best
    over the references of a row, averaged over rows; bleu is sacrebleu's. These go from 0 to 100.

    ROUGE compares stemmed words where the references are in English. rouge_score knows no letters
    but a to z; other languages are compared by words as they stand, Chinese and Japanese by
    character. For rougeLsum each line is a sentence, and a text of one line is split after `.`, `!`,
    `?` and their Chinese counterparts.

    distinct_1 and distinct_2 (Li et al., 2016) are the shares of different words, and of different
    pairs of neighbouring words, among all of the outputs; distinct_outputs is the share of different
    outputs. They go from 0 to 1; near 0, a model says the same whatever it is given. They are given
    for all rows only: a row drawn twice would itself be a repetition.
    """

    references: Sequence[Sequence[str]]
    outputs: Sequence[str]

    def __post_init__(self) -> None:
        require_rows(self.references, self.outputs)
        references = [of_one or [""] for of_one in self.references]
        self._chinese = is_chinese(chain.from_iterable(references))
        self._english = is_plain_latin(chain.from_iterable(references))
        self._bleu = Corpus(bleu(self._chinese), references, self.outputs)
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(
            ROUGE, use_stemmer=True, tokenizer=None if self._english else WordsTokenizer()
        )
        self._rouge = 100 * np.array(
            [
                rouge_f_measures(scorer, of_one, output)
                for of_one, output in zip(references, self.outputs, strict=True)
            ]
        )

    @property
    def signatures(self) -> dict[str, str]:
        """How figures were computed; `rouge` is that of all ROUGE figures."""
        tokens = "words+stemmer" if self._english else "characters" if self._chinese else "words"
        return {
            "bleu": self._bleu.signature,
            "rouge": f"tok:{tokens}|lsum:lines|version:{version('rouge_score')}",
        }

    def __len__(self) -> int:
        return len(self.outputs)

    def __call__(self, chosen: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Figures over the rows `chosen`, or all."""
        rows = slice(None) if chosen is None else chosen
        figures = dict(zip(ROUGE, self._rouge[rows].mean(axis=0).tolist(), strict=True))
        figures["bleu"] = self._bleu(chosen)
        return figures if chosen is not None else figures | diversity(self.outputs)


class WordsTokenizer:
    """Lower-case words of any script for rouge_score, Chinese and Japanese by character."""

    def tokenize(self, text: str) -> list[str]:
        """The name that rouge_score asks for."""
        return words(text.lower())


def bleu(chinese: bool) -> BLEU:
    """sacrebleu's BLEU for a language."""
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize="zh" if chinese else "13a")


def rouge_f_measures(scorer: RougeScorer, references: Sequence[str], output: str) -> list[float]:
    """By the names of `ROUGE`, each with the reference that suits best."""
    scores = scorer.score_multi([by_line(reference) for reference in references], by_line(output))
    return [scores[name].fmeasure for name in ROUGE]


def by_line(text: str) -> str:
    """One sentence a line, if the text is not in lines already."""
    stripped = text.strip()
    return stripped if "\n" in stripped else SENTENCE_END.sub("\n", stripped)


def diversity(outputs: Sequence[str]) -> dict[str, float]:
    """How little the outputs repeat themselves and one another."""
    by_output = [words(output) for output in outputs]
    return {
        "distinct_1": distinct(list(chain.from_iterable(by_output))),
        "distinct_2": distinct(list(chain.from_iterable(map(pairwise, by_output)))),
        "distinct_outputs": distinct(outputs),
    }


def distinct(things: Sequence[object]) -> float:
    """Share of different ones; 0 where there are none."""
    return len(set(things)) / len(things) if things else 0.0
