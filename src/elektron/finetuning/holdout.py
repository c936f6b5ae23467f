"""Rows held out of the training rows for evaluation, drawn by the seed and stratified by class."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from elektron.errors import ElektronError
from elektron.finetuning.readers.records import Record

Classes = Callable[[Record], set[str]]
"""The labels or tags of a row."""


def held_out_fraction(sources: Sequence[str]) -> float | None:
    """The fraction of the training rows to hold out, where `--eval` is a number instead of files.

    Raises:
        ElektronError: the number is not between 0 and 1.
    """
    try:
        fraction = float(*sources)
    except (ValueError, TypeError):
        return None
    if not sources or Path(sources[0]).exists():
        return None
    if not 0 < fraction < 1:
        raise ElektronError(f"{sources[0]}: a fraction to hold out must be between 0 and 1")
    return fraction


def hold_out(
    records: list[Record], fraction: float, seed: int, classes: Classes | None = None
) -> tuple[list[Record], list[Record]]:
    """The rows to train on and the rows held out, both in the order of the file.

    Args:
        records: the rows.
        fraction: held out.
        seed: of the draw.
        classes: of a row, to stratify the draw, see `stratified`.

    Raises:
        ElektronError: there are too few rows for both.
    """
    count = round(len(records) * fraction)
    if not 0 < count < len(records):
        raise ElektronError(
            f"{fraction:g} of {len(records)} rows cannot be held out, {count} would be held out and "
            f"{len(records) - count} be left: give another fraction, or a file of its own"
        )
    drawn = stratified(records, len(records) - count, seed, classes)
    sides: tuple[list[Record], list[Record]] = ([], [])
    for index, record in enumerate(records):
        sides[index not in drawn].append(record)
    return sides


def stratified(records: Sequence[Record], count: int, seed: int, classes: Classes | None = None) -> set[int]:
    """Indices of `count` rows, drawn by the seed.

    With `classes`, each class gets its fraction of the rows, and at least one while there are enough; a
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
    # The first row of each class, then the rows of all classes by their rank in it.
    queue = sorted(
        (rank > 0, (rank + 0.5) / len(rows) if rank else -len(rows), position, index)
        for position, rows in enumerate(strata.values())
        for rank, index in enumerate(rows)
    )
    return {index for *_, index in queue[:count]}
