"""The rows of a fine-tuning: to learn from, to choose on, and to be scored on once.

`--eval` is files or the share of the training rows that is held out by the seed, as many of each class
as it has of all rows. Classes are those of the whole training files, whatever is drawn of them. What makes
figures less than honest is collected in `remarks` and stands beside them wherever they go.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elektron.errors import ElektronError, comma_list
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.holdout import hold_out, split_share, stratified
from elektron.finetuning.readers.labels import UNLABELLED, true_classes
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.roles import Layout
from elektron.finetuning.tasks.classification import label_names
from elektron.io.datasets import HUB

log = logging.getLogger(__name__)


CLASSIFICATION = "classification"
WITH_CLASSES = (CLASSIFICATION, "token-classification")
MOST_SAID = 20
DOUBTFUL = ("none", "na", "n/a", "?", "unknown")
"""Names that may stand for no label, and are classes often enough to be taken for one."""


@dataclass(frozen=True)
class Labelled:
    """Labelled records of the three uses."""

    train: list[Record]
    eval: list[Record]
    test: list[Record]
    """Empty where no test files were given."""
    remarks: list[str] = field(default_factory=list)
    """What a reader of the figures must know."""
    whole: list[Record] = field(default_factory=list)
    """Of the training files, before anything was held out or drawn: the classes that there are."""

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
    classes = classes_of if config.task in WITH_CLASSES else None
    whole = list(read_records(config.train, layout, config, labelled=True))
    known = true_classes(class_counts(whole)) if config.task == CLASSIFICATION else None
    whole = with_label(whole, known)
    train = whole
    share = split_share(config.eval)
    if share is None:
        held_out = list(
            read_records(config.eval, layout, config, labelled=True, own="eval_columns")
        )
        held_out = with_label(held_out, known)
    else:
        if config.eval_columns:
            raise ElektronError("--eval-columns is for files, and --eval is a share of --train")
        train, held_out = hold_out(train, share, config.seed, classes)
        log.info("%d of the training rows are held out to choose on", len(held_out))
    if config.max_train is not None and config.max_train < len(train):
        drawn = stratified(train, config.max_train, config.seed, classes)
        train = [record for index, record in enumerate(train) if index in drawn]
    test: list[Record] = []
    if config.test:
        test = list(read_records(config.test, layout, config, labelled=True, own="test_columns"))
        test = with_label(test, known)
    elif config.test_columns:
        raise ElektronError("--test-columns without --test: give the files that have these columns")
    if classes is not None:
        say_classes(config.task, train)
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
    return Labelled(train, held_out, test, remarks, whole)


def with_label(records: list[Record], known: Collection[str] | None) -> list[Record]:
    """The rows that have a label, without those that are marked as having none; all where no classes are known.

    Raises:
        ElektronError: none is left.
    """
    markers = UNLABELLED - set(known) if known is not None else None
    if not markers:
        return records
    kept = [record for record in records if not classes_of(record) & markers]
    found = " or ".join(sorted(markers & class_counts(records).keys()))
    if not kept:
        raise ElektronError(f"{records[0].where}: no row has a label, only {found}")
    if len(kept) < len(records):
        count = f"{len(records) - len(kept):,} of {len(records):,}"
        log.warning("%s rows have %s in place of a label and are left out", count, found)
    return kept


def say_classes(task: str, records: Sequence[Record]) -> None:
    """The classes of the training rows with their counts, and which of them may be none."""
    counts = class_counts(records)
    most = [f"{name} {count:,}" for name, count in counts.most_common(MOST_SAID)]
    more = f" and {len(counts) - MOST_SAID:,} more" if len(counts) > MOST_SAID else ""
    log.info("%d training rows, %d classes: %s%s", len(records), len(counts), ", ".join(most), more)
    if task != CLASSIFICATION:
        return
    doubtful = sorted(name for name in counts if name.casefold() in DOUBTFUL)
    if "-1" in counts and "0" in counts:  # beside 1 alone it is a class
        doubtful.append("-1")
    if doubtful:
        log.warning(
            "%s is a class here, with %s rows: drop them if it stands for no label",
            " or ".join(map(repr, doubtful)),
            f"{sum(counts[name] for name in doubtful):,}",
        )
    by_case = Counter(name.casefold() for name in counts)
    if alike := sorted(name for name in counts if by_case[name.casefold()] > 1):
        log.warning("these classes differ by case alone: %s", comma_list(alike))


def class_counts(records: Iterable[Record]) -> Counter[str]:
    """How many rows each label or tag has."""
    return Counter(name for record in records for name in classes_of(record))


def classes_of(record: Record) -> set[str]:
    """The labels or tags of a row."""
    return set(record.values["tags"] if "tags" in record.values else label_names(record))


def same_files(some: Sequence[str], others: Sequence[str]) -> str:
    """The first file that is among both, without its folder: it is published with the model."""
    resolved = {str(Path(name).resolve()) for name in others}
    found = (name for name in some if str(Path(name).resolve()) in resolved)
    return next((name if name.startswith(HUB) else Path(name).name for name in found), "")
