"""Training speed of the recipes on this GPU: tokens per second, MFU and memory, eager and compiled.

A step is that of `elektron pretrain`: batches prepared in the background, masking, forward, backward, clipping,
update. Batches have the recipes' sizes, with random tokens and no padding, in the device's default precision.
If one does not fit, micro-batches are halved until they do. MFU is relative to the measured rate of matrix
products (`Accelerator.peak_flops`); `Objective.step_flops` counts those of a step.

    python benchmarks/gpu_check.py --json benchmarks/results/gpu_check.json
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from common import machine, new_parser, print_table, save
from elektron.accelerator import Accelerator
from elektron.corpus.blocks import BlockStore
from elektron.pretraining.batches import Prefetcher
from elektron.pretraining.config import PretrainConfig, resolve
from elektron.recipes import pretrain_config
from pretrain_sides import Shape, new_trainer, random_blocks, step_seconds

# Tokens per row of each recipe.
LENGTHS = {"electra-small": 128, "elektron-small": 128, "electra-base": 512, "elektron-base": 512}
WARMUP_STEPS = 4
REPETITIONS, SECONDS_A_REPETITION = 3, 3.0
TINY = {"batch_size": 2, "network.num_hidden_layers": 1}
TINY_LENGTH = 16


def main() -> None:
    parser = new_parser(__doc__, "gpu_check")
    parser.add_argument("--recipes", nargs="+", choices=LENGTHS, default=list(LENGTHS))
    parser.add_argument("--tiny", action="store_true", help="one layer of each, eager, on any device")
    options = parser.parse_args()
    if not torch.cuda.is_available() and not options.tiny:
        sys.exit("gpu_check: torch sees no GPU; --tiny tries the program without one")

    peak = Accelerator.choose().peak_flops
    rows = []
    for recipe in options.recipes:
        micro_batch = None
        for compiled in (False,) if options.tiny else (False, True):
            row = measure(recipe, compiled, micro_batch, options.tiny)
            micro_batch = row["micro_batch"]
            rows.append(row | {"mfu": row["flops_per_second"] / peak})
            print(json.dumps(rows[-1]), flush=True)
    result = machine() | {"product_flops_per_second": peak, "rows": rows}
    save(result, options.json)
    show(result)


def measure(recipe: str, compiled: bool, micro_batch: int | None, tiny: bool) -> dict[str, Any]:
    """Measure a recipe with the largest micro-batch of at most `micro_batch` rows that fits."""
    overrides: dict[str, Any] = TINY if tiny else {}
    length = TINY_LENGTH if tiny else LENGTHS[recipe]
    while True:
        with tempfile.TemporaryDirectory() as folder:
            run = {"out": Path(folder) / "run", "compile": compiled, "micro_batch_size": micro_batch}
            config = resolve(pretrain_config(recipe, overrides | run))
            assert config.network.num_hidden_layers is not None
            shape = Shape(config.network.num_hidden_layers, config.batch_size, length)
            store = random_blocks(shape, Path(folder) / "blocks")
            try:
                return timed_steps(recipe, config, store, 0.0 if tiny else SECONDS_A_REPETITION)
            except torch.OutOfMemoryError:
                micro_batch = (micro_batch or config.batch_size) // 2
                if micro_batch == 0:
                    raise
        free_memory()  # outside of `except`, whose traceback keeps the networks alive


def timed_steps(recipe: str, config: PretrainConfig, store: BlockStore, seconds_a_repetition: float) -> dict[str, Any]:
    """Warm up, then time several repetitions; `data_wait_share` is the fraction of time spent waiting for batches."""
    free_memory()
    trainer = new_trainer(config, store)
    prefetcher = Prefetcher(trainer.batches, 0)

    def step() -> None:
        trainer.train_step(prefetcher.take(), fraction=0.0, factor=1.0)

    try:
        first_step_seconds = step_seconds(step, 1)
        steps = max(1, round(seconds_a_repetition / step_seconds(step, WARMUP_STEPS)))
        flops, waited = trainer.progress.flops, prefetcher.waited_seconds
        repetitions = [step_seconds(step, steps) for _ in range(REPETITIONS)]
        flops, waited = trainer.progress.flops - flops, prefetcher.waited_seconds - waited
    finally:
        prefetcher.close()
    seconds = statistics.median(repetitions)
    length = store.manifest.seq_len
    return {
        "recipe": recipe,
        "compiled": bool(config.compile),
        "rows": config.batch_size,
        "length": length,
        "micro_batch": config.micro_batch_size or config.batch_size,
        "first_step_seconds": first_step_seconds,
        "step_seconds": seconds,
        "tokens_per_second": config.batch_size * length / seconds,
        "flops_per_second": flops / (REPETITIONS * steps) / seconds,
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        "data_wait_share": waited / (steps * sum(repetitions)),
    }


def free_memory() -> None:
    """Free the memory of an earlier run, and reset the peak."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def show(result: dict[str, Any]) -> None:
    """Print the table."""

    def cells(row: dict[str, Any]) -> list[str]:
        memory = row["peak_memory_bytes"]
        return [
            row["recipe"] + (", compiled" if row["compiled"] else ""),
            f"{row['rows']} × {row['length']}",
            str(row["micro_batch"]),
            f"{row['first_step_seconds']:.1f}",
            f"{1000 * row['step_seconds']:.1f}",
            f"{row['tokens_per_second']:,.0f}",
            f"{row['mfu']:.1%}",
            "" if memory is None else f"{memory / 2**30:.1f}",
            f"{row['data_wait_share']:.0%}",
        ]

    print_table(
        f"matrix products at {result['product_flops_per_second'] / 1e12:,.0f} TFLOP/s",
        ("recipe", "rows", "micro", "1st, s", "step, ms", "tokens/s", "MFU", "GiB", "wait"),
        map(cells, result["rows"]),
    )


if __name__ == "__main__":
    main()
