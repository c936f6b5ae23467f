"""Load a fine-tuned model, in PyTorch or exported, with its task and tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from elektron.allocator import keep_freed_memory
from elektron.corpus.tokenizer import load_tokenizer
from elektron.device import Device, Precision
from elektron.errors import ElektronError
from elektron.finetuning.config import DecodingConfig
from elektron.finetuning.encoders import check_token_ids, encoder_of, is_causal, longest_input
from elektron.finetuning.predictor import Predictor
from elektron.finetuning.tasks.base import TASK_FILE, Task
from elektron.finetuning.tasks.embedding import Embedding, SentenceEncoder
from elektron.finetuning.tasks.registry import load_task
from elektron.finetuning.tasks.sequence_to_sequence import SequenceToSequence
from elektron.models.onnx_model import OnnxModel, exported_file
from elektron.reporting.reading import mapping, read_json
from elektron.reporting.task_result import DETAILS

PRECISIONS: dict[str, Precision] = {"float32": "fp32", "bfloat16": "bf16"}
"""By torch's names."""
CPU = Device(torch.device("cpu"), torch.float32)
"""Where exported models run, and are compared with PyTorch."""


def load_predictor(
    model: str,
    expected: str | None = None,
    decoding: DecodingConfig | None = None,
    batch_size: int | None = None,
    precision: Precision | None = None,
) -> Predictor:
    """The model of a folder or hub name with its task and tokenizer, on the best device.

    Args:
        model: made by `elektron finetune`, or by transformers with one of its heads.
        expected: the task that it must be of.
        decoding: settings of text generation in place of the model's own.
        batch_size: most rows in a batch (default: as many as fit).
        precision: of matrix products (default: by device).

    Raises:
        ElektronError: there is no such model, or it is of another task.
    """
    keep_freed_memory()
    task = load_task(model, expected)
    if decoding is not None:
        task = task.decoded_by(decoding)
    tokenizer = load_tokenizer(model)
    file = exported_file(model)
    if file is not None:
        if precision == "bf16":
            raise ElektronError(f"--precision bf16 has no effect on {model}, an exported model")
        network: Any = OnnxModel(file, task.network_outputs)
        if isinstance(task, Embedding):
            network = SentenceEncoder(network, task.max_length)
        check_belonging(model, task, tokenizer, network.config)
        return Predictor(task, network, tokenizer, CPU, batch_size)
    network = task.load_model(model)
    check_belonging(model, task, tokenizer, network.config)
    is_causal(model, encoder_of(network))  # or raises: it must run
    return Predictor(task, network, tokenizer, Device.choose(precision), batch_size)


def check_belonging(model: str, task: Task, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """Raise ElektronError if the parts of a model's folder are not of one model."""
    labels = getattr(task, "labels", None)
    if labels is not None and len(labels) != config.num_labels:
        raise ElektronError(
            f"{model}: {TASK_FILE} has {len(labels)} labels and the network {config.num_labels}: "
            "they do not belong together"
        )
    encoder = config.encoder if config.is_encoder_decoder else config
    longest = longest_input(encoder)
    if task.max_length > longest:
        raise ElektronError(f"{model}: by {TASK_FILE} it reads {task.max_length} tokens, and its network {longest}")
    check_token_ids(model, tokenizer, encoder.vocab_size)
    if isinstance(task, SequenceToSequence):
        check_token_ids(model, task.tokenizer, config.decoder.vocab_size)


def precision_of_finetuning(model: str) -> Precision | None:
    """The precision in which a model was evaluated when it was fine-tuned, None where that is not known.

    Raises:
        ElektronError: the file that says so is damaged.
    """
    return read_json(
        Path(model) / DETAILS,
        lambda content: PRECISIONS.get(str(mapping(content).get("precision"))),
    )
