"""Extractive question answering: the answer is a stretch of a passage, or there is none in it.

The way of SQuAD (Devlin et al. 2019, section 4.2; Clark et al. 2020 for ELECTRA): question and
passage are read together, the passage in windows that overlap where it is long, and each token has
a score for being the answer's first and one for being its last. [CLS] stands for "no answer". A
span's score is the sum of its two; the best span of all windows is cut out of the passage by
character offsets, so that it is written exactly as it stands there, in any script.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from transformers import AutoModelForQuestionAnswering, PreTrainedModel, PreTrainedTokenizerBase

from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.metrics.measure import Measure
from elektron.finetuning.metrics.squad import Answers, best_null_threshold
from elektron.finetuning.readers.records import Layout, Record, Role
from elektron.finetuning.tasks.base import (
    Batch,
    Constant,
    EncoderTask,
    Feature,
    Output,
    Prediction,
    Variation,
    pad_inputs,
    variation_of_categories,
)

CLS = 0
"""Place of [CLS], which stands for "no answer"."""
QUESTION_TOKENS = 64
ANSWER_TOKENS = 30
BEST = 20
"""Spans of a window that are looked at, and of a record that share the probability."""
NO_SPAN = 1e6
"""Margin of "no answer" where the passage is empty: more than any scores differ by."""
ALIKE = 0.1
"""Standard deviation of the margins of a model that does not tell questions apart."""
AT_ONCE = 1000
"""Records that are tokenized together: offsets as Python tuples take ten times their memory."""

Offsets = NDArray[np.int32]
"""`(tokens, 2)`: for each token of the passage in a window, its first character and that after its last."""


class Span(NamedTuple):
    """A stretch of a passage in characters, and its score."""

    score: float
    begin: int
    end: int


@dataclass(kw_only=True)
class QuestionAnswering(EncoderTask):
    """Where in a passage the answer to a question stands, if it does."""

    name: ClassVar[str] = "question-answering"
    layout: ClassVar[Layout] = Layout(
        (
            Role("question", ("question", "query")),
            Role("context", ("context", "passage", "paragraph", "document", "text")),
            Role("answers", ("answers", "answer", "answer_text", "answers.text"), "labelled"),
            Role("answer_start", ("answer_start", "answers.answer_start"), "never"),
            Role("id", ("id",), "never"),
        ),
        shape="squad",
    )
    figure: ClassVar[str] = "f1"
    auto_class: ClassVar[Any] = AutoModelForQuestionAnswering

    stride: int
    """Tokens by which windows overlap."""
    question_length: int = QUESTION_TOKENS
    """Tokens of a question that are read."""
    answer_length: int = ANSWER_TOKENS
    """Longest answer in tokens."""
    no_answers: bool
    """Whether some training questions had no answer; without such, one is always given."""
    null_threshold: float | None = None
    """The answer is "" where "no answer" scores higher than the best span by more than this; None is 0."""
    null_threshold_given: bool = False
    """Whether the threshold was asked for; otherwise it is chosen on evaluation records."""

    @classmethod
    def learn(cls, records: Sequence[Record], config: FinetuneConfig, encoder: Encoder) -> Self:
        """Whether answers may be missing, and how much is read of question and passage.

        Raises:
            ElektronError: no record has an answer, or windows that overlap so much never move on.
        """
        assert config.max_length is not None
        assert config.stride is not None
        answered = sum(bool(right_answers(record)) for record in records)
        if not answered:
            raise ElektronError(
                f"{records[0].where.partition(',')[0]}: none of the {len(records)} training "
                "questions has an answer: there is nothing to learn"
            )
        question_length = min(QUESTION_TOKENS, config.max_length // 4)
        special = encoder.tokenizer.num_special_tokens_to_add(pair=True)
        room = config.max_length - question_length - special
        if config.stride >= room:
            raise ElektronError(
                f"--stride {config.stride} must be below {room}, the tokens that --max-length "
                f"{config.max_length} leaves for the passage"
            )
        return cls(
            max_length=config.max_length,
            stride=config.stride,
            question_length=question_length,
            no_answers=answered < len(records),
            null_threshold=config.null_threshold,
            null_threshold_given=config.null_threshold is not None,
        )

    def check(self, records: Sequence[Record]) -> None:
        """Refuse a question of which it is not known whether it has an answer."""
        for record in records:
            if "answers" not in record.values:
                raise ElektronError(f"{record.where}: no answers are given for the question")

    def head_settings(self) -> dict[str, Any]:
        """Two scores a token."""
        return {"num_labels": 2}

    def features(
        self, records: Sequence[Record], tokenizer: PreTrainedTokenizerBase, labelled: bool
    ) -> list[Feature]:
        """Question and passage, one feature a window.

        Beside `input_ids`, `record` and, where the tokenizer gives them, `token_type_ids`, a feature
        has `begins`, the place of the passage's first token, and `offsets` of the passage's tokens.
        `labels` are the places of the answer's first and last token, both those of [CLS] where the
        window does not hold all of it.
        """
        features: list[Feature] = []
        for first in range(0, len(records), AT_ONCE):
            for feature in self._windows(records[first : first + AT_ONCE], tokenizer):
                feature["record"] += first
                features.append(feature)
        if labelled:
            places = [answer_place(record) for record in records]
            for feature in features:
                feature["labels"] = labels_in(feature, places[feature["record"]])
        return features

    def collate(self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Pad inputs on the right, and give labels the names that transformers' heads have for them."""
        batch = pad_inputs(features, tokenizer)
        if "labels" in features[0]:
            labels = torch.tensor([feature["labels"] for feature in features])
            batch["start_positions"], batch["end_positions"] = labels.unbind(1)
        return batch

    def forward(self, model: PreTrainedModel, batch: Batch) -> list[Output]:
        """For each feature its scores of beginning and of end, `(length,)` each."""
        said = model(**batch)
        starts, ends = said.start_logits.float().cpu(), said.end_logits.float().cpu()
        return list(zip(starts.numpy(), ends.numpy(), strict=True))

    def predictions(
        self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[Output]
    ) -> list[Prediction]:
        """The best span of all windows of a record, or "" where "no answer" is surer.

        As in SQuAD's own script, "no answer" scores what it does in the window that favours it
        least: a window that does not hold the answer has reason to say so.
        """
        spans: list[list[Span]] = [[] for _ in records]
        nothing = [float("inf")] * len(records)
        for feature, (start, end) in zip(features, outputs, strict=True):
            record = feature["record"]
            context = str(records[record].values["context"])
            spans[record] += spans_in(feature, start, end, context, self.answer_length)
            nothing[record] = min(nothing[record], float(start[CLS]) + float(end[CLS]))
        return [
            self._prediction(str(record.values["context"]), best_of(found), none)
            for record, found, none in zip(records, spans, nothing, strict=True)
        ]

    def tuned(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> Self:
        """With the threshold that gives these records the highest F1, unless one was asked for."""
        if not self.no_answers or self.null_threshold_given:
            return self
        threshold, _ = best_null_threshold(
            [right_answers(record) for record in records],
            [prediction["span"] for prediction in predictions],
            [prediction["no_answer_margin"] for prediction in predictions],
        )
        return dataclasses.replace(self, null_threshold=threshold)

    def measure(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> Measure:
        """SQuAD's exact match and F1."""
        return Answers(
            [right_answers(record) for record in records],
            [prediction["answer"] for prediction in predictions],
        )

    def figures(
        self, records: Sequence[Record], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """Share of the questions that were answered, and the threshold of those that were not."""
        if not self.no_answers:
            return {}
        answered = sum(prediction["answer"] != "" for prediction in predictions)
        return {
            "answered": answered / max(1, len(predictions)),
            "null_threshold": self.null_threshold or 0.0,
        }

    def constant(self, records: Sequence[Record], train: Sequence[Record]) -> Constant | None:
        """Never an answer, where some questions have none."""
        if all(right_answers(record) for record in records):
            return None
        return Constant("never an answer", [{"answer": ""}] * len(records))

    def variation(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> Variation:
        """By answers, and by margins.

        A weak model that does tell questions apart may still do best, by the threshold that suits it
        best, to answer none; training it again would not help.
        """
        found = variation_of_categories(
            [prediction["answer"] or "no answer" for prediction in predictions],
            [next(iter(right_answers(record)), "no answer") for record in records],
            unit="question",
        )
        margins = [prediction["no_answer_margin"] for prediction in predictions]
        return found._replace(predicted=1.0) if np.std(margins) >= ALIKE else found

    def _windows(
        self, records: Sequence[Record], tokenizer: PreTrainedTokenizerBase
    ) -> Iterator[Feature]:
        """Inputs of each window, without labels."""
        encoded = tokenizer(
            self._questions(records, tokenizer),
            [str(record.values["context"]) for record in records],
            truncation="only_second",
            max_length=self.max_length,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        numbers = encoded.pop("overflow_to_sample_mapping")
        offsets = encoded.pop("offset_mapping")
        for row, record in enumerate(numbers):
            inputs = {name: values[row] for name, values in encoded.items()}
            of_passage = [
                place for place, part in enumerate(encoded.sequence_ids(row)) if part == 1
            ]
            begins = of_passage[0] if of_passage else len(inputs["input_ids"])
            of_tokens = offsets[row][begins : begins + len(of_passage)]
            yield inputs | {
                "record": int(record),
                "begins": begins,
                "offsets": np.array(of_tokens, dtype=np.int32).reshape(-1, 2),
            }

    def _questions(
        self, records: Sequence[Record], tokenizer: PreTrainedTokenizerBase
    ) -> list[str]:
        """The questions, cut where they are longer than is read."""
        questions = [str(record.values["question"]).strip() for record in records]
        encoded = tokenizer(
            questions, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        for row, offsets in enumerate(encoded["offset_mapping"]):
            tokens, kept = len(offsets), self.question_length
            while tokens > self.question_length:
                questions[row] = questions[row][: offsets[kept - 1][1]]
                # Cut inside a word, what is left may have more tokens than it had in the whole.
                tokens, kept = len(tokenizer.tokenize(questions[row])), kept - 1
        return questions

    def _prediction(self, context: str, spans: Sequence[Span], nothing: float) -> Prediction:
        """What the best spans of a passage and the score of "no answer" come to.

        `score` is the probability among the best spans and, if it is an answer, "no answer". How much
        more "no answer" scores than the best `span` is kept for choosing the threshold.
        """
        best = spans[0] if spans else Span(nothing - NO_SPAN, -1, -1)
        margin = round(nothing - best.score, 6)
        scores = [span.score for span in spans]
        chosen, place = best, 0
        if not spans or (self.no_answers and margin > (self.null_threshold or 0.0)):
            chosen, place = Span(nothing, -1, -1), len(scores)
        if not spans or self.no_answers:
            scores.append(nothing)
        prediction = {
            "answer": text_of(chosen, context),
            "start": chosen.begin,
            "end": chosen.end,
            "score": round(share_of(place, scores), 6),
            "no_answer_margin": margin,
        }
        return prediction | ({"span": text_of(best, context)} if self.no_answers else {})


def right_answers(record: Record) -> list[str]:
    """The texts of a labelled record's answers."""
    return [answer["text"] for answer in record.values["answers"]]


def answer_place(record: Record) -> tuple[int, int] | None:
    """Where the first answer begins and ends in the passage, in characters; None if there is none."""
    if not record.values["answers"]:
        return None
    answer = record.values["answers"][0]
    text = answer["text"]
    begin = answer["answer_start"] + len(text) - len(text.lstrip())
    return begin, begin + len(text.strip())


def labels_in(feature: Feature, place: tuple[int, int] | None) -> tuple[int, int]:
    """First and last token of the characters `place`, [CLS] for both where the window cuts them."""
    offsets: Offsets = feature["offsets"]
    if place is None or not len(offsets):
        return CLS, CLS
    begin, end = place
    if offsets[0, 0] > begin or offsets[-1, 1] < end:
        return CLS, CLS
    touched = np.flatnonzero((offsets[:, 1] > begin) & (offsets[:, 0] < end))
    if not len(touched):
        return CLS, CLS
    return feature["begins"] + int(touched[0]), feature["begins"] + int(touched[-1])


def spans_in(
    feature: Feature,
    start: NDArray[np.float32],
    end: NDArray[np.float32],
    context: str,
    longest: int,
) -> list[Span]:
    """The best spans of one window, without white space around them."""
    offsets: Offsets = feature["offsets"]
    passage = slice(feature["begins"], feature["begins"] + len(offsets))
    firsts, lasts, scores = best_spans(start[passage], end[passage], longest, BEST)
    found = []
    for first, last, score in zip(firsts, lasts, scores, strict=True):
        begin, after = int(offsets[first, 0]), int(offsets[last, 1])
        text = context[begin:after]
        begin, after = after - len(text.lstrip()), begin + len(text.rstrip())
        if begin < after:
            found.append(Span(float(score), begin, after))
    return found


def best_spans(
    start: NDArray[np.float32], end: NDArray[np.float32], longest: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """First tokens, last tokens and scores of the best spans of at most `longest` tokens, unsorted.

    `start` and `end` are `(tokens,)`. All spans are compared, `(tokens, longest)` sums, where
    SQuAD's script has only those between the twenty best beginnings and ends.
    """
    if not len(start):
        none = np.empty(0, dtype=np.int64)
        return none, none, np.empty(0, dtype=np.float32)
    ends = np.pad(end, (0, longest - 1), constant_values=-np.inf)
    sums = (start[:, None] + sliding_window_view(ends, longest)).ravel()
    chosen = np.arange(sums.size)
    if sums.size > count:
        chosen = np.argpartition(sums, -count)[-count:]
    chosen = chosen[np.isfinite(sums[chosen])]
    firsts, further = np.divmod(chosen, longest)
    return firsts, firsts + further, sums[chosen]


def best_of(spans: Sequence[Span]) -> list[Span]:
    """The best, best first; one that several windows hold counts once, where it scores highest."""
    best: dict[tuple[int, int], Span] = {}
    for span in sorted(spans, key=lambda span: (-span.score, span.begin, span.end)):
        best.setdefault((span.begin, span.end), span)
    return list(best.values())[:BEST]


def text_of(span: Span, context: str) -> str:
    """What stands there; "" for none."""
    return context[span.begin : span.end] if span.begin >= 0 else ""


def share_of(place: int, scores: Sequence[float]) -> float:
    """The probability of one of the scores by softmax over all."""
    powers = np.exp(np.array(scores) - max(scores))
    return float(powers[place] / powers.sum())
