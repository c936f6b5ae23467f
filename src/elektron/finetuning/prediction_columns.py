"""Rows with what a model says of them: a row's own columns first, behind them the prediction.

A prediction has `predicted_` before its name, whatever the columns are called, so that it is always found
under the same name: once, and again only where a column has that name already. Names are those of all rows
that are written together, not of each.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.base import Prediction
from elektron.reporting.reading import PREFIX

log = logging.getLogger(__name__)

Row = dict[str, Any]


class Beside:
    """Puts predictions beside the rows of one output, which may come a part at a time."""

    def __init__(self) -> None:
        self._columns: set[str] = set()
        self._names: dict[str, str] = {}
        """What each name of a prediction has become."""

    def rows(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> list[Row]:
        """The next rows. A column that only they have may change a name; this is said aloud."""
        for record in records:
            self._columns.update(record.columns)
            # Those that the table has, also where the first rows lack them.
            self._columns.update(*(names.split(",") for names in record.names.values()))
        for name in dict.fromkeys(name for prediction in predictions for name in prediction):
            self._find_free(name)
        return [
            record.columns | {self._names[name]: value for name, value in prediction.items()}
            for record, prediction in zip(records, predictions, strict=True)
        ]

    def _find_free(self, name: str) -> None:
        free = PREFIX + name
        while free in self._columns:
            free = PREFIX + free
        before = self._names.get(name, free)
        if free != before:
            log.warning(
                "a column %r appears only now: from here on what the model says is called %r",
                before,
                free,
            )
        self._names[name] = free
