"""A fine-tuned model by the name of its folder, ready to predict."""

from __future__ import annotations

from elektron.allocator import keep_freed_memory
from elektron.corpus.vocabulary import load_tokenizer
from elektron.device import Device
from elektron.errors import ElektronError
from elektron.finetuning.config import DecodingConfig
from elektron.finetuning.tasks.registry import load_task
from elektron.inference.predictor import Predictor


def load_predictor(
    model: str, expected: str | None = None, decoding: DecodingConfig | None = None, batch: int = 64
) -> Predictor:
    """The model of a folder or hub name with its task and tokenizer, on the best device.

    Args:
        model: made by `elektron finetune`, or by transformers with one of its heads.
        expected: the task that it should be of, where that matters.
        decoding: settings of text generation in place of the model's own.
        batch: rows that pass through the network at once.

    Raises:
        ElektronError: there is no such model, or it is of another task.
    """
    if batch < 1:
        raise ElektronError(f"--batch must be above 0, got {batch}")
    keep_freed_memory()
    task = load_task(model, expected)
    if decoding is not None:
        task = task.decoded_by(decoding)
    tokenizer = load_tokenizer(model)
    network = task.load_model(model)
    return Predictor(task, network, tokenizer, Device.choose(), batch)
