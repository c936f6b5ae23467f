"""The sides of pretrain_step.py: the same two networks on the same random rows, trained by different code."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from transformers import ElectraConfig, PreTrainedModel, PreTrainedTokenizerBase

from elektron.accelerator import Accelerator, deterministic_algorithms
from elektron.allocator import keep_freed_memory
from elektron.corpus.blocks import TOKENIZER, BlockStore, BlockWriter
from elektron.corpus.manifest import Manifest
from elektron.pretraining.batches import Prefetcher
from elektron.pretraining.config import PretrainConfig, resolve
from elektron.pretraining.distributed import World
from elektron.pretraining.objectives import UpdateRoles
from elektron.pretraining.plans import Plan
from elektron.pretraining.run import RunFolder
from elektron.pretraining.setup import pair_for
from elektron.pretraining.train import Trainer
from elektron.recipes import pretrain_config

ELECTRA_RECIPE, ELEKTRON_RECIPE = "electra-small", "elektron-small"
VOCAB_SIZE = 30_522
SPECIAL_IDS = {"pad": 0, "unk": 100, "cls": 101, "sep": 102, "mask": 103}
FIRST_WORD = 1000
BLOCK_ROWS = 2048
DISCRIMINATOR_WEIGHT = 50.0
NO_TOKENIZER = PreTrainedTokenizerBase()  # a run needs its tokenizer only at its end


@dataclass(frozen=True)
class Shape:
    """Sizes that are the same on every side."""

    layers: int
    rows: int
    length: int

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.rows * self.length

    @property
    def device(self) -> torch.device:
        """A GPU if there is one."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def config(self, recipe: str, out: Path) -> PretrainConfig:
        """A recipe with these sizes."""
        overrides = {"out": out, "batch_size": self.rows, "network.num_hidden_layers": self.layers}
        return resolve(pretrain_config(recipe, overrides))

    def random_rows(self) -> Tensor:
        """`(rows, length)`: a batch without padding."""
        rows = torch.randint(FIRST_WORD, VOCAB_SIZE, (self.rows, self.length), device=self.device)
        rows[:, 0], rows[:, -1] = SPECIAL_IDS["cls"], SPECIAL_IDS["sep"]
        return rows

    def masked_rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Input ids, masked ids, and labels (-100 where not masked), each `(rows, length)`."""
        input_ids = self.random_rows()
        maskable = (input_ids != SPECIAL_IDS["cls"]) & (input_ids != SPECIAL_IDS["sep"])
        chosen = (torch.rand(input_ids.shape, device=self.device) < 0.15) & maskable
        becomes_mask = chosen & (torch.rand(input_ids.shape, device=self.device) < 0.85)
        masked_ids = input_ids.masked_fill(becomes_mask, SPECIAL_IDS["mask"])
        return input_ids, masked_ids, input_ids.masked_fill(~chosen, -100)


@dataclass
class Training:
    """A side's training step and its properties."""

    step: Callable[[], object]
    precision: str
    compiled: bool = False
    flops: int = 0  # FLOPs of the matrix products of a step, 0 if not counted
    peak_flops: float = 0.0  # FLOPs per second of a large matrix product
    first_step_seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        """The properties, without the step."""
        return {name: value for name, value in vars(self).items() if name != "step"}


def make_training(name: str, shape: Shape, folder: Path) -> Training:
    """A side's networks and data."""
    config = shape.config(ELEKTRON_RECIPE if name in ELEKTRON_SIDES else ELECTRA_RECIPE, folder / "run")
    return SIDES[name](shape, config, random_blocks(shape, folder / "blocks"))


def step_seconds(step: Callable[[], object], steps: int) -> float:
    """Seconds per step, including the work of a GPU."""
    began = time.perf_counter()
    for _ in range(steps):
        step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps


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


def new_trainer(config: PretrainConfig, store: BlockStore) -> Trainer:
    """A run's trainer before its first step."""
    keep_freed_memory()
    accelerator = Accelerator.choose(config.precision)
    return Trainer(
        config,
        store,
        NO_TOKENIZER,
        pair_for(config, store.manifest),
        RunFolder.open(config, store),
        accelerator,
        World(accelerator.device),
        Plan(),
        words=None,
    )


def elektron(shape: Shape, config: PretrainConfig, store: BlockStore, compiled: bool = True) -> Training:
    """The recipe's own run with `--compile true` or `false`."""
    trainer = new_trainer(replace(config, compile=compiled), store)
    prefetcher = Prefetcher(trainer.batches, 0)

    def step() -> None:
        with deterministic_algorithms(trainer.device):
            trainer.train_step(prefetcher.take(), fraction=0.0, factor=1.0)

    flops = trainer.step_flops(UpdateRoles(), 0)
    return Training(step, trainer.accelerator.precision, trainer.compiled, flops, trainer.peak_flops)


def common_loop(shape: Shape, config: PretrainConfig, store: BlockStore, sample_everywhere: bool = True) -> Training:
    """The common loop: both models have transformers' heads and losses, and labels are -100 where nothing is masked.

    The generator's head computes logits at every position, and a token is sampled at every position
    before the masked ones are selected, unless `sample_everywhere` is False.
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
        detected = discriminator(corrupted_ids, attention_mask=attention_mask, labels=replaced)
        total: Tensor = generated.loss + DISCRIMINATOR_WEIGHT * detected.loss
        return total

    return plain_training(shape, nn.ModuleList([generator, discriminator]), loss)


class LogitsOnly(nn.Module):
    """A network that returns its logits, as `electra-pytorch` needs it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.network(input_ids, attention_mask=attention_mask).logits
        return logits


def electra_pytorch(shape: Shape, config: PretrainConfig, store: BlockStore) -> Training:
    """The package masks, samples and computes both losses; the loop is that of its readme."""
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


def txtai(shape: Shape, config: PretrainConfig, store: BlockStore) -> Training:
    """The model that `HFTrainer` trains for `token-detection`, with eager attention."""
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
    """The model that `LanguageModelingModel("electra")` trains from scratch, with its loss weights."""
    from simpletransformers.custom_models.models import ElectraForLanguageModelingModel

    pair = pair_for(config, store.manifest)
    assert pair.generator is not None
    # Copies without the attention implementation, so that each network takes its default.
    wrapper, generator, discriminator = (
        ElectraConfig.from_dict(network.config.to_dict())
        for network in (pair.discriminator, pair.generator, pair.discriminator)
    )
    model = ElectraForLanguageModelingModel(wrapper, generator_config=generator, discriminator_config=discriminator)

    def loss() -> Tensor:
        _, masked_ids, labels = shape.masked_rows()
        generator_loss, discriminator_loss, *_ = model(masked_ids, labels, attention_mask=torch.ones_like(masked_ids))
        total: Tensor = generator_loss + DISCRIMINATOR_WEIGHT * discriminator_loss
        return total

    return plain_training(shape, model, loss)


def plain_training(shape: Shape, model: nn.Module, loss: Callable[[], Tensor]) -> Training:
    """The common step around a loss: eager, AdamW; mixed precision on a GPU."""
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

    return Training(step, "bfloat16" if on_gpu else "float32")


def transformers_networks(
    shape: Shape, config: PretrainConfig, store: BlockStore, attention: str = "sdpa"
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Generator and discriminator of the recipe's sizes, with transformers' attention."""
    pair = pair_for(config, store.manifest).to(shape.device)
    assert pair.generator is not None
    for network in (pair.generator, pair.discriminator):
        network.set_attn_implementation(attention)
    return pair.generator, pair.discriminator


SIDES: dict[str, Callable[[Shape, PretrainConfig, BlockStore], Training]] = {
    "elektron": elektron,
    "elektron, eager": partial(elektron, compiled=False),
    "loop": common_loop,
    "loop, few samples": partial(common_loop, sample_everywhere=False),
    "electra-pytorch": electra_pytorch,
    "txtai": txtai,
    "simpletransformers": simpletransformers,
    ELEKTRON_RECIPE: elektron,
    f"{ELEKTRON_RECIPE}, eager": partial(elektron, compiled=False),
}
ELEKTRON_SIDES = {ELEKTRON_RECIPE, f"{ELEKTRON_RECIPE}, eager"}
# Modules of the sides that need other packages.
PACKAGES = {
    "electra-pytorch": "electra_pytorch",
    "txtai": "txtai.models",
    "simpletransformers": "simpletransformers.custom_models.models",
}
