"""`Explainer`: a model that explains its answers to a text, as Python objects and in JSON's types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from elektron.device import Device
from elektron.errors import ElektronError
from elektron.explain.config import ExplainConfig
from elektron.explain.faithfulness import Faithfulness, Fall, faithfulness
from elektron.explain.importance import (
    Attribution,
    attention_between_words,
    captum,
    integrated_gradients,
    received,
    with_attention_weights,
)
from elektron.explain.reading import Answer, Reading, read_discriminated, read_question, read_sentence, read_tokens
from elektron.finetuning.encoders import longest_input
from elektron.finetuning.inputs import Tokenizer
from elektron.finetuning.predictor import Predictor
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.roles import TEXTS, Layout
from elektron.finetuning.recipe import READ_AT_ONCE
from elektron.finetuning.tasks.classification import SentenceTask
from elektron.finetuning.tasks.question_answering import QuestionAnswering
from elektron.finetuning.tasks.token_classification import TokenClassification
from elektron.inference.models import load_predictor
from elektron.inference.pretrained import load_discriminator

DIGITS = 6


@dataclass(frozen=True)
class ExplainedAnswer:
    """One answer with the importance of each word."""

    answer: Answer
    importance: list[float]
    """Attributions, or the attention that words receive."""
    attribution: Attribution | None
    """None for attention."""
    faithfulness: Faithfulness | None
    """None where there are fewer than two words."""

    def as_json(self) -> dict[str, Any]:
        """In JSON's types."""
        found: dict[str, Any] = {"answer": self.answer.name}
        if self.answer.words:
            found["about"] = list(self.answer.words)
        name = "attention_received"
        if self.attribution is not None:
            name = "attributions"
            found |= {
                part: round(getattr(self.attribution, part), DIGITS) for part in ("score", "baseline_score", "gap")
            }
        found[name] = [round(value, DIGITS) for value in self.importance]
        if self.faithfulness is not None:
            for name, value, by_chance in zip(Fall._fields, *self.faithfulness, strict=True):
                found[name] = {"value": round(value, DIGITS), "random": round(by_chance, DIGITS)}
        return found


@dataclass(frozen=True)
class Explanation:
    """A text with its answers."""

    reading: Reading
    answers: list[ExplainedAnswer]
    attention: NDArray[np.float32] | None
    """`(layers, heads, words + 1, words + 1)`, for method attention."""

    def as_json(self) -> dict[str, Any]:
        """In JSON's types: words, and for each answer their importance."""
        reading = self.reading
        found: dict[str, Any] = {
            "words": [reading.text(word) for word in reading.words],
            "truncated": reading.truncated,
            "answers": [explained.as_json() for explained in self.answers],
        }
        if self.attention is not None:
            found["attention"] = np.round(self.attention.astype(np.float64), 4).tolist()
        return found


@dataclass(frozen=True)
class Explainer:
    """A model that explains its answers."""

    model: PreTrainedModel
    layout: Layout
    """What its files hold."""
    read: Callable[[Record], Reading]
    tokenizer: Tokenizer
    config: ExplainConfig

    def __post_init__(self) -> None:
        if self.tokenizer.mask_token_id is None:
            raise ElektronError(f"{self.config.model}: its tokenizer has no mask token to begin from")
        if self.config.method == "attention":
            with_attention_weights(self.model)
        self.model.requires_grad_(False)

    @classmethod
    def of(cls, config: ExplainConfig) -> Explainer:
        """Load the model of a configuration, in fp32.

        Raises:
            ElektronError: there is none, or nothing can be explained of its task.
        """
        if config.method == "integrated-gradients":
            captum()
        scorer = load_discriminator(config.model, config.task)
        if scorer is None:
            return cls.of_finetuned(load_predictor(config.model, config.task, precision="fp32"), config)
        model, tokenizer = scorer.network.to(Device.choose("fp32").device), scorer.tokenizer
        longest = min(READ_AT_ONCE, longest_input(model.config))
        read = partial(read_discriminated, model, tokenizer, longest=longest, number=config.word)
        return cls(model, TEXTS, read, tokenizer, config)

    @classmethod
    def of_finetuned(cls, predictor: Predictor, config: ExplainConfig) -> Explainer:
        """The explainer of a fine-tuned model that is loaded.

        Raises:
            ElektronError: nothing can be explained of its task.
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
            record: as `layout` says.
            seed: of the random orders that faithfulness is compared with.
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
