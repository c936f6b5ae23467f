"""How a model is fine-tuned where nothing is said: the paper's settings by size, and our own family's.

The paper (Clark et al. 2020, appendix B): peak rate 3e-4, 1e-4, 5e-5 and layer-wise decay 0.8,
0.8, 0.9 for small, base and large; warm-up over a tenth of the steps, batch 32, dropout 0.1, no
weight decay, 3 epochs, but 10 for RTE and STS-B and 2 for SQuAD, whose passages are read in windows
of 512 tokens that overlap by 128. `docs/finetuning.md` has what the other figures rest on.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from elektron.errors import ElektronError, comma_list
from elektron.finetuning.config import LEAST_LENGTH, DecodingConfig, FinetuneConfig

WRITING = {"translation": (8.0, 64), "summarization": (6.0, 16), "generation": (3.0, 64)}
"""Tasks that generate text: epochs, and rows in a step. Generation's were not measured."""
SCRATCH = "scratch:"
WITHOUT_CLASSES = ("regression", "question-answering")
MUON_LEARNING_RATE = 0.02
FEW_ROWS = 3000
"""RTE has 2,500 training rows; with as few, three passes are not enough."""
READ_AT_ONCE = 512
"""Tokens: what the paper's models read."""
OF_SOME_TASKS: dict[str, tuple[str, ...]] = {
    "null_threshold": ("question-answering",),
    "label_separator": ("classification",),
    **dict.fromkeys(
        ("decoder_layers", "max_target_length", "target_tokenizer", "decoding"), tuple(WRITING)
    ),
}
"""Settings that mean nothing to the other tasks; those with a default of their own are not told apart."""


@dataclass(frozen=True)
class Size:
    """Peak rate and decay for networks up to a width."""

    width: int | float
    learning_rate: float
    layer_decay: float


PAPER = (Size(256, 3e-4, 0.8), Size(768, 1e-4, 0.8), Size(math.inf, 5e-5, 0.9))
ELEKTRON = (Size(256, 1e-3, 1.0), Size(768, 3e-4, 0.9), Size(math.inf, 1e-4, 0.9))


def resolve(
    config: FinetuneConfig, family: str, width: int, longest: int, rows: int, pretrained: bool
) -> FinetuneConfig:
    """A copy with every None that decides the training filled in.

    Args:
        config: what was asked for, already `check`ed.
        family: `model_type` of the encoder.
        width: its hidden size.
        longest: tokens that it can read.
        rows: training rows.
        pretrained: whether its weights are; random ones need other settings.

    Raises:
        ElektronError: texts are to be read longer than the encoder can.
    """
    sizes = ELEKTRON if family == "elektron" else PAPER
    size = next(size for size in sizes if width <= size.width)
    defaults: dict[str, Any] = {
        "optimizer": "muon" if family == "elektron" else "adamw",
        "muon_learning_rate": MUON_LEARNING_RATE,
        "learning_rate": size.learning_rate,
        "layer_decay": size.layer_decay if pretrained else 1.0,
        "epochs": epochs(config.task, rows, pretrained),
        "batch_size": 32,
        "weight_decay": 0.0 if pretrained else 0.01,
        "dropout": 0.1,
        "label_smoothing": 0.0,
        "max_length": min(READ_AT_ONCE, longest),
        "truncation": "head",
        "stride": min(128, (config.max_length or min(READ_AT_ONCE, longest)) // 4),
        "keep": resolved_keep(config.task),
    }
    if config.task in WRITING:
        passes, batch = WRITING[config.task]
        defaults |= {
            "learning_rate": 1e-3,
            "layer_decay": 1.0,
            "epochs": passes,
            "batch_size": batch,
            "label_smoothing": 0.1,
            "max_length": min(256, longest),
            "max_target_length": 128,
            "decoder_layers": 3,
        }
    filled = {name: value for name, value in defaults.items() if getattr(config, name) is None}
    resolved = dataclasses.replace(config, **filled)
    assert resolved.max_length is not None
    if resolved.max_length > longest:
        raise ElektronError(
            f"--max-length {resolved.max_length} is more than the {longest} tokens that "
            f"{config.model} can read"
        )
    return resolved


def epochs(task: str, rows: int, pretrained: bool) -> float:
    """Passes over the training rows: the paper's, and three times as many from random weights."""
    if task == "question-answering":
        few = 2
    elif task == "regression" or rows < FEW_ROWS:
        few = 10
    else:
        few = 3
    return few if pretrained else 3 * few


def resolved_keep(task: str) -> str:
    """Which epoch is kept where nothing is said."""
    return "last" if task in WRITING else "best"


def check(config: FinetuneConfig) -> None:
    """Refuse values that cannot work, before anything is read.

    Raises:
        ElektronError: names the setting, what it got and what would do.
    """
    for name, tasks in OF_SOME_TASKS.items():
        if config.task not in tasks and getattr(config, name) not in (None, DecodingConfig()):
            flag = "--" + name.replace("_", "-")
            raise ElektronError(
                f"{flag} means nothing to {config.task}, only to {comma_list(tasks)}"
            )
    stride, length = config.stride, config.max_length or READ_AT_ONCE
    if stride is not None and not 0 <= stride < length - LEAST_LENGTH:
        raise ElektronError(
            f"--stride {stride} must be 0 or more, and well below the {length} tokens read"
        )
    if config.patience is not None and (config.keep or resolved_keep(config.task)) == "last":
        raise ElektronError("--patience needs --keep best: without it no epoch is the best on eval")
    if config.tokenizer is not None and not config.model.startswith(SCRATCH):
        raise ElektronError("--tokenizer goes with scratch:RECIPE: a model has its own")
    if config.label_smoothing and config.task in WITHOUT_CLASSES:
        raise ElektronError(f"--label-smoothing has no meaning for {config.task}")
    if config.micro_batch_size is not None and config.micro_batch_size > (config.batch_size or 32):
        raise ElektronError(
            f"--micro-batch-size {config.micro_batch_size} is more than --batch-size"
        )
