"""The settings of a fine-tuning: defaults by size of the model, what is refused, and what `--sweep` tries.

The paper (Clark et al. 2020, appendix B) has peak learning rates 3e-4, 1e-4, 5e-5 and layer-wise
decay 0.8, 0.8, 0.9 for small, base and large; warm-up over a tenth of the steps, batch size 32,
dropout 0.1, no weight decay, 3 epochs, but 10 for RTE and STS-B and 2 for SQuAD, whose passages are
read in windows of 512 tokens that overlap by 128. `docs/finetuning.md` has the measurements behind
the other values.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from elektron import sweep
from elektron.errors import ElektronError, comma_list
from elektron.finetuning.config import LEAST_LENGTH, DecodingConfig, FilesConfig, FinetuneConfig
from elektron.recipes import pretrain_config, recipe_names

SCRATCH = "scratch:"
GENERATING = {"translation": (8.0, 64), "summarization": (6.0, 16), "generation": (3.0, 64)}
"""Tasks that generate text: epochs and batch size. Generation's were not measured."""
WITHOUT_CLASSES = ("regression", "question-answering", "embedding")
MUON_LEARNING_RATE = 0.02
FEW_ROWS = 3000
"""RTE has 2,500 training rows; three epochs of so few are not enough."""
READ_AT_ONCE = 512
"""Tokens that the paper's models read."""
OF_SOME_TASKS: dict[str, tuple[str, ...]] = {
    "null_threshold": ("question-answering",),
    "label_separator": ("classification",),
    "truncation": ("classification", "regression", *GENERATING),
    "stride": ("classification", "regression", "token-classification", "question-answering"),
    **dict.fromkeys(("decoder_layers", "max_target_length", "target_tokenizer", "decoding"), tuple(GENERATING)),
}
"""Settings that other tasks do not have; those with a default other than None are not checked."""
PRIVATE: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 0.03,
    "layer_decay": 0.0,
    "epochs": 20.0,
    "micro_batch_size": 16,
    "dropout": 0.0,
    "precision": "fp32",
}
"""Defaults of private training, measured with 4,000 rows: the head alone is trained, since the noise of a step grows
with the number of parameters. 16 rows at once, since each has a gradient of its own in memory."""
PRIVATE_LEARNING_RATE = 1e-3
"""Where the encoder is trained too (Li et al. 2022)."""
PRIVATE_BATCH = 1024
PRIVATE_STEPS_IN_EPOCH = 8
PRIVATE_TASKS = ("classification", "regression", "token-classification")
PRIVATE_FAMILIES = ("elektron", "electra", "bert")
"""Whose gradients by row have been compared with those of rows alone."""
MECHANISM = ("epochs", "batch_size")
"""Settings that decide how much noise a budget needs: the trainings of a private sweep have them in common."""
NOT_SWEPT = {
    *("task", "model", "train", "eval", "test", "out", "baseline", "sweep", "seeds", "seed"),
    *("private", "epsilon", "delta", "track"),
    *("max_train", "tokenizer", "eval_columns", "test_columns"),  # the data are read once
    *(field.name for field in dataclasses.fields(FilesConfig)),
}


class Size(NamedTuple):
    """Defaults for networks up to a width."""

    width: float
    learning_rate: float
    layer_decay: float


PAPER = (Size(256, 3e-4, 0.8), Size(768, 1e-4, 0.8), Size(math.inf, 5e-5, 0.9))
ELEKTRON = (Size(256, 1e-3, 1.0), Size(768, 3e-4, 0.9), Size(math.inf, 1e-4, 0.9))


def resolve(
    config: FinetuneConfig, family: str, width: int, longest: int, rows: int, pretrained: bool
) -> FinetuneConfig:
    """A copy in which no setting of the training is None.

    Args:
        config: what the user gave, already `check`ed.
        family: `model_type` of the encoder.
        width: its hidden size.
        longest: tokens that it can read.
        rows: training rows.
        pretrained: whether its weights are; random ones need other settings.

    Raises:
        ElektronError: `max_length` is more than the encoder can read.
    """
    sizes = ELEKTRON if family == "elektron" else PAPER
    size = next(size for size in sizes if width <= size.width)
    length = min(READ_AT_ONCE, longest)
    epochs = 10 if config.task == "regression" or rows < FEW_ROWS else 3
    if config.task == "question-answering":
        epochs = 2
    defaults: dict[str, Any] = {
        "optimizer": "muon" if family == "elektron" else "adamw",
        "muon_learning_rate": MUON_LEARNING_RATE,
        "learning_rate": size.learning_rate,
        "layer_decay": size.layer_decay if pretrained else 1.0,
        "epochs": float(epochs if pretrained else 3 * epochs),
        "batch_size": 32,
        "weight_decay": 0.0 if pretrained else 0.01,
        "dropout": 0.1,
        "max_grad_norm": 1.0,
        "label_smoothing": 0.0,
        "max_length": length,
        "truncation": "head",
        "stride": min(128, (config.max_length or length) // 4),
        "keep": default_keep(config.task),
    }
    if config.task in GENERATING:
        generating_epochs, batch_size = GENERATING[config.task]
        defaults |= {
            "learning_rate": 1e-3,
            "layer_decay": 1.0,
            "epochs": generating_epochs,
            "batch_size": batch_size,
            "label_smoothing": 0.1,
            "max_length": min(256, longest),
            "max_target_length": 128,
            "decoder_layers": 3,
        }
    if config.private:
        defaults |= PRIVATE | {
            "batch_size": min(PRIVATE_BATCH, max(1, rows // PRIVATE_STEPS_IN_EPOCH)),
            "delta": rows**-1.1,
        }
        if config.layer_decay:
            defaults["learning_rate"] = PRIVATE_LEARNING_RATE
    missing = {name: value for name, value in defaults.items() if getattr(config, name) is None}
    resolved = dataclasses.replace(config, **missing)
    assert resolved.max_length is not None
    if resolved.max_length > longest:
        raise ElektronError(
            f"--max-length {resolved.max_length} is more than the {longest} tokens that {config.model} can read"
        )
    refuse_long_stride(config.stride, resolved.max_length)
    return resolved


def held_out_fraction(sources: Sequence[str]) -> float | None:
    """The fraction of the training rows to hold out, where `--eval` or `--test` is a number instead of files.

    Raises:
        ElektronError: the number is not between 0 and 1.
    """
    try:
        fraction = float(*sources)
    except (ValueError, TypeError):
        return None
    if not sources or Path(sources[0]).exists():
        return None
    if not 0 < fraction < 1:
        raise ElektronError(f"{sources[0]}: a fraction to hold out must be between 0 and 1")
    return fraction


def default_keep(task: str) -> str:
    """Which epoch is kept if the user does not say."""
    return "last" if task in GENERATING else "best"


def check(config: FinetuneConfig) -> None:
    """Refuse settings that cannot work, before anything is read.

    Raises:
        ElektronError: names the setting and its value; there is no such recipe.
    """
    scratch = config.model.startswith(SCRATCH)
    if scratch:
        pretrain_config(config.model.removeprefix(SCRATCH))
    elif config.model in recipe_names() and not Path(config.model).exists():
        raise ElektronError(f"{config.model} is a recipe: did you mean {SCRATCH}{config.model}?")
    check_private(config)
    for name, tasks in OF_SOME_TASKS.items():
        if config.task not in tasks and getattr(config, name) not in (None, DecodingConfig()):
            flag = "--" + name.replace("_", "-")
            raise ElektronError(f"{flag} does not apply to {config.task}, only to {comma_list(tasks)}")
    refuse_long_stride(config.stride, config.max_length or READ_AT_ONCE)
    if config.patience is not None and (config.keep or default_keep(config.task)) == "last":
        raise ElektronError("--patience needs --keep best: without it no epoch is the best on eval")
    if config.tokenizer is not None and not scratch:
        raise ElektronError("--tokenizer is for scratch:RECIPE: a model has its own")
    if config.baseline == "scratch" and scratch:
        raise ElektronError("--baseline scratch compares with a pretrained --model")
    if config.label_smoothing and config.task in WITHOUT_CLASSES:
        raise ElektronError(f"--label-smoothing has no meaning for {config.task}")
    usual_batch = GENERATING.get(config.task, (0, 32))[1]
    batch_size = config.batch_size or (PRIVATE_BATCH if config.private else usual_batch)
    if config.micro_batch_size is not None and config.micro_batch_size > batch_size:
        raise ElektronError(f"--micro-batch-size {config.micro_batch_size} is more than --batch-size {batch_size}")
    if config.layer_decay == 0 and config.task == "embedding":
        raise ElektronError("--layer-decay 0 trains the head alone, and embedding has none")


def refuse_long_stride(stride: int | None, length: int) -> None:
    """Raise ElektronError if windows of a length would overlap almost wholly."""
    if stride is not None and stride >= length - LEAST_LENGTH:
        raise ElektronError(f"--stride {stride} must be well below the {length} tokens read")


def check_private(config: FinetuneConfig) -> None:
    """Refuse what differential privacy does not have, or what would void it.

    Raises:
        ElektronError: names the setting and the reason.
    """
    if not config.private:
        for name in ("epsilon", "delta"):
            if getattr(config, name) is not None:
                raise ElektronError(f"--{name} is for --private")
        return
    if config.epsilon is None:
        raise ElektronError("--private needs --epsilon: how much may be revealed, such as 8")
    if config.task not in PRIVATE_TASKS:
        raise ElektronError(f"--private is for {comma_list(PRIVATE_TASKS)}, not for {config.task}")
    swept = [name for name in MECHANISM if name in combinations(config.sweep)[0]]
    same = {Path(name).resolve() for name in config.train}
    for found, why in (
        (config.model.startswith(SCRATCH), f"{SCRATCH}RECIPE: it trains no token embeddings"),
        (config.baseline, "--baseline: a second network would spend the budget again"),
        (config.max_train, "--max-train: which rows are drawn depends on the others"),
        (config.truncation == "windows", "--truncation windows: a row would count several times"),
        (config.precision == "bf16", "--precision bf16: gradients are clipped in fp32"),
        (swept, f"--sweep {comma_list(swept)}: its trainings would need different noise"),
        (
            held_out_fraction(config.eval) or held_out_fraction(config.test),
            "a fraction for --eval or --test: rows held out of --train would be shown unprotected in metrics and "
            "predictions; give --eval FILE and --test FILE with rows that need no protection",
        ),
        (
            any(Path(name).resolve() in same for name in (*config.eval, *config.test)),
            "a file both in --train and in --eval or --test, whose rows are shown unprotected",
        ),
    ):
        if found:
            raise ElektronError(f"--private refuses {why}")


def combinations(items: Sequence[str]) -> list[dict[str, Any]]:
    """The settings that `--sweep` tries: `learning_rate=1e-4,3e-4 epochs=3,10` has four combinations.

    Returns:
        For each, values by the setting's dotted name; one empty combination for no items.

    Raises:
        ElektronError: a setting that does not exist or cannot be varied, or an invalid value.
    """
    return sweep.combinations(sweep.parse_sweep(FinetuneConfig, items, NOT_SWEPT))
