"""What may differ between a run and the command that goes on with it: nothing, or what was allowed aloud.

A changed setting makes another run, unless `--resume.allow` names it. Never allowed is what would make
other networks, another optimizer or another tokenizer of it, another plan in the midst of one, or other steps of
those that lie behind.
"""

from __future__ import annotations

from typing import Any

from elektron.configuration import differences, suggestion, values_of, written
from elektron.errors import ElektronError
from elektron.pretraining.config import LENGTHS, PretrainConfig

# Where things lie, how often they are written and who works on them in which way does not make another run.
NOT_THE_RUN = ("data", "out", "log_every", "nproc", "parallel", "collective_timeout", "resume")
BLOCKS = "data"
"""What other blocks are allowed by."""
NEVER = (
    *("family", "network", "objective", "plan", "plan_options", "sharing", "init_from", "seed"),
    # Which rows come next follows from what the steps before have taken.
    *("batch", "ramp"),
)
NEVER_IN_OPTIMIZER = ("optimizer.name", "optimizer.separate", "optimizer.bias_correction")
BUT = ("network.dropout",)


def allowed_changes(earlier: PretrainConfig, config: PretrainConfig) -> list[str]:
    """The settings in which a run and a command differ, all of them allowed.

    Raises:
        ElektronError: one is not, or cannot be.
    """
    before, now = values_of(earlier), values_of(config)
    allowed = [name.replace("-", "_") for name in config.resume.allow]
    for name in allowed:
        if name not in now:
            raise ElektronError(f"--resume.allow {name}: no such setting{suggestion(name, now)}")
        if cannot_change(name, config):
            raise ElektronError(
                f"--resume.allow {name}: it cannot change in the midst of a run: choose another --out"
            )
    kinds = [[name for name in LENGTHS if settings[name] is not None] for settings in (before, now)]
    if kinds[0] != kinds[1]:
        raise ElektronError(
            f"{config.out} holds a run whose length is given in {kinds[0][0]}, not in {kinds[1][0]}: "
            "give it so, or choose another --out"
        )
    changed = differences(earlier, config, NOT_THE_RUN)
    if refused := [name for name in changed if name not in allowed]:
        way = ""
        if not any(cannot_change(name, config) for name in changed):
            way = f", or go on with it all the same by --resume.allow {' '.join(refused)}"
        raise ElektronError(
            f"{config.out} holds another run ({in_words(refused, before, now)}): "
            f"choose another --out{way}"
        )
    return changed


def lengthened(earlier: PretrainConfig, config: PretrainConfig) -> bool:
    """Whether a run has become longer."""
    lengths = [(getattr(earlier, name), getattr(config, name)) for name in LENGTHS]
    return any(now > before for before, now in lengths if before is not None and now is not None)


def in_words(names: list[str], before: dict[str, Any], now: dict[str, Any]) -> str:
    """What settings were and what they are."""
    return ", ".join(f"{n} {written(before[n])} there, {written(now[n])} here" for n in names)


def cannot_change(name: str, config: PretrainConfig) -> bool:
    """Whether a checkpoint would not fit, or the plan or the order of rows would lose its thread."""
    moves_with_the_length = config.plan == "two_stage" or config.ramp.first_batch is not None
    if name in LENGTHS and moves_with_the_length:
        return True
    group = name.partition(".")[0]
    return (group in NEVER or name in NEVER_IN_OPTIMIZER) and name not in BUT
