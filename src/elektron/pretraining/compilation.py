"""Decides whether a run uses `torch.compile`, and compiles its training step."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from typing import Any

import torch

from elektron.models.pair import Pair
from elektron.pretraining.config import PretrainConfig
from elektron.pretraining.objectives import Objective

log = logging.getLogger(__name__)

RECOMPILE_LIMIT = 64
COMPILED_FROM_FLOPS, COMPILED_FROM_SECONDS = 8e12, 180
"""On CPUs, runs of at least this length are compiled. Compiling the layers of a small pair takes half a
minute on two cores and saves a quarter of each step's time or more."""


def should_compile(config: PretrainConfig, device: torch.device, flops: float | None) -> bool:
    """Whether to compile a run: as configured, else on GPUs, and on CPUs for long runs of family `elektron`.

    By default, runs under FSDP and runs without the required C or C++ compiler are not compiled. On CPUs, compiling
    makes the other families, whose layers are those of transformers, slower (docs/benchmarks.md).

    Args:
        config: the settings of the run.
        device: where it is trained.
        flops: of the whole run, if its length determines them.
    """
    if config.compile is not None:
        return config.compile
    if config.parallel == "fsdp":
        return False
    if device.type == "cuda":
        # Triton needs a C compiler.
        has_compiler = any(map(shutil.which, filter(None, (os.environ.get("CC"), "gcc", "clang"))))
        if not has_compiler:
            log.warning("no C compiler found: the run is not compiled, and slower")
        return has_compiler
    # Inductor needs a C++ compiler.
    if config.family != "elektron" or shutil.which(os.environ.get("CXX", "g++")) is None:
        return False
    if config.minutes is not None:
        return config.minutes * 60 >= COMPILED_FROM_SECONDS
    return flops is not None and flops >= COMPILED_FROM_FLOPS


def compile_step(objective: Objective, pair: Pair, device: torch.device) -> Callable[..., Any]:
    """Compile the objective as a whole on GPUs, or each encoder layer of the pair in place on CPUs.

    On CPUs, compiling only the layers takes a fraction of the time, and steps are as fast.

    Returns:
        The objective to call.
    """
    torch.compiler.reset()  # earlier runs of this process count towards the recompile limit
    # The same code is compiled for both networks, with and without gradients, and for each stage of a curriculum.
    torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
    if device.type == "cpu":
        for layer in pair.encoder_layers():
            layer.compile(fullgraph=True, dynamic=False)
        return objective
    return torch.compile(objective, fullgraph=True, dynamic=False)
