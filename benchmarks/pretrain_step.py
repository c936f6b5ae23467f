"""How fast a pre-training step is, beside the loop that people write today on transformers' classes.

Every side trains the same two networks (transformers' Electra classes at ELECTRA-small's sizes,
dropout 0.1, embeddings tied) on rows of random tokens, and a step is all of it: masks, forward,
backward, clipping, AdamW. What differs is how:

- `elektron`: what `elektron pretrain --config electra-small` does: compiled on a GPU, eager on a CPU.
- `elektron, compiled`: the same with `--compile true`.
- `loop`: the loop as it is commonly written, eager, see `loop_people_write`.
- `loop, few samples`: the same by a more careful author, who draws tokens at masked positions only.
- `electra-pytorch`: the package of that name, if it is installed (`pip install --no-deps electra-pytorch`).

Each side lives in its own process, with its own memory allocator and threads, and waits without
work while another has its turn. Turns are taken in a circle, so that a busy machine slows all;
speeds are compared within a round. A GPU is used if there is one, in bf16 on every side.

    python benchmarks/pretrain_step.py --json benchmarks/results/pretrain_step.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.distributions import Categorical
from transformers import PreTrainedTokenizerBase

import elektron
from elektron.allocator import keep_freed_memory
from elektron.corpus.blocks import TOKENIZER, BlockStore, BlockWriter, Manifest
from elektron.device import Device
from elektron.models.pair import Pair
from elektron.pretraining.batches import Prefetcher
from elektron.pretraining.config import PretrainConfig, resolve
from elektron.pretraining.foundations import pair_for
from elektron.pretraining.loop import Trainer
from elektron.pretraining.plans import Plan
from elektron.pretraining.processes import Processes
from elektron.pretraining.run_folder import RunFolder
from elektron.recipes import pretrain_config

RECIPE = "electra-small"
TARGET = 2.0
VOCAB_SIZE = 30_522
SPECIAL_IDS = {"pad": 0, "unk": 100, "cls": 101, "sep": 102, "mask": 103}
FIRST_WORD = 1000
BLOCK_ROWS = 2048
ROWS_ON_CPU = 16
# Compiling, growing the heap and choosing kernels are over after so many steps.
WARMUP_STEPS = 2

# A run needs its tokenizer when it ends, which none here does.
NO_TOKENIZER = PreTrainedTokenizerBase()

Step = Callable[[], object]


@dataclass(frozen=True)
class Shape:
    """What is trained on what, the same on every side."""

    layers: int
    rows: int
    length: int

    @property
    def tokens(self) -> int:
        """Tokens in a step."""
        return self.rows * self.length

    @property
    def device(self) -> torch.device:
        """A GPU if there is one."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def precision(self) -> str:
        """Of matrix products."""
        return "bf16" if self.device.type == "cuda" else "fp32"

    def config(self, out: Path) -> PretrainConfig:
        """The recipe at this shape."""
        overrides = {
            "out": out,
            "batch": self.rows,
            "precision": self.precision,
            "network.layers": self.layers,
        }
        return resolve(pretrain_config(RECIPE, overrides))

    def autocast(self) -> torch.autocast:
        """Mixed precision for the sides that are not elektron."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def random_rows(self) -> Tensor:
        """`(rows, length)`: a batch without padding, made on the device."""
        rows = torch.randint(FIRST_WORD, VOCAB_SIZE, (self.rows, self.length), device=self.device)
        rows[:, 0], rows[:, -1] = SPECIAL_IDS["cls"], SPECIAL_IDS["sep"]
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    recipe = pretrain_config(RECIPE)
    default_rows = recipe.batch if torch.cuda.is_available() else ROWS_ON_CPU
    parser.add_argument("--rows", type=int, default=default_rows, help="rows in a step")
    parser.add_argument("--length", type=int, default=128, help="tokens in a row")
    parser.add_argument("--layers", type=int, default=recipe.network.layers)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="steps in a repetition")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/pretrain_step.json"))
    options = parser.parse_args()

    shape = Shape(options.layers, options.rows, options.length)
    result = compare(shape, options.repetitions, options.steps)
    show(result)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def compare(shape: Shape, repetitions: int, steps: int) -> dict[str, Any]:
    """Let all sides take turns, and put the figures together."""
    names = [name for name in SIDES if name != "electra-pytorch" or electra_pytorch_is_there()]
    sides = {name: Side(name, shape) for name in names}
    rounds = [
        {name: side.seconds(steps) for name, side in sides.items()} for _ in range(repetitions)
    ]
    for side in sides.values():
        side.close()

    speeds = {name: [steps * shape.tokens / seconds[name] for seconds in rounds] for name in sides}
    ratios = {
        name: [ours / theirs for ours, theirs in zip(speeds["elektron"], speeds[name], strict=True)]
        for name in sides
        if name != "elektron"
    }
    on_gpu = shape.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or "CPU",
        "threads": torch.get_num_threads(),
        "precision": shape.precision,
        "versions": {
            "elektron": elektron.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "recipe": RECIPE,
        "shape": asdict(shape) | {"vocab_size": VOCAB_SIZE},
        "steps_in_a_repetition": steps,
        "first_step_seconds": {name: side.first_step_seconds for name, side in sides.items()},
        "tokens_per_second": speeds,
        "median_tokens_per_second": {n: statistics.median(every) for n, every in speeds.items()},
        "speedup": {
            name: {"median": statistics.median(every), "min": min(every), "max": max(every)}
            for name, every in ratios.items()
        },
        "target": TARGET,
    }


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    shape = result["shape"]
    table = Table(
        title=f"{RECIPE}, {shape['layers']} layers, {shape['rows']} × {shape['length']} tokens a step, "
        f"{result['device']}, {result['threads']} threads, {result['precision']}"
    )
    table.add_column("side", no_wrap=True)
    for column in ("tokens/s", "min – max", "elektron / it", "1st, s"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, speeds in result["tokens_per_second"].items():
        speedup = result["speedup"].get(name)
        table.add_row(
            name,
            f"{statistics.median(speeds):,.0f}",
            f"{min(speeds):,.0f} – {max(speeds):,.0f}",
            "" if speedup is None else "{median:.2f} ({min:.2f} – {max:.2f})".format(**speedup),
            f"{result['first_step_seconds'][name]:.1f}",
        )
    console = Console()
    console.print(table)
    console.print(
        "Medians; ratios within each round. The first step, which compiles, is not in the speeds. "
        "Each side has its own process; elektron's keep freed memory, as `elektron pretrain` does."
    )
    if "electra-pytorch" not in result["tokens_per_second"]:
        console.print("electra-pytorch is not installed (pip install --no-deps electra-pytorch).")
    median = result["speedup"]["loop"]["median"]
    verdict = "at least" if median >= TARGET else "below"
    console.print(f"elektron / loop: {median:.2f}, {verdict} the {TARGET} asked for on 2 CPU cores")


class Side:
    """One side in its own process, as the measuring process sees it."""

    def __init__(self, name: str, shape: Shape) -> None:
        """Start the process and wait until it has warmed up."""
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(name, shape, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.first_step_seconds: float = self.connection.recv()
        print(f"{name} is ready, its first step took {self.first_step_seconds:.1f} s", flush=True)

    def seconds(self, steps: int) -> float:
        """How long so many steps take."""
        self.connection.send(steps)
        answer: float = self.connection.recv()
        return answer

    def close(self) -> None:
        """Let the process end."""
        self.connection.send(0)
        self.process.join()


def serve(name: str, shape: Shape, connection: Connection) -> None:
    """A side's process: warm up, then take steps when told to and say how long they took."""
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        step = make_step(name, shape, Path(folder))
        first_step_seconds = time_steps(step, 1)
        time_steps(step, WARMUP_STEPS)
        connection.send(first_step_seconds)  # only now, so that no side warms up in another's turn
        while steps := connection.recv():
            connection.send(time_steps(step, steps))


def make_step(name: str, shape: Shape, folder: Path) -> Step:
    """A side's networks and data, as a function that takes one step."""
    store = random_blocks(shape, folder / "blocks")
    return SIDES[name](shape, shape.config(folder / "run"), store)


def time_steps(step: Step, steps: int) -> float:
    """Seconds for so many steps, to the end of what a GPU has been given to do."""
    began = time.perf_counter()
    for _ in range(steps):
        step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def new_trainer(config: PretrainConfig, store: BlockStore) -> Trainer:
    """A run's trainer before its first step."""
    keep_freed_memory()
    on = Device.choose(config.precision)
    return Trainer(
        config,
        store,
        NO_TOKENIZER,
        networks(config, store),
        RunFolder.open(config, store),
        on,
        Processes(on.device),
        Plan(),
        words=None,
    )


def elektron_as_it_comes(shape: Shape, config: PretrainConfig, store: BlockStore) -> Step:
    """The recipe's own run, which decides by itself whether to compile."""
    trainer = new_trainer(config, store)
    prefetcher = Prefetcher(trainer.batches, 0)
    return lambda: trainer.step(prefetcher.take(), share=0.0, rate=1.0)


def elektron_compiled(shape: Shape, config: PretrainConfig, store: BlockStore) -> Step:
    """The recipe's run with `--compile true`."""
    return elektron_as_it_comes(shape, replace(config, compile=True), store)


def random_blocks(shape: Shape, folder: Path) -> BlockStore:
    """Blocks of random rows without padding."""
    (folder / TOKENIZER).mkdir(parents=True)
    manifest = Manifest(
        seq_len=shape.length,
        packing="paper",
        vocab_size=VOCAB_SIZE,
        tokenizer="",
        special_ids=SPECIAL_IDS,
        all_special_ids=list(SPECIAL_IDS.values()),
        corpus=[],
        options={},
    )
    rows = np.random.default_rng(1).integers(FIRST_WORD, VOCAB_SIZE, (BLOCK_ROWS, shape.length))
    rows[:, 0], rows[:, -1] = SPECIAL_IDS["cls"], SPECIAL_IDS["sep"]
    writer = BlockWriter(folder, manifest)
    writer.write("train", rows, documents=BLOCK_ROWS)
    writer.write("validation", rows, documents=BLOCK_ROWS)
    writer.finish(duplicates=0)
    return BlockStore.open(folder)


def loop_people_write(
    shape: Shape, config: PretrainConfig, store: BlockStore, sample_everywhere: bool = True
) -> Step:
    """The common loop: both models with their own heads and losses, labels of -100 where nothing is masked.

    The generator's head scores the whole vocabulary at every position, and a token is drawn at
    every position before the masked ones are taken, as in Simple Transformers.
    """
    pair = networks(config, store).to(shape.device).train()
    generator, discriminator = pair.generator, pair.discriminator
    assert generator is not None
    parameters = list(pair.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=5e-4, eps=1e-6, weight_decay=0.01)

    def step() -> None:
        input_ids = shape.random_rows()
        attention_mask = torch.ones_like(input_ids)
        maskable = (input_ids != SPECIAL_IDS["cls"]) & (input_ids != SPECIAL_IDS["sep"])
        chosen = (torch.rand(input_ids.shape, device=shape.device) < 0.15) & maskable
        becomes_mask = chosen & (torch.rand(input_ids.shape, device=shape.device) < 0.85)
        masked_ids = input_ids.masked_fill(becomes_mask, SPECIAL_IDS["mask"])
        labels = input_ids.masked_fill(~chosen, -100)

        with shape.autocast():
            generated = generator(masked_ids, attention_mask=attention_mask, labels=labels)
            with torch.no_grad():
                if sample_everywhere:
                    samples = Categorical(logits=generated.logits).sample()[chosen]
                else:
                    samples = Categorical(logits=generated.logits[chosen]).sample()
                corrupted_ids = input_ids.masked_scatter(chosen, samples)
            replaced = (corrupted_ids != input_ids).long()
            judged = discriminator(corrupted_ids, attention_mask=attention_mask, labels=replaced)
            loss = generated.loss + 50.0 * judged.loss

        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def loop_with_few_samples(shape: Shape, config: PretrainConfig, store: BlockStore) -> Step:
    """The common loop with tokens drawn where they are needed."""
    return loop_people_write(shape, config, store, sample_everywhere=False)


def electra_pytorch(shape: Shape, config: PretrainConfig, store: BlockStore) -> Step:
    """The package masks, samples and computes both losses; the loop around it is as its readme has it."""
    from electra_pytorch import Electra

    pair = networks(config, store).to(shape.device).train()
    assert pair.generator is not None
    electra = Electra(
        LogitsOnly(pair.generator),
        LogitsOnly(pair.discriminator),
        num_tokens=VOCAB_SIZE,
        mask_token_id=SPECIAL_IDS["mask"],
        pad_token_id=SPECIAL_IDS["pad"],
        mask_ignore_token_ids=[SPECIAL_IDS["cls"], SPECIAL_IDS["sep"]],
        mask_prob=0.15,
        replace_prob=0.85,
        disc_weight=50.0,
    ).to(shape.device)
    parameters = list(electra.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=5e-4, eps=1e-6, weight_decay=0.01)

    def step() -> None:
        input_ids = shape.random_rows()
        with shape.autocast():
            loss = electra(input_ids, attention_mask=torch.ones_like(input_ids)).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


class LogitsOnly(nn.Module):
    """`electra-pytorch` wants networks that return a tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.network(input_ids, attention_mask=attention_mask).logits
        return logits


def networks(config: PretrainConfig, store: BlockStore) -> Pair:
    """transformers' own generator and discriminator at the recipe's sizes, embeddings tied."""
    return pair_for(config, store.manifest)


def electra_pytorch_is_there() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("electra_pytorch") is not None


SIDES: dict[str, Callable[[Shape, PretrainConfig, BlockStore], Step]] = {
    "elektron": elektron_as_it_comes,
    "elektron, compiled": elektron_compiled,
    "loop": loop_people_write,
    "loop, few samples": loop_with_few_samples,
    "electra-pytorch": electra_pytorch,
}


if __name__ == "__main__":
    main()
