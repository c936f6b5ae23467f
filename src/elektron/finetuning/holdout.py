"""Rows held out of the training rows for evaluation, drawn by the seed and stratified by class."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from elektron.errors import ElektronError
from elektron.finetuning.readers.records import Record

Classes = Callable[[Record], set[str]]
"""The labels or tags of a row."""


def split_share(sources: Sequence[str]) -> float | None:
    """The share of the training rows that is to be held out, where that is given for files.

    Raises:
        ElektronError: it is a number, but no share.
    """
    if len(sources) != 1:
        return None
    try:
        share = float(sources[0])
    except ValueError:
        return None
    if Path(sources[0]).exists():
        return None
    if not math.isfinite(share) or not 0 < share < 1:
        raise ElektronError(f"{sources[0]}: a share to hold out must lie between 0 and 1")
    return share


def hold_out(
    records: list[Record], share: float, seed: int, classes: Classes | None = None
) -> tuple[list[Record], list[Record]]:
    """The rows to train on and those held out, drawn by the seed, both in the order of the file.

    Args:
        records: the rows.
        share: of them that is held out.
        seed: of the draw.
        classes: of a row, where it has any: the draw is stratified, see `stratified`.

    Raises:
        ElektronError: there are too few rows for both.
    """
    count = round(len(records) * share)
    if not 0 < count < len(records):
        raise ElektronError(
            f"{share:g} of {len(records)} rows cannot be held out, {count} would be held out and "
            f"{len(records) - count} be left: give another share, or a file of its own"
        )
    drawn = stratified(records, len(records) - count, seed, classes)
    return (
        [record for index, record in enumerate(records) if index in drawn],
        [record for index, record in enumerate(records) if index not in drawn],
    )


def stratified(
    records: Sequence[Record], count: int, seed: int, classes: Classes | None = None
) -> set[int]:
    """Indices of `count` rows, drawn by the seed.

    With `classes`, each class gets its share of the rows, and at least one while there are enough; a
    row of several classes counts for the rarest of them.
    """
    order = list(range(len(records)))
    random.Random(seed).shuffle(order)
    if classes is None:
        return set(order[:count])
    names = [classes(record) for record in records]
    counts = Counter(name for found in names for name in found)
    strata: dict[str, list[int]] = {}
    for index in order:
        rarest = min(names[index], key=lambda name: (counts[name], name), default="")
        strata.setdefault(rarest, []).append(index)
    # The first row of each class, then those of all classes by their rank in it.
    queue = sorted(
        (rank > 0, (rank + 0.5) / len(rows) if rank else -len(rows), place, index)
        for place, rows in enumerate(strata.values())
        for rank, index in enumerate(rows)
    )
    return {index for *_, index in queue[:count]}
