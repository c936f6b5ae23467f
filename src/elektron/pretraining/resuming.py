"""What may differ between a run and the command that goes on with it: nothing, or what was allowed aloud.

A changed setting makes another run, unless `--resume.allow` names it. Never allowed is what would make
other networks, another optimizer or another tokenizer of it, another plan in the midst of one, or other steps of
those that lie behind.
"""

from __future__ import annotations

from typing import Any

from elektron.configuration import differences, format_value, to_flat_dict
from elektron.errors import ElektronError
from elektron.pretraining.config import LENGTHS, PretrainConfig

# Where things lie, how often they are written and who works on them in which way does not make another run.
NOT_THE_RUN = (
    "data",
    "out",
    "log_every",
    "nproc",
    "parallel",
    "collective_timeout",
    "resume",
    "allow_unknown",
)
BLOCKS = "data"
"""What other blocks are allowed by."""
NEVER = ("family", "network", "objective", "plan", "plan_options", "sharing", "init_from", "seed")
NEVER_IN_OPTIMIZER = (
    "optimizer.name",
    "optimizer.separate_optimizers",
    "optimizer.bias_correction",
)
BUT = ("network.dropout",)
ROWS = ("batch_size", "curriculum")
"""By what it is counted which rows the steps before have taken, and which come next."""


def allowed_changes(earlier: PretrainConfig, config: PretrainConfig) -> list[str]:
    """The settings in which a run and a command differ, all of them allowed.

    Raises:
        ElektronError: one is not, or cannot be.
    """
    refuse_another_unit(earlier, config)
    before, now = to_flat_dict(earlier), to_flat_dict(config)
    allowed = [name.replace("-", "_") for name in config.resume.allow]
    for name in allowed:
        if why := why_it_stays(name, config):
            raise ElektronError(
                f"--resume.allow {name}: it cannot change in the midst of a run ({why}): "
                "choose another --out"
            )
    changed = differences(earlier, config, NOT_THE_RUN)
    if refused := [name for name in changed if name not in allowed]:
        way = ""
        if not any(why_it_stays(name, config) for name in changed):
            way = f", or go on with it all the same by --resume.allow {' '.join(refused)}"
        raise ElektronError(
            f"{config.out} holds another run ({in_words(refused, before, now)}): "
            f"choose another --out{way}"
        )
    return changed


def refuse_another_unit(earlier: PretrainConfig, config: PretrainConfig) -> None:
    """Raise ElektronError where the length is not given as it was: a schedule goes on in its own unit."""
    there, here = (
        " and ".join(name for name in LENGTHS if getattr(each, name) is not None)
        for each in (earlier, config)
    )
    if there != here:
        raise ElektronError(
            f"{config.out} holds a run whose length is given in {there}, not in {here}: "
            "give it so, or choose another --out"
        )


def in_words(names: list[str], before: dict[str, Any], now: dict[str, Any]) -> str:
    """What settings were and what they are."""
    return ", ".join(
        f"{n} {format_value(before[n])} there, {format_value(now[n])} here" for n in names
    )


def why_it_stays(name: str, config: PretrainConfig) -> str | None:
    """Why a setting cannot change in the midst of a run; None if it can."""
    group = name.partition(".")[0]
    if group in ROWS:
        return "the rows that its steps have taken are counted by it"
    if name in LENGTHS and config.plan == "two_stage":
        return "the stages of its plan would move"
    if name in LENGTHS and (config.curriculum.first_length or config.curriculum.first_batch_size):
        return "the stages of its curriculum would move, and those behind it with them"
    if (group in NEVER or name in NEVER_IN_OPTIMIZER) and name not in BUT:
        return "it would be another run"
    return None
