"""The one way into labelled files, and rows held out of them."""

from __future__ import annotations

import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Literal

from elektron.errors import ElektronError
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.readers.columns import Request, records_of
from elektron.finetuning.readers.delimited import delimited_table, is_plain_text
from elektron.finetuning.readers.fasttext import fasttext_table, is_fasttext
from elektron.finetuning.readers.lines import Lines
from elektron.finetuning.readers.parallel import are_aligned, read_aligned
from elektron.finetuning.readers.records import Layout, Record, by_their_roles
from elektron.finetuning.readers.squad import read_squad
from elektron.finetuning.readers.tables import open_source
from elektron.finetuning.readers.tagged import read_tagged

log = logging.getLogger(__name__)

Classes = Callable[[Record], set[str]]
"""The labels or tags of a row."""


def read_records(
    sources: Sequence[str],
    layout: Layout,
    config: FilesConfig,
    labelled: bool,
    stdin: IO[bytes] | None = None,
    own: Literal["", "eval_columns", "test_columns"] = "",
) -> Iterator[Record]:
    """The rows of all sources in order, as a task wants them; nothing is read before the first.

    A source is a file, `hf:NAME[@REVISION][:config][:split]`, or `-` for standard input. `labelled` says
    whether labels must be there, as for training and scoring; to predict they are not needed. `own` is
    the setting with columns of these sources alone.

    Raises:
        ElektronError: a source cannot be read, lacks a column, or a row of it lacks a value.
    """
    if not sources:
        raise ElektronError("no file is given")
    request = Request.of(layout, config, labelled, own)
    if layout.shape == "parallel" and are_aligned(sources, request):
        yield from _some(" and ".join(sources), read_aligned(sources, config.encoding))
        return
    for source in sources:
        if layout.shape == "tagged":
            found = read_tagged(source, request, config, stdin)
        elif layout.shape == "squad":
            found = read_squad(source, request, config, stdin)
        else:
            found = _read_rows(source, request, config, stdin)
        yield from _some(source, found)


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


def _read_rows(
    source: str, request: Request, config: FilesConfig, stdin: IO[bytes] | None
) -> Iterator[Record]:
    found = open_source(source, stdin, config.encoding)
    if not isinstance(found, Lines):
        return records_of(found, request)
    if is_fasttext(found, request):
        return records_of(fasttext_table(found), request)
    if is_plain_text(found, request, config):
        return _plain_text(found, request)
    return records_of(delimited_table(found, request, config), request)


def _plain_text(lines: Lines, request: Request) -> Iterator[Record]:
    role = request.the_one_role
    if role is None:
        return
    log.info("%s: plain text, a line is a %s", lines.name, role.name)
    for number, line in lines:
        yield by_their_roles({role.name: line}, f"{lines.name}, line {number}")


def _some(source: str, found: Iterator[Record]) -> Iterator[Record]:
    """The same, refused at the end if there was nothing."""
    empty = True
    for record in found:
        empty = False
        yield record
    if empty:
        raise ElektronError(f"{source}: empty, there is no row in it")
