"""Probe tasks, by which pre-training runs are compared: each is a command line of `elektron finetune`.

It is parsed like the command, without model, folder and seed, which the comparison sets. It is named after its training
data (`sst2` for `sst2/train.tsv` and for `sst2_train.tsv`) or explicitly (`sts-b=regression --train …`).
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
from elektron.finetuning.recipe import check, combinations
from elektron.io.datasets import HUB, parse_dataset
from elektron.missing import refuse_missing_inputs
from elektron.sweep import replace_settings
from elektron.tracking import require_tracker

COMMAND = "finetune"
FIXED = ("model", "out", "seed")
"""Settings that the comparison sets."""
PRETRAINING = "pretraining"
"""Folder of the pre-training, which is beside those of the probes: no probe can have this name."""


@dataclass(frozen=True)
class Probe:
    """A task to fine-tune on."""

    name: str
    command: str
    """The arguments of `elektron finetune`."""
    config: FinetuneConfig
    """Without a model, folder and seed."""


def parse_probes(texts: Sequence[str]) -> list[Probe]:
    """All probes.

    Raises:
        ElektronError: one is not a command line of `finetune`, its files do not exist, or two have one name.
    """
    probes = [parse_probe(text) for text in texts]
    names = [PRETRAINING, *(probe.name for probe in probes)]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ElektronError(f"--probe: the name {repeated[0]} is taken: give another name before the task, NAME=TASK …")
    return probes


def parse_probe(text: str) -> Probe:
    """Parse one probe. Raises ElektronError, whose message quotes the probe."""
    match = re.fullmatch(r"\s*([\w+-]+)=(.*)", text, re.DOTALL)
    name, command = match.groups() if match else ("", text)
    flags = {setting.name: setting.flag for setting in settings(FinetuneConfig)}
    try:
        values = parse_arguments(COMMAND, FinetuneConfig, shlex.split(command))
        for fixed in FIXED:
            if fixed in values:
                raise ElektronError(f"{flags[fixed]} is set by the comparison: remove the option")
        values |= {"model": PRETRAINING, "out": Path()}
        config = from_dict(FinetuneConfig, values, label=flags.__getitem__)
        refuse_missing_inputs(config)
        for combination in combinations(config.sweep):
            check(replace_settings(config, combination))
        require_tracker(config.track)
    except (ElektronError, ValueError) as error:  # shlex raises ValueError for an open quote
        raise ElektronError(f"--probe {text!r}: {error}") from None
    return Probe(name or data_name(config.train[0]), command, config)


def data_name(source: str) -> str:
    """The name of labelled data: the folder's for `train.tsv`, else the file's without extensions and "train"."""
    path = Path(parse_dataset(source).repo.name if source.startswith(HUB) else source)
    stem = path.name.partition(".")[0]
    if re.match(r"train(ing)?(?![a-z])", stem, re.IGNORECASE):
        stem = path.resolve().parent.name
    name = re.sub(r"[\W_]+train(ing)?(?![a-z])", "", stem, flags=re.IGNORECASE)
    return re.sub(r"[^\w+-]", "-", name) or COMMAND
