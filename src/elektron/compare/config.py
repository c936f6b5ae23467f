"""The options of `elektron compare`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from elektron.configuration import ValidatedConfig, Within
from elektron.recipes import DEFAULT_RECIPE


@dataclass(kw_only=True)
class CompareConfig(ValidatedConfig):
    """Pre-train variants at equal compute, fine-tune each on probe tasks, and compare them over seeds."""

    config: str = DEFAULT_RECIPE
    """Recipe of all variants: a name, or the path of a YAML file."""
    data: Path
    """Folder of blocks, made by `elektron prepare`."""
    sweep: list[str] = field(default_factory=list)
    """Settings of `elektron pretrain` to vary, NAME=VALUE,VALUE …, in all combinations; a single value
    applies to all variants, and `config` varies the recipe."""
    budget: list[str]
    """Compute of each pre-training: time (600s, 10m, 2h) or FLOPs (2e15flops); several budgets
    make a curve."""
    probe: list[str]
    """Tasks to fine-tune on, each in quotes: the arguments of `elektron finetune`, without --model,
    --out and --seed; a name for the task may precede them, NAME=TASK …"""
    seeds: Annotated[int, Within(least=1, most=1000)] = 3
    """Each variant is pre-trained and fine-tuned with the seeds 1 to N."""
    out: Path
    """Folder for the runs and comparison.json, .md and .html; the same command again resumes."""
