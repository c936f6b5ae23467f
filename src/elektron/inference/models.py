"""A fine-tuned model by the name of its folder, ready to predict."""

from __future__ import annotations

from pathlib import Path

from elektron.allocator import keep_freed_memory
from elektron.corpus.vocabulary import load_tokenizer
from elektron.device import Device, Precision
from elektron.evidence.reading import mapping, read_json
from elektron.evidence.results import DETAILS
from elektron.finetuning.config import DecodingConfig
from elektron.finetuning.tasks.registry import load_task
from elektron.inference.predictor import Predictor

PRECISIONS: dict[str, Precision] = {"float32": "fp32", "bfloat16": "bf16"}
"""By the names that torch has for them."""


def load_predictor(
    model: str,
    expected: str | None = None,
    decoding: DecodingConfig | None = None,
    batch: int | None = None,
    precision: Precision | None = None,
) -> Predictor:
    """The model of a folder or hub name with its task and tokenizer, on the best device.

    Args:
        model: made by `elektron finetune`, or by transformers with one of its heads.
        expected: the task that it should be of, where that matters.
        decoding: settings of text generation in place of the model's own.
        batch: most rows that pass through the network at once, where it should be fewer than fit.
        precision: of matrix products, where it should not be the device's choice.

    Raises:
        ElektronError: there is no such model, or it is of another task.
    """
    keep_freed_memory()
    task = load_task(model, expected)
    if decoding is not None:
        task = task.decoded_by(decoding)
    tokenizer = load_tokenizer(model)
    network = task.load_model(model)
    return Predictor(task, network, tokenizer, Device.choose(precision), batch)


def precision_of_finetuning(model: str) -> Precision | None:
    """The precision in which a model's figures were computed when it was fine-tuned, where that is known.

    Raises:
        ElektronError: the file that says so is damaged.
    """
    return read_json(
        Path(model) / DETAILS,
        lambda content: PRECISIONS.get(str(mapping(content).get("precision"))),
    )
