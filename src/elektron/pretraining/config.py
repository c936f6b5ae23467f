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

from elektron.configuration import Checked
from elektron.errors import ElektronError
from elektron.pretraining.combinations import (
    FREEZING_PLANS,
    PREDICT_TOKENS,
    SHALLOWER_GENERATOR,
    refuse_what_does_not_go_together,
)

Sharing = Literal["none", "tokens", "embeddings", "gdes", "all"]

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
    "deberta-v2": {
        "network.dropout": 0.1,
        "optimizer.name": "adamw",
        "optimizer.lr": 5e-4,
        "optimizer.bias_correction": True,
    },
    "modernbert": {
        "network.dropout": 0.0,
        "optimizer.name": "adamw",
        "optimizer.lr": 8e-4,
        "optimizer.bias_correction": True,
    },
}
LENGTHS = ("steps", "tokens", "minutes", "flops")
"""How the length of a run can be given."""
SEEDS = 2**63
"""Seeds are below this: more than 64 bits are taken by no random stream."""
LONGEST_TIMEOUT = 10 * 24 * 3600
"""Seconds; torch counts the time that processes wait in a clock that ends."""


@dataclass
class NetworkConfig:
    """Sizes of the two encoders. Vocabulary and row length come from the blocks."""

    layers: int = 12
    """Transformer layers of the discriminator."""
    hidden: int = 256
    """Width of the discriminator."""
    feed_forward: int = 1024
    """Inner width of the discriminator's feed-forward blocks."""
    heads: int = 4
    """Attention heads of the discriminator."""
    embedding: int | None = None
    """Width of the embeddings that both networks read (default: 128; modernbert and deberta-v2 hidden)."""
    generator_width: float | None = None
    """The generator's width, feed-forward width and heads as a share of the discriminator's (default: 0.25;
    modernbert and deberta-v2 1)."""
    generator_layers: int | None = None
    """The generator's layers (default: as many as the discriminator's; modernbert and deberta-v2
    half)."""
    max_positions: int = 512
    """Longest text, in tokens, that the models will read after training."""
    dropout: float | None = None
    """Dropout on hidden states and attention (default: electra and deberta-v2 0.1, the others 0)."""


@dataclass
class MaskingConfig:
    """Where the generator has to fill in."""

    share: float = 0.15
    """Share of a row's tokens that are chosen; [CLS], [SEP] and padding never are."""
    final_share: float | None = None
    """Share at the end of the run, which `share` falls to step by step (default: it stays)."""
    keep: float = 0.15
    """Share of the chosen tokens that stay as they are instead of becoming [MASK]."""
    unit: Literal["token", "whole_word"] = "token"
    """What is chosen: single tokens, or words with all of their pieces."""
    segmenter: str | None = None
    """What cuts text without spaces into words, for whole_word: `jieba`, or MODULE:FUNCTION, which
    takes a text and gives its words."""


@dataclass
class RampConfig:
    """Short rows and small batches at first, in stages that double them."""

    first_length: int | None = None
    """Tokens in a row at first: rows are cut into as many parts as it takes (default: whole rows)."""
    length_share: float = 0.5
    """Share of the run after which rows are whole."""
    first_batch: int | None = None
    """Rows in a step at first (default: all of the batch)."""
    batch_share: float = 0.5
    """Share of the run after which the batch is whole."""


@dataclass
class PlanOptions:
    """The numbers of a plan; each belongs to the plan that it names."""

    generator_steps: int | None = None
    """two_stage: steps of the first stage, which trains the generator alone (default: half of the run)."""
    generator_turn: int | None = None
    """alternating: steps in a row for the generator (default: 1)."""
    discriminator_turn: int | None = None
    """alternating: steps in a row for the discriminator (default: 1)."""
    similarity: float | None = None
    """alternating: weight of the discriminator's likeness to the generator, a KL divergence at masked
    positions (default: 0)."""
    generator: str | None = None
    """frozen_generator: folder or hub name of the generator, or the folder of a run."""
    temperature: float | None = None
    """frozen_generator: temperature of its samples at first (default: 2)."""
    temperature_decay: float | None = None
    """frozen_generator: share of the run in which what the temperature has above 1 falls to a third
    (default: 0.25)."""


@dataclass
class OptimizerConfig:
    """The optimizer and its schedule."""

    name: Literal["adamw", "muon"] | None = None
    """`adamw`, or `muon`: Muon on hidden matrices and AdamW on the rest (default: elektron muon, the
    others adamw)."""
    lr: float | None = None
    """Peak learning rate of AdamW (default: electra and deberta-v2 5e-4, modernbert 8e-4, elektron
    3e-3)."""
    muon_lr: float = 0.03
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
    """Largest norm of the gradient: of both networks together, or of each where they are apart."""
    skip_spikes: bool = False
    """Whether a step is skipped whose loss lies more than 6 standard deviations above those before it, up to five in
    a row. Either way it is counted and said."""
    separate: bool = False
    """Whether each network has an optimizer of its own: own clipping, own moments for what they share."""
    generator_lr: float | None = None
    """Peak learning rate of the generator's own AdamW (default: lr); needs `separate`."""
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
    keep_every: int | None = None
    """Besides, keep every checkpoint whose step is a multiple of this (default: none)."""


@dataclass
class ResumeConfig:
    """How a run is gone on with."""

    allow: list[str] = field(default_factory=list)
    """Settings that may differ from those the run was begun with, such as `steps`; `data` for other blocks
    of the same tokenizer and row length. A finished run changes only if it gets longer, and begins its schedule
    anew."""


@dataclass
class PretrainConfig(Checked):
    """Pre-train a generator and a discriminator by replaced token detection."""

    data: Path | None = None
    """Folder of blocks, made by `elektron prepare`."""
    out: Path = Path("run")
    """Folder for the two models, metrics and checkpoints; the same command again resumes."""
    family: Literal["elektron", "electra", "deberta-v2", "modernbert"] = "elektron"
    """Which encoder: the project's own, the paper's, one with disentangled attention, or ModernBERT's."""
    objective: Literal[
        "rtd", "electra_15", "replace_mlm", "all_tokens_mlm", "mlm", "corrective"
    ] = "rtd"
    """What is predicted where; `rtd` is replaced token detection."""
    plan: Literal["joint", "two_stage", "alternating", "adversarial", "frozen_generator"] = "joint"
    """Which network is trained when; `joint` trains both at every step."""
    sharing: Sharing | None = None
    """What the networks share (default: elektron gdes, or embeddings where the discriminator predicts tokens; the
    other families embeddings; none under plans that freeze the generator)."""
    init_from: str | None = None
    """DISCRIMINATOR[,GENERATOR], folders or hub names, or the folder of a run: what to continue from.
    Family and sizes are taken over."""
    steps: int | None = None
    """Length of the run in optimizer steps. Give one of steps, tokens, minutes, flops."""
    tokens: int | None = None
    """Length of the run in tokens (rows × row length, padding included)."""
    minutes: float | None = None
    """Length of the run in minutes of training; the schedule follows the share of time."""
    flops: float | None = None
    """Length of the run in floating-point operations of its matrix products, forward and backward."""
    batch: int = 128
    """Rows in a step."""
    micro_batch: int | None = None
    """Rows that pass through the networks at once (default: all of the batch)."""
    seed: int = 1
    """Decides initial weights, order, masks, samples and dropout."""
    discriminator_weight: float = 50.0
    """λ: weight of the discriminator's loss beside the generator's."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    plan_options: PlanOptions = field(default_factory=PlanOptions)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    ramp: RampConfig = field(default_factory=RampConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    resume: ResumeConfig = field(default_factory=ResumeConfig)
    allow_unknown: bool = False
    """Train though more than 5 % of the characters of the blocks' text became [UNK]."""
    nproc: int | None = None
    """Processes on this host, started by torchrun (default: this one alone)."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What several processes have: all of both networks each, or, for networks that are too large for
    that, a part of weights, gradients and moments (FSDP)."""
    collective_timeout: int = 600
    """Seconds that processes wait for one another before they give up, for torchrun to start them again."""
    log_every: int = 20
    """Steps between two lines of training metrics."""
    compile: bool | None = None
    """Compile the step (default: on a GPU, and on CPUs for runs of more than about three minutes)."""
    precision: Literal["fp32", "bf16"] | None = None
    """Precision of matrix products (default: bf16 on GPUs and CPUs that are fast at it, else fp32)."""


def resolve(config: PretrainConfig) -> PretrainConfig:
    """A copy with the family's and the plan's values filled in, or an error about what cannot work.

    Raises:
        ElektronError: names the setting, what it got and what would do.
    """
    resolved = copy.deepcopy(config)
    for name, value in family_defaults(config.family, config.network).items():
        group_name, field_name = name.split(".")
        group = getattr(resolved, group_name)
        if getattr(group, field_name) is None:
            setattr(group, field_name, value)
    if resolved.sharing is None:
        resolved.sharing = default_sharing(config)
    given = [length for length in LENGTHS if getattr(config, length) is not None]
    if len(given) != 1:
        raise ElektronError(f"give exactly one of {', '.join(LENGTHS)} for the run's length")
    for name, value, fits, what in limits(resolved):
        if not fits:
            raise ElektronError(f"--{name.replace('_', '-')} must be {what}, got {value}")
    refuse_what_does_not_go_together(resolved)
    return resolved


def default_sharing(config: PretrainConfig) -> Sharing:
    """What the networks share where nothing is said."""
    if config.plan in FREEZING_PLANS:
        return "none"
    # The discriminator's output matrix, where there is one, is its own embeddings.
    predicts = config.objective in PREDICT_TOKENS or config.plan_options.similarity
    return "gdes" if config.family == "elektron" and not predicts else "embeddings"


def family_defaults(family: str, network: NetworkConfig) -> dict[str, Any]:
    """What settings of None stand for."""
    shallower = family in SHALLOWER_GENERATOR
    return FAMILY_DEFAULTS[family] | {
        "network.embedding": network.hidden if shallower else 128,
        "network.generator_width": 1.0 if shallower else 0.25,
        "network.generator_layers": max(1, network.layers // 2) if shallower else network.layers,
    }


def limits(config: PretrainConfig) -> list[tuple[str, float | None, bool, str]]:
    """For each bounded setting its name, its value, whether it fits, and what would."""
    positive = {
        "steps": config.steps,
        "tokens": config.tokens,
        "minutes": config.minutes,
        "flops": config.flops,
        "batch": config.batch,
        "micro_batch": config.micro_batch,
        "nproc": config.nproc,
        "network.layers": config.network.layers,
        "network.hidden": config.network.hidden,
        "network.feed_forward": config.network.feed_forward,
        "network.heads": config.network.heads,
        "network.embedding": config.network.embedding,
        "network.generator_width": config.network.generator_width,
        "network.generator_layers": config.network.generator_layers,
        "network.max_positions": config.network.max_positions,
        "optimizer.lr": config.optimizer.lr,
        "optimizer.muon_lr": config.optimizer.muon_lr,
        "optimizer.generator_lr": config.optimizer.generator_lr,
        "optimizer.eps": config.optimizer.eps,
        "optimizer.clip": config.optimizer.clip,
        "ramp.first_length": config.ramp.first_length,
        "ramp.first_batch": config.ramp.first_batch,
        "plan_options.generator_steps": config.plan_options.generator_steps,
        "plan_options.generator_turn": config.plan_options.generator_turn,
        "plan_options.discriminator_turn": config.plan_options.discriminator_turn,
        "plan_options.temperature_decay": config.plan_options.temperature_decay,
        "evaluation.every": config.evaluation.every,
        "evaluation.rows": config.evaluation.rows,
        "checkpoint.every": config.checkpoint.every,
        "checkpoint.keep": config.checkpoint.keep,
        "checkpoint.keep_every": config.checkpoint.keep_every,
        "log_every": config.log_every,
    }
    shares_below_one = {
        "network.dropout": config.network.dropout,
        "masking.keep": config.masking.keep,
        "optimizer.beta1": config.optimizer.beta1,
        "optimizer.beta2": config.optimizer.beta2,
    }
    not_negative = {
        "discriminator_weight": config.discriminator_weight,
        "optimizer.weight_decay": config.optimizer.weight_decay,
        "optimizer.warmup": config.optimizer.warmup,
        "plan_options.similarity": config.plan_options.similarity,
    }
    temperature = config.plan_options.temperature
    share_of_run = {
        "optimizer.cooldown": config.optimizer.cooldown,
        "ramp.length_share": config.ramp.length_share,
        "ramp.batch_share": config.ramp.batch_share,
    }
    shares = {
        "masking.share": config.masking.share,
        "masking.final_share": config.masking.final_share,
    }
    timeout = config.collective_timeout
    too_many = "a share above 0 and below 1 (a row cannot have more masks than tokens)"
    return [
        *((n, v, v is None or v > 0, "above 0") for n, v in positive.items()),
        *(
            (n, v, v is None or 0 <= v < 1, "from 0 to below 1")
            for n, v in shares_below_one.items()
        ),
        *((n, v, v is None or v >= 0, "0 or above") for n, v in not_negative.items()),
        *((n, v, 0 < v <= 1, "above 0 and at most 1") for n, v in share_of_run.items()),
        *((n, v, v is None or 0 < v < 1, too_many) for n, v in shares.items()),
        ("seed", config.seed, 0 <= config.seed < SEEDS, "0 or above and below 2^63"),
        (
            "collective_timeout",
            timeout,
            0 < timeout <= LONGEST_TIMEOUT,
            f"above 0 and at most {LONGEST_TIMEOUT}, ten days",
        ),
        (
            "plan_options.temperature",
            temperature,
            temperature is None or temperature >= 1,
            "1 or above: it falls to 1",
        ),
    ]
