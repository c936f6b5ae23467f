"""What `elektron pretrain` can be told: the one source of its flags, of the recipes and of the reference page.

A value of `None` means "as the family has it" or "not set"; `resolve` fills in the first kind
and refuses what cannot work, before anything is read or written. No torch here: `--help` must
answer at once.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from elektron.errors import ElektronError

FAMILY_FIELDS = (
    "network.dropout",
    "optimizer.name",
    "optimizer.lr",
    "optimizer.bias_correction",
)
"""Settings whose default depends on the family: `None` stands for the entry in FAMILY_DEFAULTS."""

FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    "electra": {
        "network.dropout": 0.1,
        "optimizer.name": "adamw",
        "optimizer.lr": 5e-4,
        "optimizer.bias_correction": False,
    },
    "elektron": {
        "network.dropout": 0.0,
        "optimizer.name": "muon",
        "optimizer.lr": 3e-3,
        "optimizer.bias_correction": True,
    },
}


@dataclass
class NetworkConfig:
    """Sizes of the two encoders. Vocabulary and row length come from the blocks."""

    layers: int = 12
    """Transformer layers, in both networks."""
    hidden: int = 256
    """Width of the discriminator."""
    feed_forward: int = 1024
    """Inner width of the discriminator's feed-forward blocks."""
    heads: int = 4
    """Attention heads of the discriminator."""
    embedding: int = 128
    """Width of the embeddings that both networks share."""
    generator_width: float = 0.25
    """The generator's width, feed-forward width and heads as a share of the discriminator's."""
    max_positions: int = 512
    """Longest text, in tokens, that the models will read after training."""
    dropout: float | None = None
    """Dropout on hidden states and attention (default: electra 0.1, elektron 0)."""


@dataclass
class MaskingConfig:
    """Where the generator has to fill in."""

    share: float = 0.15
    """Share of a row's tokens that are chosen; [CLS], [SEP] and padding never are."""
    keep: float = 0.15
    """Share of the chosen tokens that stay as they are instead of becoming [MASK]."""


@dataclass
class OptimizerConfig:
    """The optimizer and its schedule."""

    name: Literal["adamw", "muon"] | None = None
    """`adamw`, or `muon`: Muon on hidden matrices and AdamW on the rest (default: electra adamw, elektron muon)."""
    lr: float | None = None
    """Peak learning rate of AdamW (default: electra 5e-4, elektron 3e-3)."""
    muon_lr: float = 0.02
    """Peak learning rate of Muon; has no effect under `adamw`."""
    beta1: float = 0.9
    """AdamW's decay of the mean of gradients."""
    beta2: float = 0.999
    """AdamW's decay of the mean of squared gradients."""
    eps: float = 1e-6
    """AdamW's epsilon, added outside the root."""
    bias_correction: bool | None = None
    """Adam's correction of its first steps; the official code has none (default: electra no, elektron yes)."""
    weight_decay: float = 0.01
    """Weight decay on matrices; none on norms and biases."""
    clip: float = 1.0
    """Largest norm of the gradient of both networks together."""
    warmup: float = 0.01
    """Warm-up: below 1 a share of the run, from 1 on a number of steps."""
    cooldown: float = 1.0
    """Last share of the run over which the rate falls linearly to 0; 1 is the paper's schedule."""


@dataclass
class EvaluationConfig:
    """Evaluation on held-out rows, always with the same masks and samples."""

    every: int = 1000
    """Steps between two evaluations."""
    rows: int = 512
    """Held-out rows used."""


@dataclass
class CheckpointConfig:
    """What a run can come back to."""

    every: int = 1000
    """Steps between two checkpoints."""
    keep: int = 2
    """Newest checkpoints kept; the best one is kept besides."""


@dataclass
class PretrainConfig:
    """Pre-train a generator and a discriminator by replaced token detection."""

    data: Path | None = None
    """Folder of blocks, made by `elektron prepare`."""
    out: Path = Path("run")
    """Folder for the two models, metrics and checkpoints; the same command again resumes."""
    family: Literal["elektron", "electra"] = "elektron"
    """Which encoder: the project's own, or the paper's as transformers has it."""
    objective: Literal["rtd"] = "rtd"
    """What is predicted where; `rtd` is replaced token detection."""
    plan: Literal["joint"] = "joint"
    """Which network is trained when; `joint` trains both at every step."""
    init_from: str | None = None
    """DISCRIMINATOR[,GENERATOR]: folders or hub names of a released pair to continue from."""
    steps: int | None = None
    """Length of the run in optimizer steps. Give one of steps, tokens, minutes."""
    tokens: int | None = None
    """Length of the run in tokens (rows × row length, padding included)."""
    minutes: float | None = None
    """Length of the run in minutes of training; the schedule follows the share of time."""
    batch: int = 128
    """Rows in a step."""
    micro_batch: int | None = None
    """Rows that pass through the networks at once (default: all of the batch)."""
    seed: int = 1
    """Decides initial weights, order, masks, samples and dropout."""
    discriminator_weight: float = 50.0
    """λ: weight of the discriminator's loss beside the generator's."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log_every: int = 20
    """Steps between two lines of training metrics."""
    compile: bool | None = None
    """Compile the step (default: on a GPU; on CPUs it gained nothing, see docs/benchmarks.md)."""
    precision: Literal["fp32", "bf16"] | None = None
    """Precision of matrix products (default: bf16 on a GPU that is fast at it, else fp32)."""


def resolve(config: PretrainConfig) -> PretrainConfig:
    """A copy with the family's values filled in, or an error about what cannot work.

    Raises:
        ElektronError: names the setting, what it got and what would do.
    """
    resolved = copy.deepcopy(config)
    for name, value in FAMILY_DEFAULTS[config.family].items():
        group_name, field_name = name.split(".")
        group = getattr(resolved, group_name)
        if getattr(group, field_name) is None:
            setattr(group, field_name, value)
    if sum(length is not None for length in (config.steps, config.tokens, config.minutes)) != 1:
        raise ElektronError("give exactly one of steps, tokens and minutes for the run's length")
    for name, value, fits, what in limits(resolved):
        if not fits:
            raise ElektronError(f"--{name.replace('_', '-')} must be {what}, got {value}")
    return resolved


def limits(config: PretrainConfig) -> list[tuple[str, float | None, bool, str]]:
    """For each bounded setting its name, its value, whether it fits, and what would."""
    positive = {
        "steps": config.steps,
        "tokens": config.tokens,
        "minutes": config.minutes,
        "batch": config.batch,
        "micro_batch": config.micro_batch,
        "network.layers": config.network.layers,
        "network.hidden": config.network.hidden,
        "network.feed_forward": config.network.feed_forward,
        "network.heads": config.network.heads,
        "network.embedding": config.network.embedding,
        "network.generator_width": config.network.generator_width,
        "network.max_positions": config.network.max_positions,
        "optimizer.lr": config.optimizer.lr,
        "optimizer.muon_lr": config.optimizer.muon_lr,
        "optimizer.eps": config.optimizer.eps,
        "optimizer.clip": config.optimizer.clip,
        "evaluation.every": config.evaluation.every,
        "evaluation.rows": config.evaluation.rows,
        "checkpoint.every": config.checkpoint.every,
        "checkpoint.keep": config.checkpoint.keep,
        "log_every": config.log_every,
    }
    shares_below_one = {
        "network.dropout": config.network.dropout,
        "masking.keep": config.masking.keep,
        "optimizer.beta1": config.optimizer.beta1,
        "optimizer.beta2": config.optimizer.beta2,
    }
    not_negative = {
        "seed": config.seed,
        "discriminator_weight": config.discriminator_weight,
        "optimizer.weight_decay": config.optimizer.weight_decay,
        "optimizer.warmup": config.optimizer.warmup,
    }
    share, cooldown = config.masking.share, config.optimizer.cooldown
    too_many = "a share above 0 and below 1 (a row cannot have more masks than tokens)"
    return [
        *((n, v, v is None or v > 0, "above 0") for n, v in positive.items()),
        *(
            (n, v, v is None or 0 <= v < 1, "from 0 to below 1")
            for n, v in shares_below_one.items()
        ),
        *((n, v, v >= 0, "0 or above") for n, v in not_negative.items()),
        ("masking.share", share, 0 < share < 1, too_many),
        ("optimizer.cooldown", cooldown, 0 < cooldown <= 1, "above 0 and at most 1"),
    ]
