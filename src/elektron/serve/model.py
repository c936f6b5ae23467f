"""The model that is served: a fine-tuned one by its task, or a pre-trained pair that finds suspicious words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from elektron.errors import ElektronError
from elektron.explain.config import ExplainConfig
from elektron.explain.explainer import Explainer
from elektron.explain.importance import captum
from elektron.finetuning.predictor import Predictor
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.roles import TEXTS, Layout
from elektron.finetuning.tasks.base import Prediction
from elektron.inference.config import DetectConfig
from elektron.inference.detect import load_detector
from elektron.inference.models import load_predictor
from elektron.models.onnx_model import exported_file
from elektron.models.pair import DISCRIMINATOR, network_of_run
from elektron.serve.config import ServeConfig


@dataclass(frozen=True)
class ServedModel:
    """What the application needs to know of a model."""

    task: str
    layout: Layout
    """What a row holds."""
    predict: Callable[[Sequence[Record]], list[Prediction]]
    tokenizer: PreTrainedTokenizerBase
    device: str
    max_length: int
    """Tokens that are read at once."""
    labels: list[str] | None = None
    explain: Callable[[Sequence[Record]], list[dict[str, Any]]] | None = None
    """What the answers depend on; None where that cannot be said."""


def load_model(config: ServeConfig) -> ServedModel:
    """The model of a folder or hub name; a pre-training run detects suspicious words.

    Raises:
        ElektronError: there is no such model, or it is of another task.
    """
    if network_of_run(config.model, DISCRIMINATOR):
        settings = DetectConfig(model=config.model, batch_size=config.batch_size, precision=config.precision)
        finder = load_detector(settings)
        return ServedModel("detection", TEXTS, finder.predict, finder.tokenizer, finder.on.name, finder.room)
    predictor = load_predictor(config.model, config.task, config.decoding, config.batch_size, config.precision)
    task = predictor.task
    return ServedModel(
        task.name,
        task.files(),
        predictor.predict,
        predictor.tokenizer,
        predictor.on.name,
        task.max_length,
        getattr(task, "labels", None),
        explanations_of(predictor, config),
    )


def explanations_of(
    predictor: Predictor, config: ServeConfig
) -> Callable[[Sequence[Record]], list[dict[str, Any]]] | None:
    """A function that explains answers as `elektron explain` does; None without captum or where it cannot."""
    if exported_file(config.model) is not None:  # no gradients
        return None
    try:
        captum()
        explainer = Explainer.of_finetuned(predictor, ExplainConfig(model=config.model, task=config.task))
    except ElektronError:
        return None

    def explain(records: Sequence[Record]) -> list[dict[str, Any]]:
        found = []
        for record in records:
            explanation = explainer.explain(record)
            reading = explanation.reading
            places = [[word.part, word.start, word.end] for word in reading.words]
            found.append(explanation.as_json() | {"parts": reading.parts, "places": places})
        return found

    return explain
