"""Settings with several values each: `NAME=VALUE,VALUE …` means all combinations of them.

For the search of `elektron finetune` and the variants of `elektron compare`. Names and values are those of
a configuration's dataclass.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from elektron.configuration import format_value, settings, suggest_setting, validate
from elektron.errors import ElektronError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Config = TypeVar("Config", bound=DataclassInstance)


def parse_item(item: str) -> tuple[str, list[str]]:
    """Parse `optimizer.learning_rate=1e-3,3e-3` into the setting's dotted name and the texts of its values.

    Raises ElektronError for another form.
    """
    flag, equals, values = item.partition("=")
    if not equals or not values:
        raise ElektronError(f"--sweep takes NAME=VALUE,VALUE …, got {item!r}")
    name = flag.strip().lstrip("-").replace("-", "_")
    return name, [value.strip() for value in values.split(",")]


def parse_sweep(cls: type, items: Iterable[str], fixed: Collection[str]) -> dict[str, list[Any]]:
    """The values of each setting that is named, each of the type of its field.

    Args:
        cls: dataclass of the settings.
        items: `NAME=VALUE,VALUE`, one for each setting.
        fixed: settings that cannot be varied.

    Raises:
        ElektronError: a setting that does not exist, cannot be varied or is named twice, or a value that does not fit.
    """
    names = [setting.name for setting in settings(cls) if setting.name not in fixed]
    sweep: dict[str, list[Any]] = {}
    for item in items:
        name, values = parse_item(item)
        if name not in names:
            near = suggest_setting(name, names) or f": {', '.join(names)}"
            raise ElektronError(f"--sweep: {name} cannot be varied{near}")
        if name in sweep:
            raise ElektronError(f"--sweep: {name} is given twice: give all values in one list")
        sweep[name] = [validate(cls, {name: value}, label="--sweep {}".format)[name] for value in values]
    return sweep


def combinations(values: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Every choice of one value for each setting; one empty choice where there are no settings."""
    return [dict(zip(values, choice, strict=True)) for choice in itertools.product(*values.values())]


def replace_settings(config: Config, chosen: Mapping[str, Any]) -> Config:
    """The configuration with some settings, under dotted names, replaced."""
    for name, value in chosen.items():
        group, dot, inner = name.partition(".")
        new = dataclasses.replace(getattr(config, group), **{inner: value}) if dot else value
        config = dataclasses.replace(config, **{group: new})
    return config


def format_settings(chosen: Mapping[str, Any]) -> str:
    """Settings on one line: `learning_rate 0.0003, epochs 3`."""
    return ", ".join(f"{name} {format_value(value)}" for name, value in chosen.items())
