"""What may differ between a run and the command that goes on with it: nothing, or what was allowed aloud.

A changed setting makes another run, unless `--resume.allow` names it. Never allowed is what would make
other networks, another optimizer or another tokenizer of it, or another plan in the midst of one.
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
NEVER = ("family", "network", "objective", "plan", "plan_options", "sharing", "init_from", "seed")
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
            near = ": separate names by blanks" if "," in name else suggestion(name, now)
            raise ElektronError(f"--resume.allow {name}: no such setting{near}")
        if cannot_change(name, config):
            raise ElektronError(
                f"--resume.allow {name}: it cannot change in the midst of a run: choose another --out"
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


def in_words(names: list[str], before: dict[str, Any], now: dict[str, Any]) -> str:
    """What settings were and what they are."""
    return ", ".join(f"{n} {written(before[n])} there, {written(now[n])} here" for n in names)


def cannot_change(name: str, config: PretrainConfig) -> bool:
    """Whether a checkpoint would not fit, or the plan would lose its thread."""
    if name in LENGTHS and config.plan == "two_stage":
        return True
    group = name.partition(".")[0]
    return (group in NEVER or name in NEVER_IN_OPTIMIZER) and name not in BUT
