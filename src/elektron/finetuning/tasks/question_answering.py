"""Extractive question answering: the answer is a span of a passage, or there is none in it.

As in SQuAD (Devlin et al. 2019, section 4.2; Clark et al. 2020 for ELECTRA): question and passage are read together, a
long passage in windows that overlap, and each token has a score for being the answer's first and one for being its
last. [CLS] stands for "no answer". A span's score is the sum of its two; the best span of all windows is cut out of the
passage by character offsets, so that the answer is exactly the passage's text in any script.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from transformers import AutoModelForQuestionAnswering, BatchEncoding, PreTrainedModel

from elektron.configuration import NotNegative, Size
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.inputs import Batch, Feature, Features, Records, Tokenizer, pad, tokenize
from elektron.finetuning.metrics.measure import Measure
from elektron.finetuning.metrics.squad import best_null_threshold, squad
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.base import Baseline, Outputs, Prediction, Predictions, Task, Variation

CLS = 0
"""Position of [CLS], which stands for "no answer"."""
QUESTION_TOKENS = 64
ANSWER_TOKENS = 30
"""Default of `answer_length`; it is more if training answers are longer."""
LONGEST_ANSWERS = 0.999
"""Quantile of the lengths of training answers that determines `answer_length`."""
BEST = 20
"""Number of best spans that are kept of each window, and of each record for the probabilities."""
NO_SPAN = 1e6
"""Margin of "no answer" if the passage has no span: more than any difference between scores."""
CONSTANT_MARGINS = 0.1
"""A model does not distinguish questions if the standard deviation of their margins is below this."""
TOKENIZED_TOGETHER = 1000
"""Number of records that are tokenized at once: offsets as Python tuples take ten times the memory of arrays."""


class Span(NamedTuple):
    """A span of characters of a passage and its score; `begin` and `end` are -1 for no answer."""

    score: float
    begin: int
    end: int

    def text(self, context: str) -> str:
        """The text of the span; "" for no answer."""
        return context[self.begin : self.end] if self.begin >= 0 else ""


@dataclass(kw_only=True)
class QuestionAnswering(Task):
    """Finds the answer to a question in a passage, if the passage contains it."""

    name: ClassVar[str] = "question-answering"
    metric: ClassVar[str] = "f1"
    auto_class: ClassVar[Any] = AutoModelForQuestionAnswering
    network_outputs: ClassVar[tuple[str, ...]] = ("start_logits", "end_logits")
    unit: ClassVar[str] = "question"

    stride: NotNegative[int]
    """Tokens by which windows overlap."""
    question_length: Size = QUESTION_TOKENS
    """Longest question in tokens; longer questions are cut."""
    answer_length: Size = ANSWER_TOKENS
    """Longest answer in tokens."""
    no_answers: bool
    """Whether some training questions had no answer; otherwise an answer is always predicted."""
    null_threshold: float | None = None
    """The answer is "" where "no answer" scores higher than the best span by more than this; None is 0."""
    null_threshold_given: bool = False
    """Whether the threshold was given by the user; otherwise it is chosen on evaluation records."""

    @classmethod
    def from_records(cls, records: Records, config: FinetuneConfig, encoder: Encoder) -> Self:
        """Make the task: whether questions may have no answer, and the longest question and answer.

        Raises:
            ElektronError: no record has an answer, or `stride` is as long as the part of a passage in a window.
        """
        answered = sum(bool(right_answers(record)) for record in records)
        if not answered:
            raise cls.nothing_to_learn(records, f"none of the {len(records)} questions has an answer")
        assert config.max_length is not None
        assert config.stride is not None
        question_length = min(QUESTION_TOKENS, config.max_length // 4)
        special = encoder.tokenizer.num_special_tokens_to_add(pair=True)
        room = config.max_length - question_length - special
        if config.stride >= room:
            raise ElektronError(
                f"--stride {config.stride} must be below {room}, the tokens that --max-length "
                f"{config.max_length} leaves for the passage"
            )
        answers = [texts[0] for texts in map(right_answers, records) if texts]
        lengths = list(map(len, encoder.tokenizer(answers, add_special_tokens=False, verbose=False)["input_ids"]))
        return cls(
            question_length=question_length,
            answer_length=max(ANSWER_TOKENS, min(room, int(np.ceil(np.quantile(lengths, LONGEST_ANSWERS))))),
            no_answers=answered < len(records),
            null_threshold_given=config.null_threshold is not None,
            **cls.configured(config),
        )

    def truth(self, record: Record) -> Prediction:
        if "answers" not in record.values:
            raise ElektronError(f"{record.where}: no answers are given for the question")
        return {"answer": next(iter(right_answers(record)), "")}

    def head_settings(self) -> dict[str, Any]:
        return {"num_labels": 2}

    def features(self, records: Records, tokenizer: Tokenizer, labelled: bool) -> Features:
        """Question and passage, one feature per window.

        A feature has `begins`, the position of the passage's first token, and `offsets`, `(tokens, 2)`:
        the characters of each token of the passage. `start_positions` and `end_positions` are the positions
        of the answer's first and last token, or of [CLS] if the window does not contain the whole answer.
        """
        features: Features = []
        for start in range(0, len(records), TOKENIZED_TOGETHER):
            encoded, windows = self.encoded(records[start : start + TOKENIZED_TOGETHER], tokenizer)
            for row, feature in enumerate(windows):
                passage = [position for position, part in enumerate(encoded.sequence_ids(row)) if part == 1]
                begins = passage[0] if passage else len(feature["input_ids"])
                offsets = feature.pop("offset_mapping")[begins : begins + len(passage)]
                feature["record"] += start
                feature["begins"], feature["offsets"] = begins, np.array(offsets, dtype=np.int32).reshape(-1, 2)
                if labelled:
                    positions = answer_positions(feature, records[feature["record"]])
                    feature["start_positions"], feature["end_positions"] = positions
            features += windows
        return features

    def encoded(self, records: Records, tokenizer: Tokenizer) -> tuple[BatchEncoding, Features]:
        """The tokenizer's encoding of the windows of all records, and a feature for each window."""
        return tokenize(
            tokenizer,
            self._questions(records, tokenizer),
            [str(record.values["context"]) for record in records],
            truncation="only_second",
            max_length=self.max_length,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )

    def _questions(self, records: Records, tokenizer: Tokenizer) -> list[str]:
        """The questions, cut after `question_length` tokens."""
        questions = [str(record.values["question"]).strip() for record in records]
        encoded = tokenizer(questions, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        for row, offsets in enumerate(encoded["offset_mapping"]):
            tokens, kept = len(offsets), self.question_length
            while tokens > self.question_length:
                questions[row] = questions[row][: offsets[kept - 1][1] if kept else 0]
                # If a word was cut, the rest may have more tokens than before.
                tokens, kept = len(tokenizer.tokenize(questions[row])), kept - 1
        return questions

    def collate(self, features: Features, tokenizer: Tokenizer) -> Batch:
        fills = {"input_ids": tokenizer.pad_token_id, "token_type_ids": 0}
        return pad(features, fills | {"start_positions": 0, "end_positions": 0})

    def forward(self, model: PreTrainedModel, batch: Batch, output: Any = None) -> Outputs:
        """The start and end logits of each feature, `(length,)` each."""
        output = model(**batch) if output is None else output
        starts, ends = output.start_logits.float().cpu(), output.end_logits.float().cpu()
        return list(zip(starts.numpy(), ends.numpy(), strict=True))

    def predictions(self, records: Records, features: Features, outputs: Outputs) -> Predictions:
        """The best span of all windows of a record, or "" where "no answer" scores higher.

        As in SQuAD's own script, the score of "no answer" is the lowest of all windows, because a window
        that does not contain the answer should have a high one.
        """
        contexts = [str(record.values["context"]) for record in records]
        spans: list[list[Span]] = [[] for _ in records]
        no_answer = [float("inf")] * len(records)
        for feature, (start, end) in zip(features, outputs, strict=True):
            record = feature["record"]
            spans[record] += spans_in(feature, start, end, contexts[record], self.answer_length)
            no_answer[record] = min(no_answer[record], float(start[CLS]) + float(end[CLS]))
        return list(map(self._prediction, contexts, map(best_of, spans), no_answer))

    def _prediction(self, context: str, spans: Sequence[Span], no_answer: float) -> Prediction:
        """The prediction from the best spans of a passage and the score of "no answer".

        `score` is the probability among the best spans and, if questions may have none, "no answer".
        `no_answer_margin`, the score of "no answer" minus that of the best `span`, is used to choose the threshold.
        """
        none = Span(no_answer, -1, -1)
        best = spans[0] if spans else Span(no_answer - NO_SPAN, -1, -1)
        margin = round(no_answer - best.score, 6)
        answerless = not spans or (self.no_answers and margin > (self.null_threshold or 0.0))
        candidates = [*spans, none] if self.no_answers or not spans else list(spans)
        chosen = none if answerless else best
        scores = torch.tensor([span.score for span in candidates], dtype=torch.float64)
        prediction = {
            "answer": chosen.text(context),
            "start": chosen.begin,
            "end": chosen.end,
            "score": round(float(scores.softmax(0)[candidates.index(chosen)]), 6),
            "no_answer_margin": margin,
        }
        return prediction | ({"span": best.text(context)} if self.no_answers else {})

    def tuned(self, records: Records, predictions: Predictions) -> Self:
        """The task with the threshold that has the highest F1 on these records, unless the user gave one."""
        if not self.no_answers or self.null_threshold_given:
            return self
        threshold = best_null_threshold(
            [right_answers(record) for record in records],
            [prediction["span"] for prediction in predictions],
            [prediction["no_answer_margin"] for prediction in predictions],
        )
        return dataclasses.replace(self, null_threshold=threshold)

    def measure(self, records: Records, predictions: Predictions) -> Measure:
        answers = [prediction["answer"] for prediction in predictions]
        measure = squad(list(map(right_answers, records)), answers)
        if not self.no_answers:
            return measure
        answered = sum(answer != "" for answer in answers) / len(answers)
        threshold = self.null_threshold or 0.0
        not_resampled = {"answered": answered, "null_threshold": threshold}
        return dataclasses.replace(measure, not_resampled=not_resampled)

    def baselines(self, records: Records, train: Records) -> list[Baseline]:
        return [Baseline("never an answer", [{"answer": ""}] * len(records))]

    def outcomes(self, prediction: Prediction) -> list[str]:
        return [prediction["answer"] or "no answer"]

    def variation(self, records: Records, predictions: Predictions) -> Variation:
        """The variation of answers; a model whose margins vary has not collapsed.

        A weak model that distinguishes questions may have its highest F1 with a threshold at which it answers none;
        training it again would not help.
        """
        variation = super().variation(records, predictions)
        margins = [prediction["no_answer_margin"] for prediction in predictions]
        return variation._replace(predicted=1.0) if np.std(margins) >= CONSTANT_MARGINS else variation


def right_answers(record: Record) -> list[str]:
    """The texts of a labelled record's answers."""
    return [answer["text"] for answer in record.values["answers"]]


def answer_positions(feature: Feature, record: Record) -> tuple[int, int]:
    """Positions of the first and last token of a record's first answer; of [CLS] if the window does not contain it."""
    offsets = feature["offsets"]
    if not record.values["answers"] or not len(offsets):
        return CLS, CLS
    answer = record.values["answers"][0]
    text = answer["text"]
    begin = answer["answer_start"] + len(text) - len(text.lstrip())
    end = begin + len(text.strip())
    if offsets[0, 0] > begin or offsets[-1, 1] < end:
        return CLS, CLS
    overlapping = np.flatnonzero((offsets[:, 1] > begin) & (offsets[:, 0] < end))
    if not len(overlapping):
        return CLS, CLS
    return feature["begins"] + int(overlapping[0]), feature["begins"] + int(overlapping[-1])


def spans_in(
    feature: Feature, start: NDArray[np.float32], end: NDArray[np.float32], context: str, longest: int
) -> list[Span]:
    """The best spans of one window, without white space around them."""
    offsets = feature["offsets"]
    if not len(offsets):
        return []
    passage = slice(feature["begins"], feature["begins"] + len(offsets))
    spans = []
    for first, last, score in best_spans(start[passage], end[passage], longest, BEST):
        begin, after = int(offsets[first, 0]), int(offsets[last, 1])
        text = context[begin:after]
        begin, after = after - len(text.lstrip()), begin + len(text.rstrip())
        if begin < after:
            spans.append(Span(score, begin, after))
    return spans


def best_spans(
    start: NDArray[np.float32], end: NDArray[np.float32], longest: int, count: int
) -> list[tuple[int, int, float]]:
    """First token, last token and score of the best spans of at most `longest` tokens, unsorted.

    `start` and `end` are `(tokens,)`. All spans are compared, `(tokens, longest)` sums; SQuAD's script
    compares only those of the twenty best first tokens with the twenty best last tokens.
    """
    ends = np.pad(end, (0, longest - 1), constant_values=-np.inf)
    sums = (start[:, None] + sliding_window_view(ends, longest)).ravel()
    count = min(count, sums.size)
    chosen = np.argpartition(sums, -count)[-count:]
    chosen = chosen[np.isfinite(sums[chosen])]
    firsts, further = np.divmod(chosen, longest)
    columns = (firsts, firsts + further, sums[chosen])
    return list(zip(*(column.tolist() for column in columns), strict=True))


def best_of(spans: Sequence[Span]) -> list[Span]:
    """The best spans, best first; a span in several windows occurs once, with its highest score."""
    best: dict[tuple[int, int], Span] = {}
    for span in sorted(spans, key=lambda span: (-span.score, span.begin, span.end)):
        best.setdefault((span.begin, span.end), span)
    return list(best.values())[:BEST]
