"""`Explainer`: explains the answers of a model to a text, as Python objects that can be converted to JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from elektron.accelerator import Accelerator
from elektron.errors import ElektronError
from elektron.explain.config import ExplainConfig
from elektron.explain.faithfulness import Faithfulness, ProbabilityDrop, faithfulness
from elektron.explain.importance import (
    Attribution,
    attention_between_words,
    captum,
    integrated_gradients,
    received,
    with_attention_weights,
)
from elektron.explain.reading import Answer, Reading, read_question, read_sentence, read_tokens, read_with_discriminator
from elektron.finetuning.encoders import longest_input
from elektron.finetuning.inputs import Tokenizer
from elektron.finetuning.predictor import Predictor
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.roles import TEXTS, Layout
from elektron.finetuning.recipe import DEFAULT_MAX_LENGTH
from elektron.finetuning.tasks.classification import SentenceTask
from elektron.finetuning.tasks.question_answering import QuestionAnswering
from elektron.finetuning.tasks.token_classification import TokenClassification
from elektron.inference.models import load_predictor
from elektron.inference.pretrained import load_discriminator

DIGITS = 6


@dataclass(frozen=True)
class ExplainedAnswer:
    """An answer with the importance of each word."""

    answer: Answer
    importance: list[float]
    """For each word its attribution, or the attention that it receives."""
    attribution: Attribution | None
    """None for method `attention`."""
    faithfulness: Faithfulness | None
    """None if the text has fewer than two words."""

    def as_json(self) -> dict[str, Any]:
        """Convert the answer to a JSON-serializable dictionary."""
        content: dict[str, Any] = {"answer": self.answer.name}
        if self.answer.words:
            content["about"] = list(self.answer.words)
        name = "attention_received"
        if self.attribution is not None:
            name = "attributions"
            content |= {
                part: round(getattr(self.attribution, part), DIGITS) for part in ("score", "baseline_score", "gap")
            }
        content[name] = [round(value, DIGITS) for value in self.importance]
        if self.faithfulness is not None:
            for name, value, by_chance in zip(ProbabilityDrop._fields, *self.faithfulness, strict=True):
                content[name] = {"value": round(value, DIGITS), "random": round(by_chance, DIGITS)}
        return content


@dataclass(frozen=True)
class Explanation:
    """A text with its answers."""

    reading: Reading
    answers: list[ExplainedAnswer]
    attention: NDArray[np.float32] | None
    """Weights `(layers, heads, words + 1, words + 1)`; None for method `integrated-gradients`."""

    def as_json(self) -> dict[str, Any]:
        """Convert the explanation to a JSON-serializable dictionary: words, and their importance for each answer."""
        reading = self.reading
        content: dict[str, Any] = {
            "words": [reading.text(word) for word in reading.words],
            "truncated": reading.truncated,
            "answers": [explained.as_json() for explained in self.answers],
        }
        if self.attention is not None:
            content["attention"] = np.round(self.attention.astype(np.float64), 4).tolist()
        return content


@dataclass(frozen=True)
class Explainer:
    """Explains the answers of a model."""

    model: PreTrainedModel
    layout: Layout
    """The roles of its files' columns."""
    read: Callable[[Record], Reading]
    tokenizer: Tokenizer
    config: ExplainConfig

    def __post_init__(self) -> None:
        if self.tokenizer.mask_token_id is None:
            raise ElektronError(f"{self.config.model}: its tokenizer has no mask token, which the baseline needs")
        if self.config.method == "attention":
            with_attention_weights(self.model)
        self.model.requires_grad_(False)

    @classmethod
    def of(cls, config: ExplainConfig) -> Explainer:
        """Load the model of a configuration, in fp32.

        Raises:
            ElektronError: there is no such model, or its task cannot be explained.
        """
        if config.method == "integrated-gradients":
            captum()
        scorer = load_discriminator(config.model, config.task)
        if scorer is None:
            return cls.of_finetuned(load_predictor(config.model, config.task, precision="fp32"), config)
        model, tokenizer = scorer.network.to(Accelerator.choose("fp32").device), scorer.tokenizer
        longest = min(DEFAULT_MAX_LENGTH, longest_input(model.config))
        read = partial(read_with_discriminator, model, tokenizer, longest=longest, number=config.word)
        return cls(model, TEXTS, read, tokenizer, config)

    @classmethod
    def of_finetuned(cls, predictor: Predictor, config: ExplainConfig) -> Explainer:
        """Create the explainer of a loaded fine-tuned model.

        Raises:
            ElektronError: its task cannot be explained.
        """
        task, model, tokenizer = predictor.task, predictor.model, predictor.tokenizer
        read: Callable[[Record], Reading]
        if isinstance(task, TokenClassification):
            read = partial(read_tokens, task, model, tokenizer, number=config.word)
        elif config.word is not None:
            raise ElektronError(f"--word has no effect on a model for {task.name}")
        elif isinstance(task, SentenceTask):
            read = partial(read_sentence, task, model, tokenizer)
        elif isinstance(task, QuestionAnswering):
            read = partial(read_question, task, model, tokenizer)
        else:
            raise ElektronError(
                f"{config.model} is a model for {task.name}: explain is for classification, regression, "
                "token-classification, question-answering and pre-trained discriminators"
            )
        return cls(model, task.files(), read, tokenizer, config)

    def explain(self, record: Record, seed: int = 0) -> Explanation:
        """Explain the answers to one text.

        Args:
            record: a record with the roles of `layout`.
            seed: seed of the random orders of words that faithfulness is compared with.
        """
        model, reading, mask_id = self.model, self.read(record), self.tokenizer.mask_token_id
        attention, answers = None, []
        if self.config.method == "attention":
            attention = attention_between_words(model, reading)
        for answer in reading.answers:
            attribution = None
            if attention is None:
                attribution = integrated_gradients(model, reading, answer, mask_id, self.config.steps)
                importance = attribution.words
            else:
                importance = received(attention).mean((0, 1))[:-1].tolist()
            measured = None
            if len(importance) > 1:
                measured = faithfulness(model, reading, answer, importance, mask_id, seed)
            answers.append(ExplainedAnswer(answer, importance, attribution, measured))
        return Explanation(reading, answers, attention)
