"""The recipes that come with Elektron, and how a recipe and a caller's own settings are merged.

A recipe is a YAML file of `PretrainConfig`. It sets defaults; what the caller sets wins. Two
things need more than that. The length of a run is one of steps, tokens, minutes and flops, so giving
one takes away the recipe's. And a caller who asks for another family keeps the recipe's sizes
but not the settings that the recipe tuned for its own family (`FAMILY_FIELDS`), nor the generator's
width where the other family makes generators shallower.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from elektron.configuration import from_dict, read_yaml, validate
from elektron.errors import ElektronError, did_you_mean
from elektron.pretraining.compatibility import SHALLOWER_GENERATOR
from elektron.pretraining.config import (
    FAMILY_FIELDS,
    LENGTHS,
    PretrainConfig,
)

Config = TypeVar("Config", bound=PretrainConfig)

DEFAULT_RECIPE = "elektron-small"
"""Recipe of a run that names none."""
CONTINUE_RECIPE = "continue"
"""Recipe of a run with `init_from` that names none."""

# How a generator is made smaller is another thing in another kind of family.
_GENERATOR_FIELDS = (
    "network.embedding_size",
    "network.generator_width",
    "network.generator_layers",
)


def pretrain_config(
    recipe: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> PretrainConfig:
    """A recipe, by name or path, with some settings replaced.

    `overrides` may be nested or have dotted names: `{"steps": 100, "optimizer.learning_rate": 3e-4}`.
    Without a recipe it is DEFAULT_RECIPE. What the family decides is still None; `resolve` fills
    it in. Raises ElektronError for a recipe, name or value that does not exist or fit, and for
    more than one of steps, tokens, minutes and flops in the recipe or in the overrides.
    """
    return with_recipe(PretrainConfig, recipe, overrides)


def with_recipe(
    config_class: type[Config],
    recipe: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """As `pretrain_config`, for any configuration that has the settings of a pre-training."""
    own = validate(config_class, overrides or {})
    _at_most_one_length(own, "")
    continues = own.get("init_from") is not None
    path = recipe_path(recipe or (CONTINUE_RECIPE if continues else DEFAULT_RECIPE))
    base = validate(PretrainConfig, read_yaml(path), label=lambda name: f"{path}: {name}")
    _at_most_one_length(base, f"{path}: ")
    if continues:
        # The network is the checkpoint's; what is given besides is compared with it.
        base = {name: value for name, value in base.items() if not name.startswith("network.")}

    if any(own.get(length) is not None for length in LENGTHS):
        base = {name: value for name, value in base.items() if name not in LENGTHS}
    base_family = base.get("family", PretrainConfig.family)
    family = own.get("family", base_family)
    dropped: tuple[str, ...] = FAMILY_FIELDS if family != base_family else ()
    if (family in SHALLOWER_GENERATOR) != (base_family in SHALLOWER_GENERATOR):
        dropped += _GENERATOR_FIELDS
    base = {name: value for name, value in base.items() if name not in dropped}

    return from_dict(config_class, base | own)


def recipe_names() -> list[str]:
    """Names of the recipes that come with Elektron."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.yaml"))


def recipe_path(recipe: str | Path) -> Path:
    """File of a recipe: a bare name is one of `recipe_names`, anything else a path.

    Raises ElektronError, naming what is near, if there is no such recipe or file.
    """
    path = Path(recipe)
    if not str(recipe):
        raise ElektronError(f"which recipe? There are {', '.join(recipe_names())}")
    if path.name == str(recipe) and path.suffix not in (".yaml", ".yml"):
        if path.name in recipe_names():
            return Path(__file__).with_name(f"{path.name}.yaml")
        near = did_you_mean(path.name, recipe_names())
        raise ElektronError(
            f"no recipe is named {path.name}{near or '.'} There are {', '.join(recipe_names())}; "
            "your own is given by its path, NAME.yaml"
        )
    if not path.is_file():
        near = did_you_mean(path.stem, recipe_names())
        raise ElektronError(f"{path}: no such recipe file{near}")
    return path


def _at_most_one_length(values: Mapping[str, Any], where: str) -> None:
    given = [length for length in LENGTHS if values.get(length) is not None]
    if len(given) > 1:
        raise ElektronError(
            f"{where}{' and '.join(given)} exclude one another: give one of {', '.join(LENGTHS)}"
        )
