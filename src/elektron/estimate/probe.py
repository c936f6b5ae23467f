"""Half a minute of the run itself: tokens a second, and memory where the device tells.

Networks and optimizers are built as the run would have them, on this device, and take real steps: on
rows of the blocks, or on random rows of the same shape. Each kind of turn and row length is timed for
itself, because they cost differently; passes through the networks apart from the update, because a
pass grows with the rows and an update does not. Where a step would take too long, fewer of its rows
are timed. What differs from the run: nothing is read ahead, logged, evaluated or saved.
"""

from __future__ import annotations

import dataclasses
import logging
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from elektron.allocator import keep_freed_memory
from elektron.corpus.blocks import TOKENIZER, BlockStore, BlockWriter
from elektron.corpus.manifest import Manifest
from elektron.corpus.vocabulary import load_tokenizer
from elektron.device import Device
from elektron.models.pair import Pair
from elektron.pretraining.batches import BatchMaker, GlobalBatch, MicroBatch
from elektron.pretraining.config import PretrainConfig, RampConfig
from elektron.pretraining.foundations import pair_for
from elektron.pretraining.objectives import Output, Turn, make_objective
from elektron.pretraining.optimizers import PairOptimizer
from elektron.pretraining.plans import Plan
from elektron.pretraining.words import WordFinder

log = logging.getLogger(__name__)

Forward = Callable[[Pair, MicroBatch, Turn, Tensor], Output]

PROBE_SECONDS = 30.0
LONGEST_SHARE = 0.1
"""A pass that takes this share of the time has rows enough to be timed with."""
RANDOM_ROWS = 256
"""Rows of random tokens, where there are no blocks."""
SMALL_RATE = 1e-3
"""Share of the peak rates: an update costs the same whatever it moves."""


@dataclasses.dataclass(frozen=True)
class Speed:
    """Of one kind of turn on rows of one length."""

    rows: int
    """Rows that passed through the networks at once."""
    seconds_per_token: float
    """Forward and backward."""
    seconds_per_update: float

    def seconds(self, tokens: float) -> float:
        """Of a step of so many tokens."""
        return tokens * self.seconds_per_token + self.seconds_per_update


@dataclasses.dataclass(frozen=True)
class Probed:
    """What was measured."""

    device: str
    precision: str
    speeds: dict[tuple[Turn, int], Speed]
    """By turn and row length."""
    memory: int
    """Peak of the device's allocations, or on a CPU the growth of the process, in bytes."""


def probe(
    config: PretrainConfig,
    plan: Plan,
    manifest: Manifest,
    store: BlockStore | None,
    kinds: Mapping[tuple[Turn, int], int],
) -> Probed:
    """Take steps of each kind on this device for PROBE_SECONDS in all.

    Args:
        config: of the run, resolved.
        plan: its plan.
        manifest: what its rows are like.
        store: them, if they are there.
        kinds: by turn and row length, the rows of the store that pass through the networks at once.
    """
    log.info("taking steps for about %d seconds, to see how fast they are", PROBE_SECONDS)
    with ExitStack() as cleanup:
        if store is None:
            store = random_blocks(cleanup.enter_context(tempfile.TemporaryDirectory()), manifest)
        trial = Trial(config, plan, store)
        speeds = {
            (turn, length): trial.speed(turn, length, rows, PROBE_SECONDS / len(kinds))
            for (turn, length), rows in kinds.items()
        }
    return Probed(trial.on.name, trial.on.precision, speeds, trial.memory())


class Trial:
    """The run's networks and optimizers, to be timed."""

    def __init__(self, config: PretrainConfig, plan: Plan, store: BlockStore) -> None:
        keep_freed_memory()
        self.memory_before = resident_peak()
        self.config = config
        self.store = store
        self.on = Device.choose(config.precision)
        if self.on.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.on.device)
        manifest = store.manifest
        self.words = None
        if config.masking.unit == "whole_word" and manifest.tokenizer_files:
            tokenizer = load_tokenizer(str(store.tokenizer_folder))
            self.words = WordFinder(tokenizer, config.masking.segmenter)
        torch.manual_seed(config.seed)
        pair = pair_for(config, manifest)
        plan.prepare(pair)
        self.pair = pair.to(self.on.device)
        self.optimizer = PairOptimizer(self.pair, config.optimizer, self.on.muon_dtype)
        self.objective = make_objective(config, manifest.special_ids, manifest.vocab_size)

    def speed(self, turn: Turn, length: int, most_rows: int, seconds: float) -> Speed:
        """Time passes and updates for so many seconds, after one that is not timed.

        Args:
            turn: who learns.
            length: tokens in a row.
            most_rows: rows of the store that pass through the networks at once in the run.
            seconds: how long.
        """
        ends = time.perf_counter() + seconds
        rows = self.rows_to_time(turn, length, most_rows, seconds * LONGEST_SHARE)
        batch, forward = self.batch(rows, length), self.forward()
        self.step(forward, turn, batch)
        passes: list[float] = []
        updates: list[float] = []
        while not passes or time.perf_counter() < ends:
            took, update = self.step(forward, turn, batch)
            passes.append(took)
            updates.append(update)
        tokens = rows * self.store.manifest.seq_len
        # The median: other work on the machine makes single steps slow, and none fast.
        return Speed(
            rows * (self.store.manifest.seq_len // length),
            float(np.median(passes)) / tokens,
            float(np.median(updates)),
        )

    def rows_to_time(self, turn: Turn, length: int, most: int, seconds: float) -> int:
        """As many rows as the run would take at once, or fewer, of which a pass takes so many seconds.

        Found by doubling, without compiling.
        """
        rows = 1
        while rows < most:
            took, _ = self.step(self.objective, turn, self.batch(rows, length))
            if took > seconds:
                break
            rows = min(most, rows * 2)
        return rows

    def forward(self) -> Forward:
        """The objective, compiled where the run would compile it."""
        wanted = self.config.compile
        if wanted is None:
            wanted = self.on.device.type == "cuda"
        return torch.compile(self.objective, fullgraph=True) if wanted else self.objective

    def batch(self, rows: int, length: int) -> GlobalBatch:
        """So many rows of the store in one piece, cut into rows of `length` tokens."""
        whole = length == self.store.manifest.seq_len
        ramp = RampConfig() if whole else RampConfig(first_length=length, length_share=1.0)
        config = dataclasses.replace(
            self.config,
            batch=rows,
            micro_batch=None,
            steps=sys.maxsize,
            ramp=ramp,
        )
        batch = BatchMaker(self.store, config, self.on.device, self.words).training(0)
        return dataclasses.replace(batch, masked_tokens=max(1.0, float(batch.masked_tokens)))

    def step(self, forward: Forward, turn: Turn, batch: GlobalBatch) -> tuple[float, float]:
        """Seconds of one pass, forward and backward, and of the update."""
        began = self.now()
        self.pair.set_trained(turn.generator, turn.discriminator)
        with self.on.autocast():
            temperature = torch.ones((), device=self.on.device)
            output = forward(self.pair, batch.micro_batches[0], turn, temperature)
        self.optimizer.backward(
            self.objective.generator_loss(output, batch) if turn.generator else None,
            self.objective.discriminator_loss(output, batch) if turn.discriminator else None,
        )
        passed = self.now()
        self.optimizer.step(SMALL_RATE)
        return passed - began, self.now() - passed

    def now(self) -> float:
        """The time when the device has done what it was told."""
        if self.on.device.type == "cuda":
            torch.cuda.synchronize(self.on.device)
        return time.perf_counter()

    def memory(self) -> int:
        """The peak so far."""
        if self.on.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.on.device)
        return resident_peak() - self.memory_before


def resident_peak() -> int:
    """The most memory that this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def random_blocks(folder: str, manifest: Manifest) -> BlockStore:
    """Blocks of random tokens, each row one text, in the shape that the manifest describes."""
    path = Path(folder)
    (path / TOKENIZER).mkdir()
    special = manifest.special_ids
    tokens = np.random.default_rng(0).integers(
        min(len(special), manifest.vocab_size - 1),
        manifest.vocab_size,
        size=(RANDOM_ROWS, manifest.seq_len),
    )
    tokens[:, 0], tokens[:, -1] = special["cls"], special["sep"]
    writer = BlockWriter(path, manifest)
    for split in writer.splits:
        writer.write(split, tokens, RANDOM_ROWS)
    writer.finish(duplicates=0)
    return BlockStore.open(path)
