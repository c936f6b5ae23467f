"""What a step trains on: rows from the store, masked, with everything the networks need beside them.

A global batch is a pure function of (blocks, seed, step). It is made on the host by a thread that
stays one step ahead, and handed over in micro-batches, the parts that pass through the networks at
once. The counts that divide the losses are those of the whole global batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elektron.corpus.blocks import BlockStore
from elektron.corpus.packing import pieces, segments
from elektron.pretraining.config import PretrainConfig
from elektron.pretraining.masking import draws_in_row, mask_rows, slots_in_row
from elektron.pretraining.ramp import Ramp, Shape
from elektron.pretraining.randomness import row_uniforms, rows_from
from elektron.pretraining.words import WordFinder

# Held-out rows are masked and sampled alike in every run, whatever its seed, so that curves compare.
EVALUATION_SEED = 20_200_323


class MicroBatch(NamedTuple):
    """Rows that pass through the networks at once."""

    input_ids: Tensor
    """`(rows, length)`: the original text."""
    masked_ids: Tensor
    """`(rows, length)`: the generator's input."""
    masked_positions: Tensor
    """`(rows, slots)`"""
    weights: Tensor
    """`(rows, slots)`: 1 for used slots, 0 for the rest."""
    uniforms: Tensor
    """`(rows, slots)`: one number in [0, 1) for each sample of the generator."""
    piece_ids: Tensor
    """`(rows, length)`: which text of the row a token belongs to, -1 for padding."""
    position_ids: Tensor
    """`(rows, length)`: positions, restarting with each text."""
    token_type_ids: Tensor
    """`(rows, length)`: 1 in the second segment of `paper` packing."""

    @property
    def originals(self) -> Tensor:
        """`(rows, slots)`: the tokens at the masked positions."""
        return self.input_ids.gather(1, self.masked_positions)


@dataclass(frozen=True)
class GlobalBatch:
    """The rows of a step, or this process's part of them, and the counts of all."""

    micro_batches: list[MicroBatch]
    masked_tokens: float | Tensor
    """Used slots: what the generator's loss is divided by."""
    real_tokens: float | Tensor
    """Tokens that are not padding: what the discriminator's loss is divided by."""

    def counting(self, masked_tokens: float | Tensor, real_tokens: float | Tensor) -> GlobalBatch:
        """The same rows with other counts."""
        return replace(self, masked_tokens=masked_tokens, real_tokens=real_tokens)


class BatchMaker:
    """Makes the batches of one run from its blocks."""

    def __init__(
        self,
        store: BlockStore,
        config: PretrainConfig,
        device: torch.device,
        words: WordFinder | None = None,
        part: Callable[[int], tuple[int, int]] = lambda rows: (0, rows),
        largest_part: Callable[[int], int] | None = None,
    ) -> None:
        self.manifest = store.manifest
        self.rows = {"training": store.rows("train"), "evaluation": store.rows("validation")}
        self.config = config
        self.device = device
        self.words = words
        """Where words are masked whole, what knows their beginnings."""
        self.part = part
        """Of so many rows, the first and the number of those that this process takes."""
        self.largest_part = largest_part
        """Where all processes must take as many micro-batches: rows of the one that takes most."""
        self.ramp = Ramp(config, self.manifest.seq_len)
        self.passed_over: list[list[int]] = []
        """`[step, rows]`: from this step on, so many more rows of the order are left out."""

    def training(self, step: int) -> GlobalBatch:
        """This process's part of the global batch of a training step, with counts of its own."""
        shape = self.ramp.shape(step)
        first, count = self.part(shape.store_rows)
        left_out = sum(rows for since, rows in self.passed_over if step >= since)
        rows = rows_from(
            self.ramp.rows_before(step) + left_out + first,
            count,
            len(self.rows["training"]),
            self.config.seed,
        )
        share = self.ramp.mask_share(step)
        batch = self.make(
            "training", rows, shape, share, self.config.seed, step, first * shape.parts
        )
        if self.largest_part is None or self.config.micro_batch is None:
            return batch
        most = -(-self.largest_part(shape.store_rows) // self.config.micro_batch)
        padding = [self.padding_like(batch.micro_batches[0])] * (most - len(batch.micro_batches))
        return replace(batch, micro_batches=batch.micro_batches + padding)

    def padding_like(self, micro_batch: MicroBatch) -> MicroBatch:
        """Rows of padding only, which are in no loss, gradient or metric."""
        padding = torch.full_like(micro_batch.input_ids, self.manifest.special_ids["pad"])
        return micro_batch._replace(
            input_ids=padding,
            masked_ids=padding,
            weights=torch.zeros_like(micro_batch.weights),
            piece_ids=torch.full_like(padding, -1),
            position_ids=torch.zeros_like(padding),
            token_type_ids=torch.zeros_like(padding),
        )

    def evaluation(self) -> Iterator[GlobalBatch]:
        """Held-out rows, a micro-batch at a time, always with the same masks and uniforms.

        Rows stand in the order of the corpus, so those used are spread evenly over all of them.
        """
        held_out = len(self.rows["evaluation"])
        total = min(held_out, self.config.evaluation.rows)
        spread = np.linspace(0, held_out - 1, total, dtype=np.int64)
        size = self.config.micro_batch or self.config.batch
        for first in range(0, total, size):
            rows = spread[first : first + size]
            shape = Shape(len(rows), 1, self.manifest.seq_len)
            share = self.config.masking.share
            yield self.make("evaluation", rows, shape, share, EVALUATION_SEED, 0, first)

    def slots(self, length: int) -> int:
        """Mask slots in a row, enough for the largest share of the run."""
        return slots_in_row(length, self.config.masking.share)

    def make(
        self,
        stream: Literal["training", "evaluation"],
        rows: NDArray[np.int64],
        shape: Shape,
        mask_share: float,
        seed: int,
        step: int,
        first_row: int,
    ) -> GlobalBatch:
        """Rows of the store by number, masked with the random numbers of (seed, step, row)."""
        manifest, slots = self.manifest, self.slots(shape.length)
        input_ids = self.rows[stream].take(rows).reshape(-1, shape.length)
        masking_draws = draws_in_row(shape.length, slots)
        uniforms = row_uniforms(
            seed, step, first_row, len(input_ids), masking_draws + slots, stream
        )
        masks = mask_rows(
            input_ids,
            uniforms[:, :masking_draws],
            manifest.special_ids,
            manifest.all_special_ids,
            mask_share,
            self.config.masking.keep,
            None if self.words is None else self.words.begin(input_ids),
        )
        pad = manifest.special_ids["pad"]
        if manifest.packing == "dense":
            piece_ids, position_ids = pieces(input_ids, manifest.special_ids["cls"], pad)
            token_type_ids = np.zeros_like(input_ids)
        else:
            piece_ids = np.where(input_ids == pad, -1, 0)
            position_ids = np.tile(np.arange(input_ids.shape[1]), (len(input_ids), 1))
            token_type_ids = segments(input_ids, manifest.special_ids["sep"], pad)
        arrays = (
            input_ids,
            masks.masked_ids,
            masks.positions,
            masks.weights,
            uniforms[:, masking_draws:].astype(np.float32),
            piece_ids,
            position_ids,
            token_type_ids,
        )
        size = (self.config.micro_batch or len(rows)) * shape.parts
        return GlobalBatch(
            micro_batches=[
                MicroBatch(*(self.to_device(array[first : first + size]) for array in arrays))
                for first in range(0, len(input_ids), size)
            ],
            masked_tokens=float(masks.weights.sum()),
            real_tokens=float((input_ids != pad).sum()),
        )

    def to_device(self, array: NDArray[np.generic]) -> Tensor:
        """Copy to the device, without waiting where it is a GPU."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor


class Prefetcher:
    """Has the next step's batch ready, and knows how long the loop has waited for it."""

    def __init__(self, maker: BatchMaker, first_step: int) -> None:
        self.maker = maker
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self.next_step = first_step
        self.coming = self.pool.submit(maker.training, first_step)
        self.waited_seconds = 0.0

    def take(self) -> GlobalBatch:
        """The batch of the next step."""
        began = time.perf_counter()
        batch = self.coming.result()
        self.waited_seconds += time.perf_counter() - began
        self.next_step += 1
        self.coming = self.pool.submit(self.maker.training, self.next_step)
        return batch

    def close(self) -> None:
        """Let the thread go."""
        self.pool.shutdown(cancel_futures=True)
