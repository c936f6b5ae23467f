"""Batches: rows of the blocks, masked, with the positions and document ids of their tokens.

A global batch is a pure function of (blocks, seed, step). A thread on the host makes it one step ahead, in
micro-batches. The token counts that divide the losses are those of the global batch.
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
from elektron.corpus.packing import document_and_position_ids, make_token_type_ids
from elektron.pretraining.config import PretrainConfig
from elektron.pretraining.masking import WordFinder, mask_rows, max_masked_positions
from elektron.pretraining.randomness import row_uniforms, rows_from
from elektron.pretraining.schedules import Curriculum, Shape

# Masks and samples of held-out rows do not depend on the seed of the run, so that curves are comparable.
EVALUATION_SEED = 20_200_323


class MicroBatch(NamedTuple):
    """Rows of one forward pass."""

    input_ids: Tensor
    """`(batch, length)`: the original text."""
    masked_ids: Tensor
    """`(batch, length)`: the generator's input."""
    masked_positions: Tensor
    """`(batch, masked)`: the masked positions, padded to the same number in each row."""
    weights: Tensor
    """`(batch, masked)`: 1 for masked positions, 0 for padding of this axis."""
    uniforms: Tensor
    """`(batch, masked)`: one number in [0, 1) for each sample of the generator."""
    document_ids: Tensor
    """`(batch, length)`: the number of the token's document within its row, -1 for padding."""
    position_ids: Tensor
    """`(batch, length)`: positions, restarting with each document."""
    token_type_ids: Tensor
    """`(batch, length)`: 1 in the second segment of `paper` packing."""

    @property
    def originals(self) -> Tensor:
        """`(batch, masked)`: the tokens at the masked positions."""
        return self.input_ids.gather(1, self.masked_positions)


@dataclass(frozen=True)
class GlobalBatch:
    """The local rows of a step, and the token counts of all ranks' rows."""

    micro_batches: list[MicroBatch]
    masked_tokens: float | Tensor
    """Masked tokens, which divide the generator's loss."""
    real_tokens: float | Tensor
    """Tokens that are not padding, which divide the detection loss."""
    source: str = ""
    """The source that held-out rows of a mixture come from."""


class BatchMaker:
    """Makes the batches of one run from its blocks.

    Args:
        store: the blocks.
        config: a resolved configuration.
        device: where the batches go.
        words: finds the starts of words, for whole-word masking.
        local_rows: function from the number of rows in a batch to the first row and the number of rows of this rank.
        max_local_rows: function from the number of rows in a batch to the maximum number of rows of a rank; given if
            all ranks must have the same number of micro-batches.
    """

    def __init__(
        self,
        store: BlockStore,
        config: PretrainConfig,
        device: torch.device,
        words: WordFinder | None = None,
        local_rows: Callable[[int], tuple[int, int]] = lambda rows: (0, rows),
        max_local_rows: Callable[[int], int] | None = None,
    ) -> None:
        self.manifest = store.manifest
        self.rows = {"training": store.rows("train"), "evaluation": store.rows("validation")}
        self.config, self.device, self.words = config, device, words
        self.local_rows, self.max_local_rows = local_rows, max_local_rows
        self.curriculum = Curriculum(config, self.manifest.seq_len)
        self.skipped_rows: list[tuple[int, int]] = []
        """As `Progress.skipped_rows`."""

    def training(self, step: int) -> GlobalBatch:
        """The local rows of a training step, with local token counts."""
        shape, seed = self.curriculum.shape(step), self.config.seed
        first, count = self.local_rows(shape.store_rows)
        start = self.curriculum.rows_before(step) + first
        start += sum(rows for since, rows in self.skipped_rows if step >= since)
        rows = rows_from(start, count, len(self.rows["training"]), seed)
        mask_probability = self.curriculum.mask_probability(step)
        batch = self.make("training", rows, shape, mask_probability, seed, step, first * shape.parts)
        if self.max_local_rows is None or self.config.micro_batch_size is None:
            return batch
        max_micro_batches = -(-self.max_local_rows(shape.store_rows) // self.config.micro_batch_size)
        padding = [self.padding_like(batch.micro_batches[0])] * (max_micro_batches - len(batch.micro_batches))
        return replace(batch, micro_batches=batch.micro_batches + padding)

    def padding_like(self, micro_batch: MicroBatch) -> MicroBatch:
        """A micro-batch of padding, which does not affect losses, gradients or metrics."""
        padding = torch.full_like(micro_batch.input_ids, self.manifest.special_ids["pad"])
        return micro_batch._replace(
            input_ids=padding,
            masked_ids=padding,
            weights=torch.zeros_like(micro_batch.weights),
            document_ids=torch.full_like(padding, -1),
            position_ids=torch.zeros_like(padding),
            token_type_ids=torch.zeros_like(padding),
        )

    def evaluation(self) -> Iterator[GlobalBatch]:
        """Held-out rows in micro-batches, always with the same masks and random numbers.

        Rows are stored in the order of the corpus, so up to `evaluation.rows` evenly spaced rows are used, and up to
        the same number for each source of weight 0, which the main metrics leave out.
        """
        held_out, weights = self.rows["evaluation"], self.manifest.weights
        sources = [*held_out.members, ""]
        source_of_row = held_out.member_of(np.arange(len(held_out)))
        only_evaluated = [number for number, source in enumerate(sources) if not weights.get(source, 1)]
        groups = [np.flatnonzero(~np.isin(source_of_row, only_evaluated))]
        groups += [np.flatnonzero(source_of_row == number) for number in only_evaluated]
        batch_size = self.config.batch_size
        rows = self.local_rows(batch_size)[1] if self.max_local_rows is None else self.max_local_rows(batch_size)
        size = self.config.micro_batch_size or rows
        probability, rows_before = self.config.masking.mask_probability, 0
        for group in groups:
            indices = np.linspace(0, len(group) - 1, min(len(group), self.config.evaluation.rows), dtype=np.int64)
            chosen = group[indices]
            for number in np.unique(source_of_row[chosen]):
                of_source = chosen[source_of_row[chosen] == number]
                for first in range(0, len(of_source), size):
                    part = of_source[first : first + size]
                    shape = Shape(len(part), 1, self.manifest.seq_len)
                    batch = self.make("evaluation", part, shape, probability, EVALUATION_SEED, 0, rows_before + first)
                    yield replace(batch, source=sources[number])
                rows_before += len(of_source)

    def make(
        self,
        stream: Literal["training", "evaluation"],
        rows: NDArray[np.int64],
        shape: Shape,
        mask_probability: float,
        seed: int,
        step: int,
        first_row: int,
    ) -> GlobalBatch:
        """Read rows by number, and mask them with the random numbers of (seed, step, row)."""
        manifest, pad = self.manifest, self.manifest.special_ids["pad"]
        input_ids = self.rows[stream].take(rows).reshape(-1, shape.length)
        max_masked = max_masked_positions(shape.length, self.config.masking.mask_probability)
        masking_draws = shape.length + max_masked
        uniforms = row_uniforms(seed, step, first_row, len(input_ids), masking_draws + max_masked, stream)
        masks = mask_rows(
            input_ids,
            uniforms[:, :masking_draws],
            manifest.special_ids,
            manifest.all_special_ids,
            mask_probability,
            self.config.masking.keep_probability,
            None if self.words is None else self.words.word_starts(input_ids),
        )
        if manifest.packing == "dense":
            document_ids, position_ids = document_and_position_ids(input_ids, manifest.special_ids["cls"], pad)
            token_type_ids = np.zeros_like(input_ids)
        else:
            document_ids = np.where(input_ids == pad, -1, 0)
            position_ids = np.tile(np.arange(input_ids.shape[1]), (len(input_ids), 1))
            token_type_ids = make_token_type_ids(input_ids, manifest.special_ids["sep"], pad)
        arrays = (  # in the order of MicroBatch
            input_ids,
            masks.masked_ids,
            masks.positions,
            masks.weights,
            uniforms[:, masking_draws:].astype(np.float32),
            document_ids,
            position_ids,
            token_type_ids,
        )
        size = (self.config.micro_batch_size or len(rows)) * shape.parts
        micro_batches = [
            MicroBatch(*(self.to_device(array[first : first + size]) for array in arrays))
            for first in range(0, len(input_ids), size)
        ]
        return GlobalBatch(micro_batches, float(masks.weights.sum()), float((input_ids != pad).sum()))

    def to_device(self, array: NDArray[np.generic]) -> Tensor:
        """Copy to the device, asynchronously to a GPU."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor


class Prefetcher:
    """Makes the next step's batch in a thread, and measures how long the loop has waited for it."""

    def __init__(self, maker: BatchMaker, first_step: int) -> None:
        self.maker = maker
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self.next_step = first_step
        self.next_batch = self.pool.submit(maker.training, first_step)
        self.waited_seconds = 0.0

    def take(self) -> GlobalBatch:
        """The batch of the next step."""
        began = time.perf_counter()
        batch = self.next_batch.result()
        self.waited_seconds += time.perf_counter() - began
        self.next_step += 1
        self.next_batch = self.pool.submit(self.maker.training, self.next_step)
        return batch

    def close(self) -> None:
        """Stop the thread."""
        self.pool.shutdown(cancel_futures=True)
