"""The variants of a comparison: every combination of the values that its settings vary over.

A variant is named as its settings are typed, `objective=rtd,network.layers=4`, without those that
all variants share. The recipe itself is varied as `config`; a variant that needs several settings of
its own is then a recipe of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elektron.compare.budgets import Budget
from elektron.configuration import written
from elektron.errors import ElektronError
from elektron.pretraining.config import LENGTHS, PretrainConfig, resolve
from elektron.recipes import pretrain_config, recipe_path
from elektron.variation import combinations, split_item, values_to_try

FIXED = ("data", "out", "seed", *LENGTHS)
"""Settings that the comparison gives to each run."""
RECIPE = "config"


@dataclass(frozen=True)
class Variant:
    """One way to pre-train."""

    name: str
    """Also that of its folder."""
    recipe: str
    varied: dict[str, Any]
    """What tells it from the others; under `config` its recipe."""
    shared: dict[str, Any]
    """Settings of all variants."""

    def configured(
        self, tuned: Mapping[str, Any], budget: Budget, data: Path, out: Path, seed: int
    ) -> PretrainConfig:
        """The configuration of one of its runs.

        Raises:
            ElektronError: it cannot work; the message names the variant.
        """
        own = {name: value for name, value in self.varied.items() if name != RECIPE}
        fixed = {"data": data, "out": out, "seed": seed} | budget.length
        try:
            config = pretrain_config(self.recipe, self.shared | own | dict(tuned) | fixed)
            resolve(config)
        except ElektronError as error:
            name = ",".join(filter(None, [self.name, folder_name(tuned)]))
            raise ElektronError(f"variant {name}: {error}") from None
        return config


def variants(recipe: str, vary: Sequence[str]) -> list[Variant]:
    """All variants, in the order of the values.

    Raises:
        ElektronError: a setting or value that does not exist or cannot be varied, a recipe that
            does not exist, or two variants that are the same.
    """
    values = _values(vary)
    shared = {name: options[0] for name, options in values.items() if len(options) == 1}
    differing = {name: options for name, options in values.items() if len(options) > 1}
    recipe = shared.pop(RECIPE, recipe)
    found = []
    for varied in combinations(differing):
        own_recipe = str(varied.get(RECIPE, recipe))
        recipe_path(own_recipe)
        name = folder_name(varied) or _recipe_name(own_recipe)
        found.append(Variant(name, own_recipe, varied, shared))
    names = [variant.name for variant in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ElektronError(f"--vary: {twice[0]} is there twice")
    return found


def tuned_values(tune: Sequence[str], of: Sequence[Variant]) -> list[dict[str, Any]]:
    """All combinations of the values to tune over; one empty one where nothing is tuned.

    Raises:
        ElektronError: as `variants`, and where a setting is both varied and tuned.
    """
    values = values_to_try(PretrainConfig, tune, FIXED, "--tune")
    for name in values:
        if name in of[0].varied or name in of[0].shared:
            raise ElektronError(f"--tune: {name} is in --vary too: leave it out of one of them")
    return combinations(values)


def folder_name(chosen: Mapping[str, Any]) -> str:
    """`objective=rtd,network.layers=4`, without what has no place in a folder's name."""
    return ",".join(f"{name}={_value(name, value)}" for name, value in chosen.items())


def _values(vary: Sequence[str]) -> dict[str, list[Any]]:
    """The values of each setting, and of `config`, in the order that they were typed in."""
    named = [split_item(item, "--vary") for item in vary]
    items = [item for item, (name, _) in zip(vary, named, strict=True) if name != RECIPE]
    found = values_to_try(PretrainConfig, items, FIXED)
    recipes = [texts for name, texts in named if name == RECIPE]
    if len(recipes) > 1:
        raise ElektronError("--vary: config is named twice: give all its values at once")
    if recipes:
        found[RECIPE] = list(recipes[0])
    return {name: found[name] for name, _ in named}


def _value(name: str, value: Any) -> str:
    text = _recipe_name(value) if name == RECIPE else written(value)
    return re.sub(r"[^\w.+-]", "-", text)


def _recipe_name(recipe: str) -> str:
    return Path(recipe).stem if recipe.endswith((".yaml", ".yml")) else recipe
