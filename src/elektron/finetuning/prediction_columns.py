"""Add `predicted_…` columns to rows, under names that the rows do not have yet. `inference/output.py` writes them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.base import Prediction
from elektron.reporting.reading import PREFIX

log = logging.getLogger(__name__)

Row = dict[str, Any]


class PredictionColumns:
    """Adds predictions to the rows of one output, a chunk at a time.

    The prefix is repeated if the rows have a column of that name already.
    """

    def __init__(self) -> None:
        self._columns: set[str] = set()
        self._names: dict[str, str] = {}

    def rows(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> list[Row]:
        """Rows with their predictions; a prediction is renamed, with a warning, if a new column has its name."""
        for record in records:
            self._columns.update(record.columns)
            # Columns of the file that the first rows lack.
            self._columns.update(*(names.split(",") for names in record.names.values()))
        for name in dict.fromkeys(name for prediction in predictions for name in prediction):
            free = PREFIX + name
            while free in self._columns:
                free = PREFIX + free
            before = self._names.setdefault(name, free)
            if free != before:
                log.warning("a column %r appears only now: from here on the prediction is called %r", before, free)
                self._names[name] = free
        return [
            record.columns | {self._names[name]: value for name, value in prediction.items()}
            for record, prediction in zip(records, predictions, strict=True)
        ]
