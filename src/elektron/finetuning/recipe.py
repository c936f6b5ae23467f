"""Settings of `elektron finetune`: defaults by task and model size, checks, and the combinations of `--sweep`.

The paper (Clark et al. 2020, appendix B) has peak learning rates 3e-4, 1e-4, 5e-5 and layer-wise decay 0.8, 0.8, 0.9
for small, base and large; warm-up over a tenth of the steps, batch size 32, dropout 0.1, no weight decay, 3 epochs, but
10 for RTE and STS-B and 2 for SQuAD, whose passages are read in windows of 512 tokens that overlap by 128.
`docs/finetuning.md` has the measurements behind the other values.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elektron import sweep
from elektron.errors import ElektronError, comma_list
from elektron.finetuning.config import MIN_LENGTH, DecodingConfig, FilesConfig, FinetuneConfig
from elektron.recipes import pretrain_config, recipe_names

SCRATCH = "scratch:"
GENERATING = {"translation": (8.0, 64), "summarization": (6.0, 16), "generation": (3.0, 64)}
"""Default epochs and batch size of the tasks that generate text. Those of `generation` were not tuned."""
WITHOUT_CLASSES = ("regression", "question-answering", "embedding")
MUON_LEARNING_RATE = 0.02
FEW_ROWS = 3000
"""With fewer rows the default is 10 epochs and not 3, which are too few for the 2,500 rows of RTE."""
DEFAULT_MAX_LENGTH = 512
"""Longest input of the paper's models, in tokens."""
TASKS_OF_SETTING: dict[str, tuple[str, ...]] = {
    "null_threshold": ("question-answering",),
    "label_separator": ("classification",),
    "truncation": ("classification", "regression", *GENERATING),
    "stride": ("classification", "regression", "token-classification", "question-answering"),
    **dict.fromkeys(("decoder_layers", "max_target_length", "target_tokenizer", "decoding"), tuple(GENERATING)),
}
"""The tasks that a setting applies to. Settings with a default, such as `target_vocab_size`, cannot be checked."""
PRIVATE: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 0.03,
    "layer_decay": 0.0,
    "epochs": 20.0,
    "micro_batch_size": 16,
    "dropout": 0.0,
    "precision": "fp32",
}
"""Defaults of private training, tuned on 4,000 rows. Only the head is trained, because the noise of a step grows with
the number of parameters. A micro-batch has 16 rows, because the gradient of each row is kept in memory."""
PRIVATE_LEARNING_RATE = 1e-3
"""Default of private training if the encoder is trained too (Li et al. 2022)."""
PRIVATE_BATCH = 1024
PRIVATE_STEPS_IN_EPOCH = 8
PRIVATE_TASKS = ("classification", "regression", "token-classification")
PRIVATE_FAMILIES = ("elektron", "electra", "bert")
"""Model types whose per-row gradients have been verified against the gradients of single rows."""
NOISE_SETTINGS = ("epochs", "batch_size")
"""Settings that determine how much noise a privacy budget needs; they cannot be swept."""
NOT_SWEPT = {
    *("task", "model", "train", "eval", "test", "out", "baseline", "sweep", "seeds", "seed"),
    *("private", "epsilon", "delta", "track"),
    *("max_train", "tokenizer", "eval_columns", "test_columns"),  # the data are read once
    *(field.name for field in dataclasses.fields(FilesConfig)),
}


PAPER = ((256, 3e-4, 0.8), (768, 1e-4, 0.8), (math.inf, 5e-5, 0.9))
"""Largest hidden size, with its learning rate and its layer-wise decay."""
ELEKTRON = ((256, 1e-3, 1.0), (768, 3e-4, 0.9), (math.inf, 1e-4, 0.9))
"""The same for family elektron."""


def resolve(
    config: FinetuneConfig, family: str, width: int, longest: int, rows: int, pretrained: bool
) -> FinetuneConfig:
    """A copy of the configuration with the defaults for training filled in.

    Args:
        config: the user's configuration, which `check` has accepted.
        family: `model_type` of the encoder.
        width: hidden size of the encoder.
        longest: longest input of the encoder in tokens.
        rows: number of training rows.
        pretrained: whether the encoder has pretrained weights; random weights need other settings.

    Raises:
        ElektronError: `max_length` is more than the encoder can read, or `stride` is too large.
    """
    sizes = ELEKTRON if family == "elektron" else PAPER
    _, learning_rate, layer_decay = next(size for size in sizes if width <= size[0])
    length = min(DEFAULT_MAX_LENGTH, longest)
    epochs = 10 if config.task == "regression" or rows < FEW_ROWS else 3
    if config.task == "question-answering":
        epochs = 2
    defaults: dict[str, Any] = {
        "optimizer": "muon" if family == "elektron" else "adamw",
        "muon_learning_rate": MUON_LEARNING_RATE,
        "learning_rate": learning_rate,
        "layer_decay": layer_decay if pretrained else 1.0,
        "epochs": float(epochs if pretrained else 3 * epochs),
        "batch_size": 32,
        "weight_decay": 0.0 if pretrained else 0.01,
        "dropout": None if config.task == "embedding" else 0.1,  # as sentence-transformers, which keeps the encoder's
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
    """The default of `keep` for a task."""
    return "last" if task in GENERATING else "best"


def check(config: FinetuneConfig) -> None:
    """Check the settings before any file is read.

    Raises:
        ElektronError: a setting does not apply to the task or contradicts another, or there is no such recipe.
    """
    scratch = config.model.startswith(SCRATCH)
    if scratch:
        pretrain_config(config.model.removeprefix(SCRATCH))
    elif config.model in recipe_names() and not Path(config.model).exists():
        raise ElektronError(f"{config.model} is a recipe: did you mean {SCRATCH}{config.model}?")
    check_private(config)
    for name, tasks in TASKS_OF_SETTING.items():
        if config.task not in tasks and getattr(config, name) not in (None, DecodingConfig()):
            flag = "--" + name.replace("_", "-")
            raise ElektronError(f"{flag} does not apply to {config.task}, only to {comma_list(tasks)}")
    refuse_long_stride(config.stride, config.max_length or DEFAULT_MAX_LENGTH)
    if config.patience is not None and (config.keep or default_keep(config.task)) == "last":
        raise ElektronError("--patience needs --keep best: without it no epoch is the best on eval")
    if config.tokenizer is not None and not scratch:
        raise ElektronError("--tokenizer is for scratch:RECIPE: pretrained models have their own")
    if config.baseline == "scratch" and scratch:
        raise ElektronError("--baseline scratch compares with a pretrained --model")
    if config.label_smoothing and config.task in WITHOUT_CLASSES:
        raise ElektronError(f"--label-smoothing does not apply to {config.task}")
    usual_batch = GENERATING.get(config.task, (0, 32))[1]
    batch_size = config.batch_size or (PRIVATE_BATCH if config.private else usual_batch)
    if config.micro_batch_size is not None and config.micro_batch_size > batch_size:
        raise ElektronError(f"--micro-batch-size {config.micro_batch_size} is more than --batch-size {batch_size}")
    if config.layer_decay == 0 and config.task == "embedding":
        raise ElektronError("--layer-decay 0 trains only the head, which task embedding does not have")


def refuse_long_stride(stride: int | None, length: int) -> None:
    """Raise ElektronError if windows of `length` tokens would overlap almost completely."""
    if stride is not None and stride >= length - MIN_LENGTH:
        raise ElektronError(f"--stride {stride} must be well below the {length} tokens read")


def check_private(config: FinetuneConfig) -> None:
    """Check the settings of private training.

    Raises:
        ElektronError: a setting is missing, is not supported in private training, or would break its guarantee.
    """
    if not config.private:
        for name in ("epsilon", "delta"):
            if getattr(config, name) is not None:
                raise ElektronError(f"--{name} is for --private")
        return
    if config.epsilon is None:
        raise ElektronError("--private needs --epsilon, the privacy budget, such as 8")
    if config.task not in PRIVATE_TASKS:
        raise ElektronError(f"--private is for {comma_list(PRIVATE_TASKS)}, not for {config.task}")
    swept = [name for name in NOISE_SETTINGS if name in combinations(config.sweep)[0]]
    train = {Path(name).resolve() for name in config.train}
    for refused, why in (
        (config.model.startswith(SCRATCH), f"{SCRATCH}RECIPE: it trains no token embeddings"),
        (config.baseline, "--baseline: a second network would spend the budget again"),
        (config.max_train, "--max-train: which rows are drawn depends on the others"),
        (config.truncation == "windows", "--truncation windows: a row would count several times"),
        (config.precision == "bf16", "--precision bf16: gradients are clipped in fp32"),
        (swept, f"--sweep {comma_list(swept)}: its training runs would need different noise"),
        (
            held_out_fraction(config.eval) or held_out_fraction(config.test),
            "a fraction for --eval or --test: rows held out of --train would be shown unprotected in metrics and "
            "predictions; give --eval FILE and --test FILE with rows that need no protection",
        ),
        (
            any(Path(name).resolve() in train for name in (*config.eval, *config.test)),
            "a file both in --train and in --eval or --test, whose rows are shown unprotected",
        ),
    ):
        if refused:
            raise ElektronError(f"--private refuses {why}")


def combinations(items: Sequence[str]) -> list[dict[str, Any]]:
    """The settings that `--sweep` tries: `learning_rate=1e-4,3e-4 epochs=3,10` has four combinations.

    Returns:
        For each combination, values by dotted name of the setting; without items, one empty combination.

    Raises:
        ElektronError: a setting that does not exist or cannot be varied, or an invalid value.
    """
    return sweep.combinations(sweep.parse_sweep(FinetuneConfig, items, NOT_SWEPT))
