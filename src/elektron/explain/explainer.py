"""`Explainer`: a model that explains its answers to a text, as Python objects and in JSON's types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from elektron.corpus.tokenizer import load_tokenizer
from elektron.device import Device
from elektron.errors import ElektronError
from elektron.explain.attention import attention_between_words, received, with_attention_weights
from elektron.explain.attributions import Attribution, captum, integrated_gradients
from elektron.explain.config import ExplainConfig
from elektron.explain.faithfulness import Faithfulness, faithfulness
from elektron.explain.reading import (
    Answer,
    Reading,
    read_discriminated,
    read_question,
    read_sentence,
    read_tokens,
)
from elektron.finetuning.encoders import check_token_ids, longest_input
from elektron.finetuning.inputs import Tokenizer
from elektron.finetuning.predictor import Predictor
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.roles import TEXT, Layout
from elektron.finetuning.recipe import READ_AT_ONCE
from elektron.finetuning.tasks.base import TASK_FILE
from elektron.finetuning.tasks.classification import SentenceTask
from elektron.finetuning.tasks.question_answering import QuestionAnswering
from elektron.finetuning.tasks.token_classification import TokenClassification
from elektron.hub import load_configuration
from elektron.inference.models import load_predictor
from elektron.inference.pretrained import discriminator_class
from elektron.models.loading import load_network
from elektron.models.onnx_model import exported_file
from elektron.models.pair import DISCRIMINATOR, network_of_run

DIGITS = 6


@dataclass(frozen=True)
class Explained:
    """One answer with the importance of each word."""

    answer: Answer
    importance: list[float]
    """Attributions, or the attention that words receive."""
    attribution: Attribution | None
    """None for attention."""
    faithfulness: Faithfulness | None
    """None where there are fewer than two words."""


@dataclass(frozen=True)
class Explanation:
    """A text with its answers."""

    reading: Reading
    answers: list[Explained]
    attention: NDArray[np.float32] | None
    """`(layers, heads, words + 1, words + 1)`, for method attention."""

    def as_json(self) -> dict[str, Any]:
        """In JSON's types: words, and for each answer their importance."""
        reading = self.reading
        found: dict[str, Any] = {
            "words": [reading.text(word) for word in reading.words],
            "truncated": reading.truncated,
            "answers": [answer_as_json(explained) for explained in self.answers],
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

    @classmethod
    def of(cls, config: ExplainConfig) -> Explainer:
        """Load the model of a configuration, in fp32.

        Raises:
            ElektronError: there is none, or nothing can be explained of its task.
        """
        if config.method == "integrated-gradients":
            captum()
        name = network_of_run(config.model, DISCRIMINATOR) or config.model
        if exported_file(name) is not None:
            raise ElektronError(
                f"{name} is an exported model, which has no gradients and no attention weights: explain the folder "
                "that it was exported from"
            )
        finetuned = config.task is not None or (Path(name) / TASK_FILE).is_file()
        auto_class = None if finetuned else discriminator_class(load_configuration(name))
        if auto_class is None:
            predictor = load_predictor(config.model, config.task, precision="fp32")
            return cls.of_finetuned(predictor, config)
        model, tokenizer = load_network(auto_class, name), load_tokenizer(name)
        check_token_ids(name, tokenizer, model.config.vocab_size)
        model.to(Device.choose("fp32").device).eval()
        longest = min(READ_AT_ONCE, longest_input(model.config))
        read = partial(read_discriminated, model, tokenizer, longest=longest, number=config.word)
        return cls._checked(model, Layout((TEXT,)), read, tokenizer, config)

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
        return cls._checked(model, task.files(), read, tokenizer, config)

    @classmethod
    def _checked(
        cls,
        model: PreTrainedModel,
        layout: Layout,
        read: Callable[[Record], Reading],
        tokenizer: Tokenizer,
        config: ExplainConfig,
    ) -> Explainer:
        if tokenizer.mask_token_id is None:
            raise ElektronError(f"{config.model}: its tokenizer has no mask token to begin from")
        if config.method == "attention":
            with_attention_weights(model)
        return cls(model.requires_grad_(False), layout, read, tokenizer, config)

    def explain(self, record: Record, seed: int = 0) -> Explanation:
        """Explain the answers to one text.

        Args:
            record: as `layout` says.
            seed: of the random orders that faithfulness is compared with.
        """
        reading = self.read(record)
        attention = None
        if self.config.method == "attention":
            attention = attention_between_words(self.model, reading)
        answers = []
        for answer in reading.answers:
            attribution = None
            if attention is not None:
                importance = received(attention).mean((0, 1))[:-1].tolist()
            else:
                attribution = self._attribution(reading, answer)
                importance = attribution.words
            fall = None
            if len(importance) > 1:
                mask_id = self.tokenizer.mask_token_id
                fall = faithfulness(self.model, reading, answer, importance, mask_id, seed)
            answers.append(Explained(answer, importance, attribution, fall))
        return Explanation(reading, answers, attention)

    def _attribution(self, reading: Reading, answer: Answer) -> Attribution:
        return integrated_gradients(
            self.model, reading, answer, self.tokenizer.mask_token_id, self.config.steps
        )


def answer_as_json(explained: Explained) -> dict[str, Any]:
    """One answer in JSON's types."""
    answer, attribution = explained.answer, explained.attribution
    found: dict[str, Any] = {"answer": answer.name}
    if answer.words:
        found["about"] = list(answer.words)
    if attribution is not None:
        found["score"] = round(attribution.score, DIGITS)
        found["baseline_score"] = round(attribution.baseline_score, DIGITS)
        found["gap"] = round(attribution.gap, DIGITS)
    name = "attributions" if attribution is not None else "attention_received"
    found[name] = [round(value, DIGITS) for value in explained.importance]
    if explained.faithfulness is not None:
        ours, random = explained.faithfulness
        for measure in ours._fields:
            found[measure] = {
                "value": round(getattr(ours, measure), DIGITS),
                "random": round(getattr(random, measure), DIGITS),
            }
    return found
