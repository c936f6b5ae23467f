"""Which settings to try: `--sweep learning_rate=1e-4,3e-4 epochs=3,10` is the four combinations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from elektron import sweep
from elektron.finetuning.config import FilesConfig, FinetuneConfig

# What a search over would mean nothing: which data, where to, and the search itself.
FIXED = {"task", "model", "train", "eval", "test", "out", "baseline", "sweep", "seeds", "seed"} | {
    field.name for field in dataclasses.fields(FilesConfig)
}


def combinations(values: Sequence[str]) -> list[dict[str, Any]]:
    """All combinations of the values, each a mapping from a setting's dotted name; one empty mapping for none.

    Raises:
        ElektronError: a setting that does not exist or cannot be varied, or a value that does not fit.
    """
    return sweep.combinations(sweep.parse_sweep(FinetuneConfig, values, FIXED))
