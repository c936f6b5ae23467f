"""Combinations of pre-training settings that raise an error, and the messages.

`config.resolve` checks them before any work. Like `config.py`, this module does not import torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from elektron.errors import ElektronError

if TYPE_CHECKING:
    from elektron.pretraining.config import PretrainConfig

PREDICT_TOKENS = ("replace_mlm", "all_tokens_mlm", "mlm", "corrective")
"""Objectives under which the discriminator predicts tokens, and so has an output matrix."""
DETECT = ("rtd", "electra_15", "corrective")
"""Objectives with a detection loss."""
OPTIONS_OF_PLAN = {
    "joint": (),
    "two_stage": ("generator_steps",),
    "alternating": ("generator_turn", "discriminator_turn", "similarity"),
    "adversarial": (),
    "frozen_generator": ("generator", "temperature", "temperature_decay"),
}
FREEZING_PLANS = ("two_stage", "frozen_generator")
"""Plans in which the discriminator is trained against a frozen generator."""
CHECKPOINT_ONLY_FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "mpnet")
"""Families that are only continued from released checkpoints, never trained from random weights."""
SHALLOWER_GENERATOR = ("deberta-v2", "modernbert", *CHECKPOINT_ONLY_FAMILIES)
"""Families whose generator has fewer layers than the discriminator; in the others it is narrower."""
WIDE_EMBEDDINGS = ("modernbert", *CHECKPOINT_ONLY_FAMILIES)
"""Families whose embeddings are as wide as the network."""


def check_compatibility(config: PretrainConfig) -> None:
    """Raise ElektronError for the first conflict between settings.

    Args:
        config: a resolved configuration whose single values are valid.
    """
    for conflicts in (start_conflicts, plan_conflicts, sharing_conflicts, network_conflicts, schedule_conflicts):
        for reason in conflicts(config):
            raise ElektronError(reason)


def start_conflicts(config: PretrainConfig) -> Iterator[str]:
    """Conflicts between `init_from` and other settings, and settings that need it."""
    if config.init_from is None:
        if config.family in CHECKPOINT_ONLY_FAMILIES:
            yield f"family {config.family} needs a pretrained checkpoint: give --init-from, a folder or hub name"
        if config.generator is not None:
            yield f"--generator {config.generator} has no effect without --init-from"
        if config.replace_tokenizer:
            yield "--replace-tokenizer has no effect without --init-from"
        return
    if config.network.embedding_init == "cooccurrence":
        yield "--network.embedding-init cooccurrence only applies to new networks: remove it, or --init-from"
    if config.generator is not None and config.objective == "mlm":
        yield f"--generator {config.generator} has no effect under objective mlm, which has no generator"


def plan_conflicts(config: PretrainConfig) -> Iterator[str]:
    """Conflicts between plan and objective, and options that belong to another plan."""
    plan, objective, options = config.plan, config.objective, config.plan_options
    if objective == "mlm" and plan != "joint":
        yield f"plan {plan} trains a generator, and objective mlm has none: choose --plan joint or another --objective"
    if plan == "adversarial" and objective not in DETECT:
        yield (
            f"plan adversarial trains the generator to fool a detector, and objective {objective} trains none: "
            f"choose --objective {' or '.join(DETECT)}"
        )
    for field in dataclasses.fields(options):
        if getattr(options, field.name) is not None and field.name not in OPTIONS_OF_PLAN[plan]:
            plan_of_option = next(name for name, names in OPTIONS_OF_PLAN.items() if field.name in names)
            option = f"--plan-options.{field.name.replace('_', '-')}"
            yield f"{option} belongs to plan {plan_of_option} and has no effect under {plan}"
    if plan == "frozen_generator":
        if (options.generator is None) == (config.init_from is None):
            yield (
                "plan frozen_generator needs either --plan-options.generator, a folder or hub name, for a new "
                "discriminator, or --init-from"
            )
        if config.generator == "small":
            yield "--generator small has to be trained, not frozen: choose --generator same or --plan joint"
    if plan == "two_stage" and config.init_from is not None:
        yield (
            "plan two_stage copies the generator into the discriminator halfway, which would overwrite the "
            "discriminator of --init-from: choose --plan joint or alternating"
        )


def sharing_conflicts(config: PretrainConfig) -> Iterator[str]:
    """Conflicts of `sharing` with plan, objective and sizes."""
    plan, sharing, network = config.plan, config.sharing, config.network
    if config.objective == "mlm":
        return
    if plan in FREEZING_PLANS and sharing not in ("none", "gdes", None):
        yield (
            f"plan {plan} freezes the generator while the discriminator is trained, and --sharing "
            f"{sharing} would change the shared weights: choose none or gdes"
        )
    predicts = f"objective {config.objective}" if config.objective in PREDICT_TOKENS else ""
    if config.plan_options.similarity:
        predicts = "--plan-options.similarity"
    if sharing == "gdes" and predicts:
        yield (
            f"--sharing gdes gives the discriminator no output matrix, which {predicts} needs: "
            "choose --sharing embeddings"
        )
    layers = network.num_hidden_layers
    if sharing == "all" and (network.generator_width, network.generator_layers) != (1.0, layers):
        remedy = f"add --network.generator-width 1 --network.generator-layers {layers}"
        if config.init_from is not None:
            remedy = "choose --generator same"
        yield f"--sharing all needs a generator as large as the discriminator: {remedy}, or choose --sharing embeddings"


def network_conflicts(config: PretrainConfig) -> Iterator[str]:
    """Conflicts of family and sizes, of compilation with FSDP, and of masking options."""
    network, family = config.network, config.family
    if family in WIDE_EMBEDDINGS and network.embedding_size != network.hidden_size:
        yield f"embeddings of {family} have the size of the hidden states: remove --network.embedding-size"
    if family in SHALLOWER_GENERATOR and network.generator_width != 1:
        yield (
            f"the generator of {family} has fewer layers instead of a smaller width: "
            "use --network.generator-layers instead of --network.generator-width"
        )
    if config.parallel == "fsdp" and config.compile:
        yield (
            "--parallel fsdp gathers the weights of a layer in hooks, which torch.compile does not compile with it: "
            "remove --compile, or choose --parallel ddp"
        )
    if config.masking.segmenter is not None and config.masking.unit != "whole_word":
        yield "--masking.segmenter has no effect without --masking.unit whole_word"


def schedule_conflicts(config: PretrainConfig) -> Iterator[str]:
    """Conflicts of settings that need a known number of steps, and of the mask probabilities."""
    last_probability = config.masking.final_mask_probability
    stepwise = {
        "--curriculum.first-length": config.curriculum.first_length,
        "--curriculum.first-batch-size": config.curriculum.first_batch_size,
        "--masking.final-mask-probability": last_probability,
        "--plan-options.generator-steps": config.plan_options.generator_steps,
    }
    if config.steps is None and config.tokens is None:
        for name, value in stepwise.items():
            if value is not None:
                yield f"{name} needs a run whose length is in steps or tokens"
    if last_probability is not None and last_probability > config.masking.mask_probability:
        yield (
            f"--masking.final-mask-probability {last_probability:g} must be at most --masking.mask-probability, "
            f"{config.masking.mask_probability:g}"
        )
