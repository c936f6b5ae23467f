"""The settings of `elektron pretrain`, which define its options, the keys of recipes and the reference page.

`None` means "the default of the family" or "not set"; `resolve` fills in the defaults and raises an error for
impossible combinations before anything is read or written. This module does not import torch, to keep `--help` fast.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from elektron.configuration import (
    AboveZero,
    EquivalentOptions,
    Fraction,
    Layers,
    LearningRate,
    NotNegative,
    PositiveFraction,
    Size,
    ValidatedConfig,
    Within,
    to_flat_dict,
)
from elektron.errors import ElektronError, did_you_mean
from elektron.pretraining.compatibility import (
    CHECKPOINT_ONLY_FAMILIES,
    FREEZING_PLANS,
    PREDICT_TOKENS,
    SHALLOWER_GENERATOR,
    check_compatibility,
)
from elektron.tracking import TrackerName

OpenFraction = Annotated[float, Within(above=0, below=1)]
CONFIG, METRICS, SUMMARY = "config.yaml", "metrics.jsonl", "summary.json"
CORPUS, EXAMPLES = "corpus.json", "examples.json"
"""Files in the folder of a run."""

Sharing = Literal["none", "tokens", "embeddings", "gdes", "all"]

FAMILY_FIELDS = (
    "network.dropout",
    "network.embedding_init",
    "optimizer.name",
    "optimizer.learning_rate",
    "optimizer.bias_correction",
)
"""Settings whose default depends on the family."""

FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    family: dict(zip(FAMILY_FIELDS, values, strict=True))
    for family, values in {
        "electra": (0.1, "random", "adamw", 5e-4, False),
        "elektron": (0.0, "cooccurrence", "muon", 3e-3, True),
        "deberta-v2": (0.1, "random", "adamw", 5e-4, True),
        "modernbert": (0.0, "random", "adamw", 8e-4, True),
        **dict.fromkeys(CHECKPOINT_ONLY_FAMILIES, (0.1, "random", "adamw", 1e-4, True)),
    }.items()
}
SIZES = {
    "num_hidden_layers": 12,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
"""Default sizes of a network: those of ELECTRA-small."""
LENGTHS = ("steps", "tokens", "minutes", "flops")
"""Settings for the length of a run, of which exactly one is given."""
LONGEST_TIMEOUT = 10 * 24 * 3600
"""Seconds; torch refuses much longer timeouts."""


@dataclass
class NetworkConfig:
    """Sizes of the two encoders. Vocabulary and row length come from the blocks."""

    num_hidden_layers: Layers | None = None
    """Transformer layers of the discriminator (default: 12)."""
    hidden_size: Size | None = None
    """Width of the discriminator (default: 256)."""
    intermediate_size: Size | None = None
    """Inner width of the discriminator's feed-forward blocks (default: 1024)."""
    num_attention_heads: Size | None = None
    """Attention heads of the discriminator (default: 4)."""
    embedding_size: Size | None = None
    """Width of the embeddings of both networks (default: 128; modernbert and deberta-v2 hidden_size)."""
    generator_width: Annotated[float, Within(above=0, most=4)] | None = None
    """The generator's width, feed-forward width and heads as a fraction of the discriminator's (default: 0.25;
    modernbert and deberta-v2 1)."""
    generator_layers: Layers | None = None
    """The generator's layers (default: as many as the discriminator's; modernbert and deberta-v2 half)."""
    max_position_embeddings: Size | None = None
    """Longest text, in tokens, that the models support after training (default: 512)."""
    dropout: Fraction | None = None
    """Dropout on hidden states and attention (default: electra and deberta-v2 0.1, the others 0; with init_from the
    checkpoint's)."""
    embedding_init: Literal["cooccurrence", "random"] | None = None
    """Token embeddings of new networks: random, or from counts of which tokens of the corpus occur near one another
    (default: elektron cooccurrence, the others random)."""


@dataclass
class MaskingConfig:
    """Which tokens are masked."""

    mask_probability: OpenFraction = 0.15
    """Fraction of a row's tokens that are masked; [CLS], [SEP] and padding never are."""
    final_mask_probability: OpenFraction | None = None
    """Fraction at the end of the run, to which `mask_probability` changes linearly (default: constant)."""
    keep_probability: Fraction = 0.15
    """Fraction of the masked positions that keep their token instead of [MASK]; without effect under objective mlm,
    which masks 80 %, replaces 10 % and keeps 10 %, as BERT does."""
    unit: Literal["token", "whole_word"] = "token"
    """What is masked: single tokens, or whole words."""
    segmenter: str | None = None
    """Word segmenter for text without spaces, for whole_word: `jieba`, or MODULE:FUNCTION, which
    takes a text and returns its words."""


@dataclass
class CurriculumConfig:
    """Start with short rows and small batches, and double them from stage to stage."""

    first_length: AboveZero[int] | None = None
    """Tokens in a row at the start, when rows are split into parts (default: whole rows)."""
    length_fraction: PositiveFraction = 0.5
    """Fraction of the run after which rows are whole."""
    first_batch_size: AboveZero[int] | None = None
    """Rows in a step at the start (default: batch_size)."""
    batch_fraction: PositiveFraction = 0.5
    """Fraction of the run after which batches have batch_size rows."""


@dataclass
class PlanOptions:
    """Options of the plans; each description starts with the plan's name."""

    generator_steps: AboveZero[int] | None = None
    """two_stage: steps of the first stage, which trains the generator alone (default: half of the run)."""
    generator_turn: AboveZero[int] | None = None
    """alternating: consecutive steps for the generator (default: 1)."""
    discriminator_turn: AboveZero[int] | None = None
    """alternating: consecutive steps for the discriminator (default: 1)."""
    similarity: NotNegative[float] | None = None
    """alternating: weight of the KL divergence of the discriminator's token distribution from the generator's, at
    masked positions (default: 0)."""
    generator: str | None = None
    """frozen_generator: folder or hub name of the generator, or the folder of a run."""
    temperature: Annotated[float, Within(least=1)] | None = None
    """frozen_generator: initial sampling temperature of the generator (default: 2)."""
    temperature_decay: AboveZero[float] | None = None
    """frozen_generator: fraction of the run in which the temperature's excess over 1 decays to 1/e (default: 0.25)."""


@dataclass
class OptimizerConfig:
    """The optimizer and its schedule."""

    name: Literal["adamw", "muon"] | None = None
    """`adamw`, or `muon`: Muon on hidden matrices and AdamW on the rest (default: elektron muon, the others adamw)."""
    learning_rate: LearningRate | None = None
    """Peak learning rate of AdamW (default: electra and deberta-v2 5e-4, modernbert 8e-4, elektron 3e-3, those that
    are only continued 1e-4)."""
    head_learning_rate: LearningRate | None = None
    """Peak learning rate of AdamW for heads that start from random weights (default: learning_rate). With init_from,
    a high one lets new heads learn quickly while the released encoder changes slowly."""
    muon_learning_rate: LearningRate = 0.03
    """Peak learning rate of Muon; has no effect under `adamw`."""
    beta1: Fraction = 0.9
    """AdamW's decay of the mean of gradients."""
    beta2: Fraction = 0.999
    """AdamW's decay of the mean of squared gradients."""
    eps: PositiveFraction = 1e-6
    """AdamW's epsilon, added outside the square root."""
    bias_correction: bool | None = None
    """Whether AdamW corrects the bias of its moments; the official code does not (default: electra no, others yes)."""
    weight_decay: Annotated[float, Within(least=0, most=10)] = 0.01
    """Weight decay on matrices; none on norms and biases."""
    max_grad_norm: AboveZero[float] = 1.0
    """Gradients of both networks together are clipped to this norm."""
    skip_spikes: bool = False
    """Whether to skip steps whose loss is more than 6 standard deviations above the mean of the last 100, at most five
    consecutive ones. Such spikes are counted and logged in any case."""
    warmup: NotNegative[float] = 0.01
    """Warm-up: below 1 a fraction of the run, else a number of steps."""
    decay_fraction: PositiveFraction = 1.0
    """Last fraction of the run over which the rate decays linearly to 0; 1 is the paper's schedule."""


@dataclass
class EvaluationConfig:
    """Evaluation on held-out rows, always with the same masks and samples."""

    every: AboveZero[int] = 1000
    """Steps between two evaluations."""
    rows: Size = 512
    """Held-out rows used."""


@dataclass
class CheckpointConfig:
    """Checkpoints, from which a run resumes."""

    every: AboveZero[int] = 1000
    """Steps between two checkpoints."""
    keep: AboveZero[int] = 2
    """Newest checkpoints kept; the best one is kept in addition."""
    keep_every: AboveZero[int] | None = None
    """Also keep every checkpoint whose step is a multiple of this (default: none)."""


@dataclass
class ResumeConfig:
    """How a run is resumed."""

    allow: list[str] = field(default_factory=list)
    """Settings that may differ from those the run was started with, such as `steps`; `data` for other blocks
    of the same tokenizer and row length. A finished run can change only if it gets longer; its schedule restarts."""


@dataclass
class PretrainConfig(ValidatedConfig):
    """Pre-train a generator and a discriminator by replaced token detection."""

    data: Path | None = None
    """Folder of blocks, made by `elektron prepare`."""
    out: Path = Path("run")
    """Folder for the two models, metrics and checkpoints; the same command again resumes."""
    family: Literal[
        "elektron", "electra", "deberta-v2", "modernbert",
        "bert", "roberta", "xlm-roberta", "camembert", "distilbert", "mpnet",
    ] = "elektron"  # fmt: skip
    """Encoder architecture: `elektron` is the project's own, `electra` the paper's, `deberta-v2` has disentangled
    attention. All except these and `modernbert` can only be continued from released checkpoints, with init_from."""
    objective: Literal["rtd", "electra_15", "replace_mlm", "all_tokens_mlm", "mlm", "corrective"] = "rtd"
    """What the networks predict, and at which tokens; `rtd` is replaced token detection."""
    plan: Literal["joint", "two_stage", "alternating", "adversarial", "frozen_generator"] = "joint"
    """Which network is trained when; `joint` trains both at every step."""
    sharing: Sharing | None = None
    """Which weights the networks share (default: none under plans that freeze the generator; else for elektron none, or
    gdes if embedding_init is random; embeddings for the other families and where the discriminator predicts tokens,
    unless released networks come with different ones)."""
    init_from: Annotated[str, EquivalentOptions(("model",))] | None = None
    """ENCODER[,GENERATOR], folders or hub names, or the folder of a run: what to continue from. The encoder becomes
    the discriminator; family and sizes are its own."""
    generator: Literal["released", "same", "small"] | None = None
    """With init_from, the generator: the `released` one, the `same` checkpoint as a masked language model, or a `small`
    copy of the encoder's embeddings and bottom layers (default: released where there is one, else small; same under
    plan frozen_generator)."""
    replace_tokenizer: bool = False
    """With init_from, use the blocks' tokenizer even if it differs from the checkpoint's: tokens of both vocabularies
    keep their embeddings, new ones start from the mean of the embeddings of their old pieces."""
    steps: Annotated[AboveZero[int], EquivalentOptions(("epochs",))] | None = None
    """Length of the run in optimizer steps. Give one of steps, tokens, minutes, flops."""
    tokens: AboveZero[int] | None = None
    """Length of the run in tokens (rows × row length, padding included)."""
    minutes: AboveZero[float] | None = None
    """Length of the run in minutes of training; the schedule follows the time."""
    flops: AboveZero[float] | None = None
    """Length of the run in floating-point operations of its matrix products, forward and backward."""
    batch_size: Size = 128
    """Rows in a step."""
    micro_batch_size: Size | None = None
    """Rows in one forward and backward pass (default: the whole batch)."""
    seed: Annotated[int, Within(least=0, below=1 << 31)] = 1
    """Determines initial weights, data order, masks, samples and dropout."""
    discriminator_weight: NotNegative[float] = 50.0
    """λ: weight of the discriminator's loss relative to the generator's."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    plan_options: PlanOptions = field(default_factory=PlanOptions)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    resume: ResumeConfig = field(default_factory=ResumeConfig)
    allow_unknown: bool = False
    """Train although more than 5 % of the characters of the blocks' text became [UNK]."""
    nproc: Size | None = None
    """Processes on this host, started by torchrun (default: this process alone)."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What each process holds: replicas of both networks (ddp), or, for networks that are too large, a shard of
    weights, gradients and moments (fsdp)."""
    collective_timeout: Annotated[int, Within(above=0, most=LONGEST_TIMEOUT)] = 600
    """Seconds that processes wait for one another before they exit, so that torchrun can restart them."""
    log_every: AboveZero[int] = 20
    """Steps between two lines of training metrics."""
    track: TrackerName | None = None
    """Send the metrics to a tracker too; TensorBoard's files are in the run's folder `tracking`."""
    compile: bool | None = None
    """Compile the step (default: on a GPU with a C compiler; on a CPU only family elektron, for more than about three
    minutes)."""
    precision: Literal["fp32", "bf16"] | None = None
    """Precision of matrix products (default: bf16 on GPUs and CPUs that are fast at it, else fp32)."""


def resolve(config: PretrainConfig) -> PretrainConfig:
    """A copy with all defaults filled in.

    Raises:
        ElektronError: an impossible value or combination of settings.
    """
    resolved = dataclasses.replace(copy.deepcopy(config))  # `replace` validates all values
    defaults = family_defaults(config.family, config.network)
    if config.init_from is not None:
        defaults["network.embedding_init"] = "random"
    for name, value in defaults.items():
        group_name, field_name = name.split(".")
        group = getattr(resolved, group_name)
        if getattr(group, field_name) is None:
            setattr(group, field_name, value)
    if resolved.sharing is None:
        resolved.sharing = default_sharing(resolved)
        if config.init_from is not None and resolved.sharing == "embeddings":
            resolved.sharing = None  # decided when the networks are loaded: their embeddings may differ
    given = [length for length in LENGTHS if getattr(config, length) is not None]
    if len(given) != 1:
        raise ElektronError(f"give exactly one of {', '.join(LENGTHS)} for the run's length")
    settings = to_flat_dict(resolved)
    for name in resolved.resume.allow:
        if name.replace("-", "_") not in settings:
            near = ": separate names by blanks" if "," in name else did_you_mean(name, settings)
            raise ElektronError(f"--resume.allow {name}: no such setting{near}")
    check_compatibility(resolved)
    return resolved


def default_sharing(config: PretrainConfig) -> Sharing:
    """The default of `sharing`."""
    if config.plan in FREEZING_PLANS:
        return "none"
    # The output matrix of a discriminator that predicts tokens is tied to its own embeddings.
    predicts = config.objective in PREDICT_TOKENS or config.plan_options.similarity
    if config.family != "elektron" or predicts:
        return "embeddings"
    # Embeddings that start from co-occurrences change slowly, and a generator's must not.
    return "none" if config.network.embedding_init == "cooccurrence" else "gdes"


def family_defaults(family: str, network: NetworkConfig) -> dict[str, Any]:
    """The defaults of settings that depend on the family."""
    sizes = SIZES | {name: value for name, value in vars(network).items() if value is not None}
    embedding_size, width, layers = 128, 0.25, sizes["num_hidden_layers"]
    if family in SHALLOWER_GENERATOR:
        embedding_size, width, layers = sizes["hidden_size"], 1.0, max(1, layers // 2)
    return FAMILY_DEFAULTS[family] | {
        **{f"network.{name}": value for name, value in SIZES.items()},
        "network.embedding_size": embedding_size,
        "network.generator_width": width,
        "network.generator_layers": layers,
    }
