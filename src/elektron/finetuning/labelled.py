"""Read the labelled rows of `elektron finetune`: train, eval and test.

`--eval` and `--test` are files or the fraction of the training rows that is held out, stratified by class. The
classes are those of the whole training files, even if `--max-train` draws only some of their rows. Reasons why the
metrics may be too high are collected in `remarks`, which are reported with the metrics.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from elektron.errors import ElektronError, comma_list
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.roles import LAYOUTS
from elektron.finetuning.readers.values import UNLABELLED, true_classes
from elektron.finetuning.recipe import held_out_fraction
from elektron.finetuning.tasks.classification import label_names
from elektron.io.datasets import HUB

log = logging.getLogger(__name__)

CLASSIFICATION = "classification"
WITH_CLASSES = (CLASSIFICATION, "token-classification")
MAX_LOGGED = 20
DOUBTFUL = ("none", "na", "n/a", "?", "unknown")
"""Names that may mean that there is no label, but are classes in many data sets."""


@dataclass(frozen=True)
class Labelled:
    """The labelled records of `elektron finetune`."""

    train: list[Record]
    eval: list[Record]
    test: list[Record]
    """Empty without `--test`."""
    remarks: list[str] = field(default_factory=list)
    """Reasons why the metrics may be too high, such as a file that is both in `--train` and in `--test`."""
    all_train: list[Record] = field(default_factory=list)
    """All labelled rows of the training files, before any are held out or drawn."""

    @property
    def reported_on(self) -> str:
        """The rows whose metrics are reported: `test`, or `eval` where there are none."""
        return "test" if self.test else "eval"

    @property
    def reported(self) -> list[Record]:
        return self.test or self.eval


def read_labelled(config: FinetuneConfig) -> Labelled:
    """Read the rows of `--train`, `--eval` and `--test`.

    Raises:
        ElektronError: a file cannot be read, or no row is left for training or evaluation.
    """

    def read(files: Sequence[str], split: Literal["", "eval", "test"] = "") -> list[Record]:
        return list(read_records(files, LAYOUTS[config.task], config, labelled=True, split=split))

    def split(train: list[Record], name: Literal["eval", "test"]) -> tuple[list[Record], list[Record]]:
        """The remaining training rows, and the rows of the files or those held out of the training rows."""
        if (fraction := held_out_fraction(getattr(config, name))) is None:
            return train, with_label(read(getattr(config, name), name), classes)
        if getattr(config, f"{name}_columns"):
            raise ElektronError(f"--{name}-columns is for files, and --{name} is a fraction of --train")
        train, held_out = hold_out(train, fraction, config.seed, has_classes)
        purpose = "the test" if name == "test" else "evaluation"
        log.info("%d of the training rows are held out for %s", len(held_out), purpose)
        return train, held_out

    if config.test_columns and not config.test:
        raise ElektronError("--test-columns without --test: give the files that have these columns")
    has_classes = config.task in WITH_CLASSES
    all_train = read(config.train)
    classes = true_classes(class_counts(all_train)) if config.task == CLASSIFICATION else None
    train = all_train = with_label(all_train, classes)
    # Test rows are held out first, so that they do not depend on --eval.
    train, test = split(train, "test") if config.test else (train, [])
    train, held_out = split(train, "eval")
    if config.max_train is not None and config.max_train < len(train):
        drawn = stratified(train, config.max_train, config.seed, has_classes)
        train = [record for index, record in enumerate(train) if index in drawn]
    if has_classes:
        _log_classes(config.task, train)
    remarks = []
    if not test:
        remarks.append(
            "the metrics are computed on the rows that the model was chosen on, and therefore too high: "
            "give --test FILE, or a fraction of --train such as --test 0.2"
        )
    eval_files, test_files = ([] if held_out_fraction(files) else files for files in (config.eval, config.test))
    for files, others, remark in (
        (config.train, eval_files, "is both trained on and given as --eval"),
        (config.train, test_files, "is both trained on and given as --test"),
        (eval_files, test_files, "is given twice: for choosing the model (--eval) and for reporting (--test)"),
    ):
        resolved = {Path(name).resolve() for name in others}
        if common := [name for name in files if Path(name).resolve() in resolved]:
            # Without its folder, because remarks are published with the model.
            name = common[0] if common[0].startswith(HUB) else Path(common[0]).name
            remarks.append(f"{name} {remark}")
    for remark in remarks:
        log.warning("%s", remark)
    return Labelled(train, held_out, test, remarks, all_train)


def hold_out(
    records: list[Record], fraction: float, seed: int, by_class: bool = False
) -> tuple[list[Record], list[Record]]:
    """Split rows into training rows and held-out rows, both in their original order.

    Args:
        records: the rows.
        fraction: fraction of the rows that is held out.
        seed: seed of the random draw.
        by_class: whether the draw is stratified, see `stratified`.

    Raises:
        ElektronError: there are too few rows for both.
    """
    count = round(len(records) * fraction)
    if not 0 < count < len(records):
        raise ElektronError(
            f"{fraction:g} of {len(records)} rows cannot be held out ({count} held out, "
            f"{len(records) - count} left): give another fraction, or a file, with --eval or --test"
        )
    drawn = stratified(records, len(records) - count, seed, by_class)
    train = [record for index, record in enumerate(records) if index in drawn]
    held_out = [record for index, record in enumerate(records) if index not in drawn]
    return train, held_out


def stratified(records: Sequence[Record], count: int, seed: int, by_class: bool) -> set[int]:
    """Indices of `count` rows, drawn at random by the seed.

    With `by_class`, each class keeps its share of the rows, and has at least one if `count` allows. A row with
    several classes counts for the rarest of them.
    """
    order = list(range(len(records)))
    random.Random(seed).shuffle(order)
    if not by_class:
        return set(order[:count])
    names, counts = list(map(classes_of, records)), class_counts(records)
    strata: dict[str, list[int]] = {}
    for index in order:
        rarest = min(names[index], key=lambda name: (counts[name], name), default="")
        strata.setdefault(rarest, []).append(index)
    # The first row of each class, then the other rows by their relative rank within their class.
    queue = sorted(
        (rank > 0, (rank + 0.5) / len(rows) if rank else -len(rows), position, index)
        for position, rows in enumerate(strata.values())
        for rank, index in enumerate(rows)
    )
    return {index for *_, index in queue[:count]}


def with_label(records: list[Record], classes: Collection[str] | None) -> list[Record]:
    """Leave out the rows whose label means that they are unlabelled, such as `-` in SNLI.

    Args:
        records: labelled rows.
        classes: names of the classes; None for tasks without classes.

    Raises:
        ElektronError: no row is left.
    """
    if classes is None or not (markers := class_counts(records).keys() & (UNLABELLED - set(classes))):
        return records
    names = " or ".join(sorted(markers))
    labelled = [record for record in records if not classes_of(record) & markers]
    if not labelled:
        raise ElektronError(f"{records[0].where}: no row has a label, only {names}")
    count = f"{len(records) - len(labelled):,} of {len(records):,}"
    log.warning("%s rows have %s in place of a label and are left out", count, names)
    return labelled


def _log_classes(task: str, records: Sequence[Record]) -> None:
    """Log the classes of the training rows with their counts, and warn about names that may not be classes."""
    counts = class_counts(records)
    largest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_LOGGED]
    listed = ", ".join(f"{name} {count:,}" for name, count in largest)
    more = f" and {len(counts) - MAX_LOGGED:,} more" if len(counts) > MAX_LOGGED else ""
    log.info("%d training rows, %d classes: %s%s", len(records), len(counts), listed, more)
    if task != CLASSIFICATION:
        return
    doubtful = sorted(name for name in counts if name.casefold() in DOUBTFUL)
    if "-1" in counts and "0" in counts:  # with 1 as the only other name, -1 is a class
        doubtful.append("-1")
    if doubtful:
        names, rows = " or ".join(map(repr, doubtful)), f"{sum(counts[name] for name in doubtful):,}"
        log.warning("%s is a class here, with %s rows: drop them if it means that there is no label", names, rows)
    by_case = Counter(name.casefold() for name in counts)
    if similar := sorted(name for name in counts if by_case[name.casefold()] > 1):
        log.warning("these classes differ only in case: %s", comma_list(similar))


def class_counts(records: Iterable[Record]) -> Counter[str]:
    """How many rows each label or tag has."""
    return Counter(name for record in records for name in classes_of(record))


def classes_of(record: Record) -> set[str]:
    """The labels or tags of a row."""
    return set(record.values["tags"] if "tags" in record.values else label_names(record))
