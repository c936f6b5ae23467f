"""Speed of a pre-training step, compared with the common loop on transformers' classes and other packages.

Every side trains the same two networks (transformers' Electra classes at ELECTRA-small's sizes, dropout 0.1,
tied embeddings) on random tokens. A step is masking, forward, backward, clipping and AdamW.

- `elektron`: `elektron pretrain --config electra-small --compile true`, in the device's default precision.
- `elektron, eager`: the same with `--compile false`.
- `loop`: the common loop, see `common_loop`.
- `loop, few samples`: the same, sampling at masked positions only.
- `electra-pytorch`, `txtai` (task `token-detection`), `simpletransformers` (ELECTRA): the step of these
  packages, if installed (`pip install --no-deps`).

The loop and the packages run eager, in fp32 on a CPU and under bf16 autocast on a GPU. A second table has the
MFU of elektron's sides, and of `elektron-small`, relative to the measured rate of matrix products.

Each side has its own process. Sides alternate, so that other jobs slow all of them; ratios are computed within a round.

    python benchmarks/pretrain_step.py --rounds 5
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from common import Side, machine, median_and_range, new_parser, print_table, print_target, ratios, save
from elektron.recipes import pretrain_config
from pretrain_sides import (
    ELECTRA_RECIPE,
    ELEKTRON_RECIPE,
    ELEKTRON_SIDES,
    PACKAGES,
    SIDES,
    VOCAB_SIZE,
    Shape,
    make_training,
    step_seconds,
)

TARGET, TARGET_WITH_AMX = 3.0, 6.0  # speed relative to the loop, on a CPU
MFU_TARGET_WITH_AMX = 0.2  # of elektron-small
ROWS_ON_CPU = 16


def main() -> None:
    recipe = pretrain_config(ELECTRA_RECIPE)
    default_rows = recipe.batch_size if torch.cuda.is_available() else ROWS_ON_CPU
    parser = new_parser(__doc__, "pretrain_step")
    parser.add_argument("--rows", type=int, default=default_rows, help="rows per step")
    parser.add_argument("--length", type=int, default=128, help="tokens per row")
    parser.add_argument("--layers", type=int, default=recipe.network.num_hidden_layers)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="per side and round")
    options = parser.parse_args()
    result = compare(Shape(options.layers, options.rows, options.length), options.rounds, options.seconds)
    show(result)
    save(result, options.json)


def compare(shape: Shape, rounds: int, seconds: float) -> dict[str, Any]:
    """Measure all sides alternately."""
    names = [name for name in SIDES if name not in PACKAGES or can_import(PACKAGES[name])]
    with tempfile.TemporaryDirectory() as folder:
        sides = {name: Side(start, name, shape, Path(folder, name)) for name in names}
        times = [{name: side.run(seconds) for name, side in sides.items()} for _ in range(rounds)]
        for side in sides.values():
            side.close()
    facts = {name: side.ready for name, side in sides.items()}
    speeds = {name: [shape.tokens / each[name] for each in times] for name in sides}
    # The highest rate that any side has measured in a precision, because other jobs lower it.
    peaks: dict[str, float] = {}
    for fact in facts.values():
        peaks[fact["precision"]] = max(peaks.get(fact["precision"], 0.0), fact["peak_flops"])
    return machine() | {
        "product_flops_per_second": peaks,
        "shape": asdict(shape) | {"vocab_size": VOCAB_SIZE},
        "sides": {name: facts[name] | {"tokens_per_second": speeds[name]} for name in sides},
        "speedup": {
            name: median_and_range(ratios(speeds["elektron"], theirs))
            for name, theirs in speeds.items()
            if name != "elektron" and name not in ELEKTRON_SIDES
        },
        "mfu": {
            name: median_and_range([fact["flops"] / each[name] / fact["peak_flops"] for each in times])
            for name, fact in facts.items()
            if fact["flops"]
        },
    }


def can_import(module: str) -> bool:
    """Whether a package's module can be imported; prints why not."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        print(f"{module} cannot be imported and is left out: {error}", flush=True)
        return False
    return True


def show(result: dict[str, Any]) -> None:
    """Print the tables and the targets."""
    shape, sides = result["shape"], result["sides"]
    print(f"{shape['layers']} layers, {shape['rows']} × {shape['length']} tokens per step")

    def row(name: str, *cells: str) -> list[str]:
        side = sides[name]
        tokens = median_and_range(side["tokens_per_second"])
        precision = side["precision"] + (", compiled" if side["compiled"] else "")
        speed = "{median:,.0f} ({min:,.0f} – {max:,.0f})".format(**tokens)
        return [name, precision, speed, *cells]

    speedup = {
        name: "{median:.2f} ({min:.2f} – {max:.2f})".format(**ratio) for name, ratio in result["speedup"].items()
    }
    print_table(
        ELECTRA_RECIPE,
        ("side", "precision", "tokens/s (min – max)", "elektron / it", "first step, s"),
        [
            row(name, speedup.get(name, ""), f"{side['first_step_seconds']:.1f}")
            for name, side in sides.items()
            if name not in ELEKTRON_SIDES
        ],
    )
    peaks = result["product_flops_per_second"]
    print_table(
        "fraction of the rate of matrix products",
        ("side", "precision", "tokens/s (min – max)", "products, TFLOP/s", "MFU"),
        [
            row(
                name,
                f"{peaks[sides[name]['precision']] / 1e12:.3f}",
                "{median:.1%} ({min:.1%} – {max:.1%})".format(**mfu),
            )
            for name, mfu in result["mfu"].items()
        ],
    )
    amx = "amx_bf16" in result["kind"]
    target = TARGET_WITH_AMX if amx else TARGET
    print_target("elektron / loop", result["speedup"]["loop"]["median"], target)
    if amx:
        print_target(f"MFU of {ELEKTRON_RECIPE}", result["mfu"][ELEKTRON_RECIPE]["median"], MFU_TARGET_WITH_AMX)


def start(name: str, shape: Shape, folder: Path) -> tuple[dict[str, Any], Callable[[float], float]]:
    """Prepare and warm up a side in its process. Returns its facts and a function that times it."""
    torch.manual_seed(1)
    training = make_training(name, shape, folder)
    training.first_step_seconds = step_seconds(training.step, 1)  # compiles, chooses kernels
    expected = step_seconds(training.step, 1)
    print(f"{name} is ready, first step {training.first_step_seconds:.1f} s", flush=True)

    def measure(seconds: float) -> float:
        """Seconds per step, over as many steps as fit into `seconds`, at least one."""
        return step_seconds(training.step, max(1, round(seconds / expected)))

    return training.facts(), measure


if __name__ == "__main__":
    main()
