"""Which settings of a pre-training do not go together, why, and what would do.

Asked before any work. No torch here: see `config.py`, whose classes are known here by name only,
because it asks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from elektron.errors import ElektronError

if TYPE_CHECKING:
    from elektron.pretraining.config import PretrainConfig

PREDICT_TOKENS = ("replace_mlm", "all_tokens_mlm", "mlm", "corrective")
"""Objectives under which the discriminator has an output matrix."""
DETECT = ("rtd", "electra_15", "corrective")
"""Objectives under which the discriminator is asked outright whether a token was replaced."""
OPTIONS_OF_PLAN = {
    "joint": (),
    "two_stage": ("generator_steps",),
    "alternating": ("generator_turn", "discriminator_turn", "similarity"),
    "adversarial": (),
    "frozen_generator": ("generator", "temperature", "temperature_decay"),
}
FREEZING_PLANS = ("two_stage", "frozen_generator")
"""Plans in which the discriminator is trained against a generator that must not move."""
SHALLOWER_GENERATOR = ("deberta-v2", "modernbert")
"""Families whose generator has fewer layers than the discriminator; in the others it is narrower."""
WIDE_EMBEDDINGS = ("modernbert",)
"""Families whose embeddings are as wide as the network."""
KNOWN_LENGTH = ("steps", "tokens")
"""Lengths of a run from which the number of its steps follows."""


def refuse_what_does_not_go_together(config: PretrainConfig) -> None:
    """Raise ElektronError for the first pair of settings of which one makes no sense beside the other.

    Args:
        config: a configuration whose defaults are filled in and whose single values fit.
    """
    for reason in conflicts(config):
        raise ElektronError(reason)


def conflicts(config: PretrainConfig) -> Iterator[str]:
    """Every conflict, in words."""
    yield from plan_conflicts(config)
    yield from sharing_conflicts(config)
    yield from network_conflicts(config)
    yield from schedule_conflicts(config)


def plan_conflicts(config: PretrainConfig) -> Iterator[str]:
    """Plans with objectives, and options of other plans."""
    plan, objective, options = config.plan, config.objective, config.plan_options
    if objective == "mlm" and plan != "joint":
        yield (
            f"plan {plan} trains a generator too, and objective mlm has none: "
            "choose --plan joint or another --objective"
        )
    if plan == "adversarial" and objective not in DETECT:
        yield (
            f"plan adversarial rewards the generator for misleading a detector, and objective "
            f"{objective} trains none: choose --objective {' or '.join(DETECT)}"
        )
    for field in dataclasses.fields(options):
        if (
            getattr(options, field.name) is not None
            and field.name not in OPTIONS_OF_PLAN[config.plan]
        ):
            owner = next(name for name, its in OPTIONS_OF_PLAN.items() if field.name in its)
            yield (
                f"--plan-options.{field.name.replace('_', '-')} belongs to plan {owner} "
                f"and has no effect under {plan}"
            )
    if plan == "frozen_generator" and options.generator is None:
        yield "plan frozen_generator needs --plan-options.generator: a folder or hub name"
    if plan == "frozen_generator" and config.init_from is not None:
        yield "plan frozen_generator has its generator already: it excludes --init-from"
    if plan == "two_stage" and config.init_from is not None:
        yield (
            "plan two_stage copies the generator into the discriminator halfway, and would overwrite "
            "that of --init-from: choose --plan joint or alternating"
        )
    if options.generator_steps is not None:
        if not any(getattr(config, length) is not None for length in KNOWN_LENGTH):
            yield "--plan-options.generator-steps needs a run whose length is in steps or tokens"
        elif config.steps is not None and options.generator_steps >= config.steps:
            yield (
                f"--plan-options.generator-steps {options.generator_steps} leaves nothing of "
                f"{config.steps} steps for the discriminator"
            )


def sharing_conflicts(config: PretrainConfig) -> Iterator[str]:
    """What cannot be shared."""
    plan, sharing, network = config.plan, config.sharing, config.network
    if config.objective == "mlm":
        return
    if plan in FREEZING_PLANS and sharing not in ("none", "gdes"):
        yield (
            f"plan {plan} keeps the generator as it is while the discriminator learns, and --sharing "
            f"{sharing} would move what both have: choose none or gdes"
        )
    if sharing == "gdes":
        if config.objective in PREDICT_TOKENS:
            yield (
                f"--sharing gdes gives the discriminator no output matrix, which objective "
                f"{config.objective} needs: choose --sharing embeddings"
            )
        if config.plan_options.similarity:
            yield (
                "--sharing gdes gives the discriminator no output matrix, which "
                "--plan-options.similarity needs: choose --sharing embeddings"
            )
    same_size = (network.generator_width, network.generator_layers) == (1.0, network.layers)
    if sharing == "all" and not same_size:
        yield (
            f"--sharing all needs a generator as large as the discriminator, and this one has "
            f"{network.generator_width:g} of its width and {network.generator_layers} of "
            f"{network.layers} layers: add --network.generator-width 1 --network.generator-layers "
            f"{network.layers}, or choose --sharing embeddings"
        )


def network_conflicts(config: PretrainConfig) -> Iterator[str]:
    """Sizes that a family cannot have."""
    network, family = config.network, config.family
    if family in WIDE_EMBEDDINGS and network.embedding != network.hidden:
        yield (
            f"the embeddings of {family} are as wide as the network, {network.hidden}: "
            "leave out --network.embedding"
        )
    if family in SHALLOWER_GENERATOR and network.generator_width != 1:
        yield (
            f"the generator of {family} is made smaller by fewer layers, not by less width: "
            "use --network.generator-layers instead of --network.generator-width"
        )
    if config.parallel == "fsdp" and config.compile:
        yield (
            "--parallel fsdp gathers each layer by hooks, which cannot be compiled with it: "
            "leave out --compile, or choose --parallel ddp"
        )
    if config.optimizer.generator_lr is not None and not config.optimizer.separate:
        yield "--optimizer.generator-lr has no effect without --optimizer.separate true"
    if config.masking.segmenter is not None and config.masking.unit != "whole_word":
        yield "--masking.segmenter has no effect without --masking.unit whole_word"


def schedule_conflicts(config: PretrainConfig) -> Iterator[str]:
    """Ramps and a falling share of masks are functions of the step, so its place in the run must be known."""
    ramp, masking = config.ramp, config.masking
    stepwise = {
        "--ramp.first-length": ramp.first_length,
        "--ramp.first-batch": ramp.first_batch,
        "--masking.final-share": masking.final_share,
    }
    if not any(getattr(config, length) is not None for length in KNOWN_LENGTH):
        for name, value in stepwise.items():
            if value is not None:
                yield f"{name} needs a run whose length is in steps or tokens"
    if masking.final_share is not None and masking.final_share > masking.share:
        yield (
            f"--masking.final-share {masking.final_share:g} is above --masking.share "
            f"{masking.share:g}, from which it falls"
        )
    if ramp.first_batch is not None and not doubles_to(ramp.first_batch, config.batch):
        yield (
            f"--ramp.first-batch {ramp.first_batch} does not double to --batch {config.batch}: "
            "give a half, a quarter, an eighth … of it"
        )


def doubles_to(first: int, last: int) -> bool:
    """Whether doubling `first` some times gives `last`."""
    times, rest = divmod(last, first)
    return rest == 0 and times & (times - 1) == 0
