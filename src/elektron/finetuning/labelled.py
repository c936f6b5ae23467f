"""The rows of a fine-tuning: to learn from, to choose on, and to be scored on once.

`--eval` is files or the share of the training rows that is held out by the seed. What makes
figures less than honest is collected in `remarks` and stands beside them wherever they go.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.files.read import hold_out, read_records, split_share
from elektron.finetuning.files.records import Layout, Record
from elektron.reading import HUB

log = logging.getLogger(__name__)


WITH_CLASSES = ("classification", "token-classification")


@dataclass(frozen=True)
class Labelled:
    """Labelled records of the three uses."""

    train: list[Record]
    eval: list[Record]
    test: list[Record]
    """Empty where no test files were given."""
    remarks: list[str] = field(default_factory=list)
    """What a reader of the figures must know."""

    @property
    def reported_on(self) -> str:
        """The rows whose figures are reported: `test`, or `eval` where there are none."""
        return "test" if self.test else "eval"

    @property
    def reported(self) -> list[Record]:
        return self.test or self.eval


def read_labelled(config: FinetuneConfig, layout: Layout) -> Labelled:
    """All rows that a configuration names.

    Raises:
        ElektronError: a file cannot be read, or nothing is left to train or to choose on.
    """
    train = list(read_records(config.train, layout, config, labelled=True))
    share = split_share(config.eval)
    if share is None:
        held_out = list(read_records(config.eval, layout, config, labelled=True))
    else:
        train, held_out = hold_out(train, share, config.seed)
        log.info("%d of the training rows are held out to choose on", len(held_out))
    if config.max_train is not None and config.max_train < len(train):
        train = random.Random(config.seed).sample(train, config.max_train)
    if share is not None and config.task in WITH_CLASSES:
        train, held_out = with_known_classes(train, held_out)
    test = list(read_records(config.test, layout, config, labelled=True)) if config.test else []
    remarks = []
    if not test:
        remarks.append(
            "the figures are of the rows that the model was chosen on, and flatter it: "
            "--test FILE gives figures of rows that nothing was chosen on"
        )
    for name, files in (("--eval", config.eval), ("--test", config.test)):
        if share is not None and name == "--eval":
            continue
        if common := same_files(config.train, files):
            remarks.append(f"{common} is both trained on and given as {name}")
    if common := same_files(config.eval, config.test):
        remarks.append(f"{common} is both chosen on and reported on")
    for remark in remarks:
        log.warning("%s", remark)
    return Labelled(train, held_out, test, remarks)


def with_known_classes(
    train: list[Record], held_out: list[Record]
) -> tuple[list[Record], list[Record]]:
    """Move held-out rows to the training rows whose label or tag no training row has: chance left it out."""
    known = {name for record in train for name in classes_of(record)}
    unknown = [record for record in held_out if not classes_of(record) <= known]
    if not unknown or len(unknown) == len(held_out):
        return train, held_out
    log.info("%d held-out rows have labels of their own and are trained on", len(unknown))
    return train + unknown, [record for record in held_out if classes_of(record) <= known]


def classes_of(record: Record) -> set[str]:
    """The labels or tags of a row."""
    found = record.values["tags"] if "tags" in record.values else record.values["label"]
    return {str(name) for name in found} if isinstance(found, list) else {str(found)}


def same_files(some: Sequence[str], others: Sequence[str]) -> str:
    """The first file that is among both, without its folder: it is published with the model."""
    resolved = {str(Path(name).resolve()) for name in others}
    found = (name for name in some if str(Path(name).resolve()) in resolved)
    return next((name if name.startswith(HUB) else Path(name).name for name in found), "")
