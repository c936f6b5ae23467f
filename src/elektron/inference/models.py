"""Load a fine-tuned model, in PyTorch or exported, with its task and tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from elektron.accelerator import Accelerator, Precision
from elektron.allocator import keep_freed_memory
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning.config import DecodingConfig
from elektron.finetuning.encoders import check_token_ids, encoder_of, is_causal, longest_input
from elektron.finetuning.predictor import Predictor
from elektron.finetuning.tasks.base import TASK_FILE, Task
from elektron.finetuning.tasks.embedding import Embedding
from elektron.finetuning.tasks.registry import load_task
from elektron.finetuning.tasks.sequence_to_sequence import SequenceToSequence
from elektron.models.onnx_model import OnnxModel, exported_file
from elektron.reporting.reading import mapping, read_json
from elektron.reporting.task_result import DETAILS

PRECISIONS: dict[str, Precision] = {"float32": "fp32", "bfloat16": "bf16"}
"""Precisions by the name of torch's dtype."""
CPU = Accelerator(torch.device("cpu"), torch.float32)
"""The device of exported models, which onnxruntime runs on the CPU."""


def load_predictor(
    model: str,
    expected: str | None = None,
    decoding: DecodingConfig | None = None,
    batch_size: int | None = None,
    precision: Precision | None = None,
) -> Predictor:
    """Load a model with its task and tokenizer, onto the GPU if there is one, else the CPU.

    Args:
        model: folder or hub name; made by `elektron finetune`, or by transformers with one of its heads.
        expected: the task that the model must have; None for any task.
        decoding: settings of text generation in place of the model's own.
        batch_size: maximum number of rows in a batch (default: as many as fit).
        precision: precision of matrix products (default: by device).

    Raises:
        ElektronError: there is no such model, or it has another task.
    """
    keep_freed_memory()
    task = load_task(model, expected)
    if decoding is not None:
        task = task.with_decoding(decoding)
    tokenizer = load_tokenizer(model)
    file = exported_file(model)
    if file is not None:
        if precision == "bf16":
            raise ElektronError(f"--precision bf16 has no effect on {model}, an exported model")
        network: Any = OnnxModel(file, task.network_outputs)
        if isinstance(task, Embedding):
            network = task.add_pooling(network)
        check_consistency(model, task, tokenizer, network.config)
        return Predictor(task, network, tokenizer, CPU, batch_size)
    network = task.load_model(model)
    check_consistency(model, task, tokenizer, network.config)
    is_causal(model, encoder_of(network))  # raises if the encoder cannot run
    return Predictor(task, network, tokenizer, Accelerator.choose(precision), batch_size)


def check_consistency(model: str, task: Task, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """Raise ElektronError if task, tokenizer and network do not belong to the same model."""
    labels = getattr(task, "labels", None)
    if labels is not None and len(labels) != config.num_labels:
        raise ElektronError(
            f"{model}: {TASK_FILE} has {len(labels)} labels, but the network has {config.num_labels}: "
            "they are not of the same model"
        )
    encoder = config.encoder if config.is_encoder_decoder else config
    longest = longest_input(encoder)
    if task.max_length > longest:
        raise ElektronError(
            f"{model}: max_length in {TASK_FILE} is {task.max_length}, but the network reads only {longest} tokens"
        )
    check_token_ids(model, tokenizer, encoder.vocab_size)
    if isinstance(task, SequenceToSequence):
        check_token_ids(model, task.tokenizer, config.decoder.vocab_size)


def precision_of_finetuning(model: str) -> Precision | None:
    """The precision in which a model was evaluated when it was fine-tuned; None if that is not known.

    Raises:
        ElektronError: `details.json` is damaged.
    """
    return read_json(Path(model) / DETAILS, lambda content: PRECISIONS.get(str(mapping(content).get("precision"))))
