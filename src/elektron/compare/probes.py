"""Probe tasks: what a pre-training is judged by, each a command line of `elektron finetune`.

A probe is read by the very functions that read the command, so that it has all of its settings. The
model, the folder and the seed are the comparison's own. It is named after its training data,
`sst2/train.tsv` and `sst2_train.tsv` are `sst2`, or as it says itself: `sts-b=regression --train …`.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from elektron.command_line import typed
from elektron.configuration import build, settings
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.search import combinations
from elektron.missing import refuse_missing_inputs
from elektron.reading import HUB, hub_source

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
    """Without a model of its own; see `configured`."""

    @property
    def split(self) -> Literal["test", "eval"]:
        """The rows whose figures are reported."""
        return "test" if self.config.test else "eval"

    def configured(self, model: Path, out: Path, seed: int) -> FinetuneConfig:
        """The probe of one pre-trained model."""
        return dataclasses.replace(self.config, model=str(model), out=out, seed=seed)


def parse_all(texts: Sequence[str]) -> list[Probe]:
    """All probes, under names that tell them apart.

    Raises:
        ElektronError: one is no command line of `finetune`, or a file of it does not exist.
    """
    probes = [parse(text) for text in texts]
    names = told_apart(probe.name for probe in probes)
    return [
        dataclasses.replace(probe, name=name) for probe, name in zip(probes, names, strict=True)
    ]


def parse(text: str) -> Probe:
    """One probe.

    Raises:
        ElektronError: as `parse_all`, naming the probe.
    """
    given, command = _name_and_command(text)
    try:
        config = _configure(shlex.split(command))
        combinations(config.vary)
        refuse_missing_inputs(config)
    except (ElektronError, ValueError) as error:  # shlex raises ValueError for an open quote
        raise ElektronError(f"--probe {text!r}: {error}") from None
    return Probe(given or set_name(config.train[0]), command, config)


def set_name(source: str) -> str:
    """What labelled data is called: the folder of `train.tsv`, else the file without endings and "train"."""
    path = Path(hub_source(source).place.name if source.startswith(HUB) else source)
    stem = path.name.partition(".")[0]
    if re.match(r"train(ing)?(?![a-z])", stem, re.IGNORECASE):
        stem = path.resolve().parent.name
    named = re.sub(r"[\W_]+train(ing)?(?![a-z])", "", stem, flags=re.IGNORECASE)
    return re.sub(r"[^\w+-]", "-", named) or COMMAND


def _name_and_command(text: str) -> tuple[str, str]:
    """What a probe calls itself, empty if nothing, and its command line."""
    found = re.match(r"\s*([\w+-]+)=(.*)", text, re.DOTALL)
    return (found[1], found[2]) if found else ("", text)


def told_apart(names: Iterable[str]) -> list[str]:
    """The names, those that are taken already with a number."""
    found: list[str] = []
    for name in names:
        number, free = 1, name
        while free in (*found, PRETRAINING):
            number += 1
            free = f"{name}-{number}"
        found.append(free)
    return found


def _configure(argv: Sequence[str]) -> FinetuneConfig:
    flags = {setting.name: setting.flag for setting in settings(FinetuneConfig)}
    values = typed(COMMAND, FinetuneConfig, argv)
    for name in FIXED:
        if name in values:
            raise ElektronError(f"{flags[name]} is the comparison's own: leave it out")
    return build(
        FinetuneConfig, values | {"model": PRETRAINING, "out": Path()}, label=flags.__getitem__
    )
