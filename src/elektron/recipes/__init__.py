"""The recipes that come with Elektron, and how a recipe is merged with a caller's own settings.

A recipe is a YAML file of `PretrainConfig`; the caller's settings take precedence. The length of a run is set by one of
steps, tokens, minutes and flops, so a length from the caller replaces the recipe's. If the caller sets another family,
the recipe's sizes are kept, but the settings that are tuned for its own family (`FAMILY_FIELDS`) are dropped. So are
the sizes of the generator if one of the two families has a narrower generator and the other a shallower one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from elektron.configuration import from_dict, read_yaml, validate
from elektron.errors import ElektronError, did_you_mean
from elektron.pretraining.compatibility import SHALLOWER_GENERATOR
from elektron.pretraining.config import FAMILY_FIELDS, LENGTHS, PretrainConfig

Config = TypeVar("Config", bound=PretrainConfig)

DEFAULT_RECIPE = "elektron-small"
"""Recipe of a run that names none."""
CONTINUE_RECIPE = "continue"
"""Recipe of a run with `init_from` that names none."""

GENERATOR_FIELDS = ("network.embedding_size", "network.generator_width", "network.generator_layers")
"""Sizes of the generator, which some families make narrower and others shallower than the discriminator."""


def pretrain_config(recipe: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> PretrainConfig:
    """A recipe with some settings replaced.

    Args:
        recipe: name or path; by default DEFAULT_RECIPE, or CONTINUE_RECIPE with `init_from`.
        overrides: nested or with dotted names: `{"steps": 100, "optimizer.learning_rate": 3e-4}`.

    Returns:
        The configuration, in which settings that depend on the family are None; `resolve` sets them.

    Raises:
        ElektronError: a recipe, name or value does not exist or fit, or the recipe or the overrides have
            more than one of steps, tokens, minutes and flops.
    """
    return with_recipe(PretrainConfig, recipe, overrides)


def with_recipe(
    config_class: type[Config], recipe: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Like `pretrain_config`, for any configuration that has the settings of a pre-training."""
    changes = validate(config_class, overrides or {})
    path = recipe_path(default_recipe(changes) if recipe is None else recipe)
    base = validate(PretrainConfig, read_yaml(path), label=lambda name: f"{path}: {name}")
    for values, where in ((base, f"{path}: "), (changes, "")):
        given = [length for length in LENGTHS if values.get(length) is not None]
        if len(given) > 1:
            raise ElektronError(
                f"{where}{' and '.join(given)} cannot be used together: give one of {', '.join(LENGTHS)}"
            )
    dropped: set[str] = set()
    if changes.get("init_from") is not None:
        # The sizes are the checkpoint's; those that the caller sets are compared with it. Dropout is the recipe's.
        dropped.update(name for name in base if name.startswith("network.") and name != "network.dropout")
    if any(changes.get(length) is not None for length in LENGTHS):
        dropped.update(LENGTHS)
    family = changes.get("family", base.get("family", PretrainConfig.family))
    # A recipe for continued pre-training fits every family.
    continues = changes.get("init_from") or base.get("init_from")
    base_family = base.get("family", family if continues else PretrainConfig.family)
    if family != base_family:
        dropped.update(FAMILY_FIELDS)
    if (family in SHALLOWER_GENERATOR) != (base_family in SHALLOWER_GENERATOR):
        dropped.update(GENERATOR_FIELDS)
    kept = {name: value for name, value in base.items() if name not in dropped}
    return from_dict(config_class, kept | changes)


def default_recipe(settings: Mapping[str, Any]) -> str:
    """The recipe of a run with these settings that names none."""
    return DEFAULT_RECIPE if settings.get("init_from") is None else CONTINUE_RECIPE


def recipe_names() -> list[str]:
    """Names of the recipes that come with Elektron."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.yaml"))


def recipe_path(recipe: str | Path) -> Path:
    """File of a recipe: a bare name is one of `recipe_names`, anything else a path.

    Raises ElektronError with the nearest name if there is no such recipe or file.
    """
    path, names = Path(recipe), recipe_names()
    near = did_you_mean(path.stem, names)
    if path.name == str(recipe) and path.suffix not in (".yaml", ".yml"):
        if path.name in names:
            return Path(__file__).with_name(f"{path.name}.yaml")
        raise ElektronError(
            f"no recipe is named {path.name}{near or '.'} There are {', '.join(names)}; "
            "your own is given by its path, NAME.yaml"
        )
    if not path.is_file():
        raise ElektronError(f"{path}: no such recipe file{near}")
    return path
