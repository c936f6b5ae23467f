"""Probe tasks: what a pre-training is judged by, each a command line of `elektron finetune`.

A probe is read by the very functions that read the command, so that it has all of its settings. The
model, the folder and the seed are the comparison's own. It is named after its training data,
`sst2/train.tsv` and `sst2_train.tsv` are `sst2`, or as it says itself: `sts-b=regression --train …`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elektron.command_line import parse_arguments
from elektron.configuration import from_dict, settings
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.recipe import combinations
from elektron.io.datasets import HUB, parse_dataset
from elektron.missing import refuse_missing_inputs

COMMAND = "finetune"
FIXED = ("model", "out", "seed")
"""Settings that the comparison gives to each run of a probe."""
PRETRAINING = "pretraining"
"""The other folder in a run's folder, whose name a probe cannot have."""


@dataclass(frozen=True)
class Probe:
    """A task to fine-tune on."""

    name: str
    command: str
    """What follows `elektron finetune`."""
    config: FinetuneConfig
    """Without a model, folder and seed of its own."""


def parse_all(texts: Sequence[str]) -> list[Probe]:
    """All probes.

    Raises:
        ElektronError: one is no command line of `finetune`, a file of it does not exist, or two have one name.
    """
    probes = [parse(text) for text in texts]
    names = [PRETRAINING, *(probe.name for probe in probes)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ElektronError(
            f"--probe: the name {twice[0]} is taken: give one before the task, NAME=TASK …"
        )
    return probes


def parse(text: str) -> Probe:
    """One probe.

    Raises:
        ElektronError: as `parse_all`, naming the probe.
    """
    found = re.fullmatch(r"\s*([\w+-]+)=(.*)", text, re.DOTALL)
    given, command = (found[1], found[2]) if found else ("", text)
    try:
        config = _configure(shlex.split(command))
        combinations(config.sweep)
        refuse_missing_inputs(config)
    except (ElektronError, ValueError) as error:  # shlex raises ValueError for an open quote
        raise ElektronError(f"--probe {text!r}: {error}") from None
    return Probe(given or set_name(config.train[0]), command, config)


def set_name(source: str) -> str:
    """What labelled data is called: the folder of `train.tsv`, else the file without endings and "train"."""
    path = Path(parse_dataset(source).repo.name if source.startswith(HUB) else source)
    stem = path.name.partition(".")[0]
    if re.match(r"train(ing)?(?![a-z])", stem, re.IGNORECASE):
        stem = path.resolve().parent.name
    named = re.sub(r"[\W_]+train(ing)?(?![a-z])", "", stem, flags=re.IGNORECASE)
    return re.sub(r"[^\w+-]", "-", named) or COMMAND


def _configure(argv: Sequence[str]) -> FinetuneConfig:
    flags = {setting.name: setting.flag for setting in settings(FinetuneConfig)}
    values = parse_arguments(COMMAND, FinetuneConfig, argv)
    for name in FIXED:
        if name in values:
            raise ElektronError(f"{flags[name]} is the comparison's own: leave it out")
    return from_dict(
        FinetuneConfig, values | {"model": PRETRAINING, "out": Path()}, label=flags.__getitem__
    )
