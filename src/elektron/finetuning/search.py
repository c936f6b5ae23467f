"""Which settings to try: `--vary learning_rate=1e-4,3e-4 epochs=3,10` is the four combinations."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from elektron.configuration import checked, settings, suggestion, written
from elektron.errors import ElektronError
from elektron.finetuning.config import FilesConfig, FinetuneConfig

# What a search over would mean nothing: which data, where to, and the search itself.
FIXED = {"task", "model", "train", "eval", "test", "out", "against", "vary", "seeds", "seed"} | {
    field.name for field in dataclasses.fields(FilesConfig)
}


def combinations(vary: Sequence[str]) -> list[dict[str, Any]]:
    """All combinations of the values, each a mapping from a setting's dotted name; one empty mapping for none.

    Raises:
        ElektronError: a setting that does not exist or cannot be varied, or a value that does not fit.
    """
    known = [s.name for s in settings(FinetuneConfig) if s.name not in FIXED]
    options: dict[str, list[Any]] = {}
    for item in vary:
        flag, equals, values = item.partition("=")
        name = flag.strip().lstrip("-").replace("-", "_")
        if not equals or not values:
            raise ElektronError(f"--vary takes NAME=VALUE,VALUE …, got {item!r}")
        if name not in known:
            near = suggestion(name, known)
            raise ElektronError(f"--vary: {name} cannot be varied{near or ': ' + ', '.join(known)}")
        options[name] = [
            checked(FinetuneConfig, {name: value.strip()}, label="--vary {}".format)[name]
            for value in values.split(",")
        ]
    return [
        dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())
    ]


def with_settings(config: FinetuneConfig, chosen: dict[str, Any]) -> FinetuneConfig:
    """The configuration with some settings, under dotted names, replaced."""
    for name, value in chosen.items():
        group, dot, inner = name.partition(".")
        if dot:
            changed = dataclasses.replace(getattr(config, group), **{inner: value})
            config = dataclasses.replace(config, **{group: changed})
        else:
            config = dataclasses.replace(config, **{name: value})
    return config


def in_words(chosen: dict[str, Any]) -> str:
    """`learning_rate 0.0003, epochs 3`."""
    return ", ".join(f"{name} {written(value)}" for name, value in chosen.items())
