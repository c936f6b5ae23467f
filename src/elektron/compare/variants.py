"""The variants of a comparison, and their compute budgets.

The variants are all combinations of the values of `--sweep`. A variant is named after its settings,
`objective=rtd,network.num_hidden_layers=4`, without those that all variants share. `config` varies the recipe, for
variants that need several settings of their own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from elektron.configuration import format_value
from elektron.errors import ElektronError
from elektron.pretraining.config import LENGTHS, PretrainConfig
from elektron.recipes import pretrain_config, recipe_path
from elektron.sweep import combinations, parse_item, parse_sweep

FIXED = ("data", "out", "seed", *LENGTHS)
"""Settings that the comparison sets."""
RECIPE = "config"


@dataclass(frozen=True)
class Budget:
    """The compute of one pre-training."""

    name: str
    """As typed: `10m`, `90s`, `2e15flops`."""
    kind: Literal["time", "flops"]
    amount: float
    """Seconds of training, or FLOPs of forward and backward passes."""


def parse_budget(text: str) -> Budget:
    """A budget as typed; ElektronError if it is not one."""
    name = text.strip().lower()
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\+?\d+)?)(s|m|h|flops)", name)
    if match is None or not 0 < float(match[1]) < math.inf:
        raise ElektronError(
            f"--budget must be a time such as 600s, 10m or 2h, or FLOPs such as 2e15flops, got {text!r}"
        )
    amount, unit = float(match[1]), match[2]
    if unit == "flops":
        return Budget(name, "flops", amount)
    return Budget(name, "time", amount * {"s": 1, "m": 60, "h": 3600}[unit])


def parse_budgets(texts: Sequence[str]) -> list[Budget]:
    """All budgets, the smallest first.

    Raises:
        ElektronError: one is not a budget, two are equal, or they are of both kinds.
    """
    budgets = sorted(map(parse_budget, texts), key=lambda budget: budget.amount)
    if len({budget.kind for budget in budgets}) > 1:
        raise ElektronError(f"--budget {' '.join(texts)}: give all as times or all as FLOPs")
    if len({budget.amount for budget in budgets}) < len(budgets):
        raise ElektronError(f"--budget {' '.join(texts)}: two budgets are equal")
    return budgets


@dataclass(frozen=True)
class Variant:
    """One way to pre-train."""

    name: str
    """Its name, and that of its folder."""
    recipe: str
    settings: dict[str, Any]
    """Settings in which it differs from the other variants; `config` is its recipe."""
    shared: dict[str, Any]
    """Settings of all variants."""

    def configured(self, budget: Budget, data: Path, out: Path, seed: int) -> PretrainConfig:
        """The configuration of one of its runs."""
        length = {"flops": budget.amount} if budget.kind == "flops" else {"minutes": budget.amount / 60}
        fixed = {"data": data, "out": out, "seed": seed} | length
        settings = self.shared | self.settings | fixed
        return pretrain_config(self.recipe, {name: value for name, value in settings.items() if name != RECIPE})


def variants(recipe: str, sweep: Sequence[str]) -> list[Variant]:
    """All variants, in the order of the values.

    Raises:
        ElektronError: a setting, value or recipe does not exist, or two variants are the same.
    """
    recipes = [item for item in sweep if parse_item(item)[0] == RECIPE]
    values = parse_sweep(PretrainConfig, [item for item in sweep if item not in recipes], FIXED)
    if len(recipes) > 1:
        raise ElektronError("--sweep: config is given twice: give all values in one list")
    for item in recipes:
        values = {RECIPE: parse_item(item)[1]} | values
    shared = {name: options[0] for name, options in values.items() if len(options) == 1}
    recipe = shared.pop(RECIPE, recipe)
    made: list[Variant] = []
    for settings in combinations({n: options for n, options in values.items() if len(options) > 1}):
        variant_recipe = str(settings.get(RECIPE, recipe))
        recipe_path(variant_recipe)
        name = folder_name(settings) or folder_name({RECIPE: variant_recipe}).partition("=")[2]
        if name in {variant.name for variant in made}:
            raise ElektronError(f"--sweep: two variants are named {name}")
        made.append(Variant(name, variant_recipe, settings, shared))
    return made


def folder_name(settings: Mapping[str, Any]) -> str:
    """The settings as the name of a folder: `objective=rtd,network.num_hidden_layers=4`."""
    texts = {name: format_value(value) for name, value in settings.items()}
    if Path(texts.get(RECIPE, "")).suffix in (".yaml", ".yml"):
        texts[RECIPE] = Path(texts[RECIPE]).stem
    safe = {name: re.sub(r"[^\w.+-]", "-", text) for name, text in texts.items()}
    return ",".join(f"{name}={text}" for name, text in safe.items())
