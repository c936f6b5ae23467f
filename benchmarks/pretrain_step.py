"""How fast a pre-training step is, beside the loop that people write today on transformers' classes.

Every side trains the same two networks (transformers' Electra classes at ELECTRA-small's sizes,
dropout 0.1, embeddings tied) on rows of random tokens, and a step is all of it: masks, forward,
backward, clipping, AdamW. What differs is how:

- `elektron`: what `elektron pretrain --config electra-small` does: compiled, in the precision that
  the device gets by default.
- `elektron, eager`: the same with `--compile false`.
- `loop`: the loop as it is commonly written, see `loop_people_write`.
- `loop, few samples`: the same by a more careful author, who draws tokens at masked positions only.
- `electra-pytorch`, `txtai` (task `token-detection`), `simpletransformers` (its ELECTRA model): what
  these packages compute in a step, if they are installed (`pip install --no-deps` is enough).

The loop and the packages run eager, in fp32 on a CPU and under bf16 autocast on a GPU. Then the sides
of `elektron-small`, Elektron's own encoder, and for all of elektron's sides the share of the device's
rate of matrix products (`Device.peak_flops`, measured) that the products of a step make up
(`pretraining/flops.py` counts them).

Each side lives in its own process, with its own memory allocator and threads, and waits without
work while another has its turn. Turns are taken in a circle, so that a busy machine slows all;
speeds are compared within a round.

    python benchmarks/pretrain_step.py --json benchmarks/results/pretrain_step.json
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
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
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.distributions import Categorical
from transformers import ElectraConfig, PreTrainedModel, PreTrainedTokenizerBase

from elektron.allocator import keep_freed_memory
from elektron.corpus.blocks import TOKENIZER, BlockStore, BlockWriter
from elektron.corpus.manifest import Manifest
from elektron.device import Device, cpu_info, same_bits
from elektron.models.pair import Pair
from elektron.pretraining.batches import Prefetcher
from elektron.pretraining.config import PretrainConfig, resolve
from elektron.pretraining.distributed import World
from elektron.pretraining.export import versions
from elektron.pretraining.objectives import UpdateRoles
from elektron.pretraining.plans import Plan
from elektron.pretraining.run_folder import RunFolder
from elektron.pretraining.setup import pair_for
from elektron.pretraining.train import Trainer
from elektron.recipes import pretrain_config

RECIPE, OWN_RECIPE = "electra-small", "elektron-small"
TARGET, TARGET_WITH_AMX = 3.0, 6.0
"""How many times as fast as the loop on a CPU."""
MFU_TARGET_WITH_AMX = 0.2
"""Of `elektron-small`."""
VOCAB_SIZE = 30_522
SPECIAL_IDS = {"pad": 0, "unk": 100, "cls": 101, "sep": 102, "mask": 103}
FIRST_WORD = 1000
BLOCK_ROWS = 2048
ROWS_ON_CPU = 16
DISCRIMINATOR_WEIGHT = 50.0

# A run needs its tokenizer when it ends, which none here does.
NO_TOKENIZER = PreTrainedTokenizerBase()


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

    def config(self, recipe: str, out: Path) -> PretrainConfig:
        """A recipe at this shape."""
        overrides = {"out": out, "batch_size": self.rows, "network.num_hidden_layers": self.layers}
        return resolve(pretrain_config(recipe, overrides))

    def random_rows(self) -> Tensor:
        """`(rows, length)`: a batch without padding, made on the device."""
        rows = torch.randint(FIRST_WORD, VOCAB_SIZE, (self.rows, self.length), device=self.device)
        rows[:, 0], rows[:, -1] = SPECIAL_IDS["cls"], SPECIAL_IDS["sep"]
        return rows

    def masked_rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """A batch, the same with masks, and labels of -100 where nothing is masked, each `(rows, length)`."""
        input_ids = self.random_rows()
        maskable = (input_ids != SPECIAL_IDS["cls"]) & (input_ids != SPECIAL_IDS["sep"])
        chosen = (torch.rand(input_ids.shape, device=self.device) < 0.15) & maskable
        becomes_mask = chosen & (torch.rand(input_ids.shape, device=self.device) < 0.85)
        masked_ids = input_ids.masked_fill(becomes_mask, SPECIAL_IDS["mask"])
        return input_ids, masked_ids, input_ids.masked_fill(~chosen, -100)


@dataclass(frozen=True)
class Facts:
    """What a side says of itself."""

    precision: str
    compiled: bool = False
    flops: int = 0
    """Of the matrix products of a step, where they are counted."""
    peak_flops: float = 0.0
    """The device's, a second."""


@dataclass(frozen=True)
class Training:
    """A side's networks and data, ready to take steps."""

    step: Callable[[], object]
    facts: Facts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    recipe = pretrain_config(RECIPE)
    default_rows = recipe.batch_size if torch.cuda.is_available() else ROWS_ON_CPU
    parser.add_argument("--rows", type=int, default=default_rows, help="rows in a step")
    parser.add_argument("--length", type=int, default=128, help="tokens in a row")
    parser.add_argument("--layers", type=int, default=recipe.network.num_hidden_layers)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of a side's roles, which has a step at least"
    )
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/pretrain_step.json"))
    options = parser.parse_args()

    shape = Shape(options.layers, options.rows, options.length)
    result = compare(shape, options.rounds, options.seconds)
    show(result)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def compare(shape: Shape, rounds: int, seconds: float) -> dict[str, Any]:
    """Let all sides take turns, and put the figures together."""
    sides = {
        name: Side(name, shape) for name in SIDES if name not in PACKAGES or imports(PACKAGES[name])
    }
    turns = [{name: side.turn(seconds) for name, side in sides.items()} for _ in range(rounds)]
    for side in sides.values():
        side.close()

    speeds = {name: [shape.tokens / turn[name] for turn in turns] for name in sides}
    # The best that any side has measured of a precision: other jobs make it less.
    peaks: dict[str, float] = {}
    for side in sides.values():
        peak = max(peaks.get(side.facts.precision, 0.0), side.facts.peak_flops)
        peaks[side.facts.precision] = peak
    on_gpu = shape.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else cpu_info().get("model name", "CPU"),
        "kind": Device.choose().kind,
        "threads": torch.get_num_threads(),
        "product_flops_per_second": peaks,
        "versions": versions(),
        "shape": asdict(shape) | {"vocab_size": VOCAB_SIZE},
        "sides": {
            name: asdict(side.facts)
            | {
                "first_step_seconds": side.first_step_seconds,
                "tokens_per_second": speeds[name],
                "median_tokens_per_second": statistics.median(speeds[name]),
            }
            for name, side in sides.items()
        },
        "speedup": {
            name: spread(
                [ours / theirs for ours, theirs in zip(speeds["elektron"], theirs, strict=True)]
            )
            for name, theirs in speeds.items()
            if name != "elektron" and name not in OWN_SIDES
        },
        "mfu": {
            name: spread([side.facts.flops / turn[name] / side.facts.peak_flops for turn in turns])
            for name, side in sides.items()
            if side.facts.flops
        },
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median and extremes."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def imports(module: str) -> bool:
    """Whether a package's module can be imported; says so if not."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        print(f"{module} cannot be imported and is left out: {error}", flush=True)
        return False
    return True


def show(result: dict[str, Any]) -> None:
    """Print the tables, and how they compare with what is aimed at."""
    shape, sides, console = result["shape"], result["sides"], Console(width=130)
    on_what = f"{result['device']} ({result['kind']}), {result['threads']} threads"
    console.print(
        f"{on_what}, torch {result['versions']['torch']}, transformers "
        f"{result['versions']['transformers']}; {shape['layers']} layers, "
        f"{shape['rows']} × {shape['length']} tokens a step",
        soft_wrap=True,
    )
    table = new_table(
        RECIPE, "side", "precision", "tokens/s", "min – max", "elektron / it", "1st, s"
    )
    for name, side in sides.items():
        if name not in OWN_SIDES:
            ratio = result["speedup"].get(name)
            table.add_row(
                *row_start(name, side),
                "" if ratio is None else "{median:.2f} ({min:.2f} – {max:.2f})".format(**ratio),
                f"{side['first_step_seconds']:.1f}",
            )
    console.print(table)
    table = new_table(
        "share of the rate of products",
        "recipe",
        "precision",
        "tokens/s",
        "min – max",
        "TFLOP/s",
        "of products at",
        "MFU",
    )
    for name, mfu in result["mfu"].items():
        side = sides[name]
        peak = result["product_flops_per_second"][side["precision"]] / 1e12
        table.add_row(
            *row_start(name.replace("elektron", RECIPE) if name not in OWN_SIDES else name, side),
            f"{mfu['median'] * peak:.3f}",
            f"{peak:.3f}",
            "{median:.1%} ({min:.1%} – {max:.1%})".format(**mfu),
        )
    console.print(table)
    console.print(
        "Medians; ratios within each round. The first step, which compiles, is not in the speeds. "
        "Each side has its own process; elektron's keep freed memory, as `elektron pretrain` does."
    )
    amx = "amx_bf16" in result["kind"]
    report(
        "elektron / loop", result["speedup"]["loop"]["median"], TARGET_WITH_AMX if amx else TARGET
    )
    if amx:
        report(f"MFU of {OWN_RECIPE}", result["mfu"][OWN_RECIPE]["median"], MFU_TARGET_WITH_AMX)


def new_table(title: str, *columns: str) -> Table:
    """A table whose first two columns are words, and the others figures."""
    table = Table(title=title)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < 2 else "right", no_wrap=True)
    return table


def row_start(name: str, side: dict[str, Any]) -> list[str]:
    """What both tables have of a side."""
    speeds = side["tokens_per_second"]
    return [
        name,
        side["precision"] + (", compiled" if side["compiled"] else ""),
        f"{side['median_tokens_per_second']:,.0f}",
        f"{min(speeds):,.0f} – {max(speeds):,.0f}",
    ]


def report(name: str, value: float, target: float) -> None:
    """Say whether a target is reached."""
    verdict = "reached" if value >= target else "missed"
    print(f"{name}: {value:.3g}, the target of {target:g} is {verdict}", flush=True)


class Side:
    """One side in its own process, as the measuring process sees it."""

    def __init__(self, name: str, shape: Shape) -> None:
        """Start the process and wait until it has warmed up."""
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(name, shape, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.facts: Facts
        self.first_step_seconds: float
        self.facts, self.first_step_seconds = self.connection.recv()
        print(f"{name} is ready, first step {self.first_step_seconds:.1f} s", flush=True)

    def turn(self, seconds: float) -> float:
        """Seconds that a step takes, over as many as fit into a turn."""
        self.connection.send(seconds)
        step_seconds: float = self.connection.recv()
        return step_seconds

    def close(self) -> None:
        """Let the process end."""
        self.connection.send(None)
        self.process.join()


def serve(name: str, shape: Shape, connection: Connection) -> None:
    """A side's process: warm up, then take steps when told to and say how long they took."""
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        training = make_training(name, shape, Path(folder))
        first_step_seconds = seconds_a_step(
            training, 1
        )  # compiles, chooses kernels, grows the heap
        expected = seconds_a_step(training, 1)
        # Only now, so that no side warms up in another's turn.
        connection.send((training.facts, first_step_seconds))
        while (seconds := connection.recv()) is not None:
            expected = seconds_a_step(training, max(1, round(seconds / expected)))
            connection.send(expected)


def make_training(name: str, shape: Shape, folder: Path) -> Training:
    """A side's networks and data."""
    recipe = OWN_RECIPE if name in OWN_SIDES else RECIPE
    store = random_blocks(shape, folder / "blocks")
    return SIDES[name](shape, shape.config(recipe, folder / "run"), store)


def seconds_a_step(training: Training, steps: int) -> float:
    """Seconds a step, to the end of what a GPU has been given to do."""
    began = time.perf_counter()
    for _ in range(steps):
        training.step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps


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
        World(on.device),
        Plan(),
        words=None,
    )


def elektron_as_it_comes(shape: Shape, config: PretrainConfig, store: BlockStore) -> Training:
    """The recipe's own run, which is long, so that it decides to compile."""
    trainer = new_trainer(config, store)
    prefetcher = Prefetcher(trainer.batches, 0)

    def step() -> None:
        with same_bits(trainer.device):
            trainer.train_step(prefetcher.take(), fraction=0.0, factor=1.0)

    slots = trainer.batches.max_masked(shape.length)
    flops = trainer.flops(UpdateRoles(), shape.rows, shape.length, slots)
    return Training(step, Facts(trainer.on.precision, trainer.compiled, flops, trainer.peak_flops))


def elektron_eager(shape: Shape, config: PretrainConfig, store: BlockStore) -> Training:
    """The recipe's run with `--compile false`."""
    return elektron_as_it_comes(shape, replace(config, compile=False), store)


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
) -> Training:
    """The common loop: both models with their own heads and losses, labels of -100 where nothing is masked.

    The generator's head scores the whole vocabulary at every position, and a token is drawn at
    every position before the masked ones are taken.
    """
    generator, discriminator = transformers_networks(shape, config, store)

    def loss() -> Tensor:
        input_ids, masked_ids, labels = shape.masked_rows()
        attention_mask = torch.ones_like(input_ids)
        chosen = labels != -100
        generated = generator(masked_ids, attention_mask=attention_mask, labels=labels)
        with torch.no_grad():
            if sample_everywhere:
                samples = Categorical(logits=generated.logits).sample()[chosen]
            else:
                samples = Categorical(logits=generated.logits[chosen]).sample()
            corrupted_ids = input_ids.masked_scatter(chosen, samples)
        replaced = (corrupted_ids != input_ids).long()
        judged = discriminator(corrupted_ids, attention_mask=attention_mask, labels=replaced)
        total: Tensor = generated.loss + DISCRIMINATOR_WEIGHT * judged.loss
        return total

    return plain_training(shape, nn.ModuleList([generator, discriminator]), loss)


def loop_with_few_samples(shape: Shape, config: PretrainConfig, store: BlockStore) -> Training:
    """The common loop with tokens drawn where they are needed."""
    return loop_people_write(shape, config, store, sample_everywhere=False)


def electra_pytorch(shape: Shape, config: PretrainConfig, store: BlockStore) -> Training:
    """The package masks, samples and computes both losses; the loop around it is as its readme has it."""
    from electra_pytorch import Electra

    generator, discriminator = transformers_networks(shape, config, store)
    electra = Electra(
        LogitsOnly(generator),
        LogitsOnly(discriminator),
        num_tokens=VOCAB_SIZE,
        mask_token_id=SPECIAL_IDS["mask"],
        pad_token_id=SPECIAL_IDS["pad"],
        mask_ignore_token_ids=[SPECIAL_IDS["cls"], SPECIAL_IDS["sep"]],
        mask_prob=0.15,
        replace_prob=0.85,
        disc_weight=DISCRIMINATOR_WEIGHT,
    )

    def loss() -> Tensor:
        input_ids = shape.random_rows()
        total: Tensor = electra(input_ids, attention_mask=torch.ones_like(input_ids)).loss
        return total

    return plain_training(shape, electra, loss)


class LogitsOnly(nn.Module):
    """`electra-pytorch` wants networks that return a tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.network(input_ids, attention_mask=attention_mask).logits
        return logits


def txtai(shape: Shape, config: PretrainConfig, store: BlockStore) -> Training:
    """The model that `HFTrainer` trains for `token-detection`, which asks for eager attention."""
    from txtai.models import TokenDetection

    generator, discriminator = transformers_networks(shape, config, store, attention="eager")
    model = TokenDetection(generator, discriminator, NO_TOKENIZER, weight=DISCRIMINATOR_WEIGHT)

    def loss() -> Tensor:
        _, masked_ids, labels = shape.masked_rows()
        attention_mask = torch.ones_like(masked_ids)
        total: Tensor = model(masked_ids, labels=labels, attention_mask=attention_mask)[0]
        return total

    return plain_training(shape, model, loss)


def simpletransformers(shape: Shape, config: PretrainConfig, store: BlockStore) -> Training:
    """The model that `LanguageModelingModel("electra")` trains from scratch, with its weights of the losses."""
    from simpletransformers.custom_models.models import ElectraForLanguageModelingModel

    pair = networks(config, store)
    assert pair.generator is not None
    # Copies that do not say which attention to take, so that each network takes its default.
    wrapper, generator, discriminator = (
        ElectraConfig.from_dict(network.config.to_dict())
        for network in (pair.discriminator, pair.generator, pair.discriminator)
    )
    model = ElectraForLanguageModelingModel(
        wrapper, generator_config=generator, discriminator_config=discriminator
    )

    def loss() -> Tensor:
        _, masked_ids, labels = shape.masked_rows()
        generator_loss, discriminator_loss, *_ = model(
            masked_ids, labels, attention_mask=torch.ones_like(masked_ids)
        )
        total: Tensor = generator_loss + DISCRIMINATOR_WEIGHT * discriminator_loss
        return total

    return plain_training(shape, model, loss)


def plain_training(shape: Shape, model: nn.Module, loss: Callable[[], Tensor]) -> Training:
    """The step that people write around a loss: eager, AdamW; mixed precision on a GPU."""
    model.to(shape.device).train()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=5e-4, eps=1e-6, weight_decay=0.01)
    on_gpu = shape.device.type == "cuda"

    def step() -> None:
        with torch.autocast(shape.device.type, torch.bfloat16, enabled=on_gpu):
            value = loss()
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return Training(step, Facts("bfloat16" if on_gpu else "float32"))


def transformers_networks(
    shape: Shape, config: PretrainConfig, store: BlockStore, attention: str = "sdpa"
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Generator and discriminator of the recipe's sizes, with transformers' attention."""
    pair = networks(config, store).to(shape.device)
    assert pair.generator is not None
    for network in (pair.generator, pair.discriminator):
        network.set_attn_implementation(attention)
    return pair.generator, pair.discriminator


def networks(config: PretrainConfig, store: BlockStore) -> Pair:
    """The recipe's networks; for `electra-small` they are transformers' own classes, embeddings tied."""
    return pair_for(config, store.manifest)


SIDES: dict[str, Callable[[Shape, PretrainConfig, BlockStore], Training]] = {
    "elektron": elektron_as_it_comes,
    "elektron, eager": elektron_eager,
    "loop": loop_people_write,
    "loop, few samples": loop_with_few_samples,
    "electra-pytorch": electra_pytorch,
    "txtai": txtai,
    "simpletransformers": simpletransformers,
    OWN_RECIPE: elektron_as_it_comes,
    f"{OWN_RECIPE}, eager": elektron_eager,
}
OWN_SIDES = {OWN_RECIPE, f"{OWN_RECIPE}, eager"}
PACKAGES = {
    "electra-pytorch": "electra_pytorch",
    "txtai": "txtai.models",
    "simpletransformers": "simpletransformers.custom_models.models",
}
"""Modules of the sides that need a package of others."""


if __name__ == "__main__":
    main()
