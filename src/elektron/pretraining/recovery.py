"""Recovery: checkpoints and resuming, loss spikes, and rolling back runs that have diverged.

A step is a spike if the loss of a network that is trained in it is more than `SIGMAS` standard deviations above the
mean of the last `WINDOW` losses of steps that updated the network. Steps with non-finite gradients, and spikes under
`optimizer.skip_spikes`, are skipped. After too many of them the trainer rolls back to its last checkpoint and skips the
rows since (`MAX_SKIPPED_STEPS`, `MAX_ROLLBACKS`).
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import torch
from torch import Tensor

from elektron.accelerator import Accelerator
from elektron.corpus.blocks import BlockStore
from elektron.errors import ElektronError
from elektron.models.dtensors import copy_to_cpu
from elektron.models.pair import Pair
from elektron.pretraining import checkpoint
from elektron.pretraining.batches import BatchMaker
from elektron.pretraining.checkpoint import CheckpointWriter, Snapshot
from elektron.pretraining.config import PretrainConfig
from elektron.pretraining.distributed import World, shard
from elektron.pretraining.masking import WordFinder
from elektron.pretraining.metrics import NON_FINITE, MetricsLogger, MetricSums
from elektron.pretraining.optimizers import PairOptimizer
from elektron.pretraining.run import RunFolder, identity_of
from elektron.pretraining.schedules import Progress, RunLength

log = logging.getLogger(__name__)

SIGMAS = 6.0
WINDOW = 100
# This many spikes in a row are treated as a new level of the loss, as after a change of the data: it is more than one
# bad batch causes, and half of the number of skipped steps after which a run rolls back.
MAX_CONSECUTIVE_SPIKES = 5
NETWORKS = 2
MAX_SKIPPED_STEPS = 10
"""After more skipped steps than this, with some in every line of training metrics, the run rolls back."""
MAX_ROLLBACKS = 2
"""Maximum number of consecutive rollbacks; a checkpoint after the step of the last rollback restarts the count."""


def has_diverged(progress: Progress, complete: bool) -> bool:
    """Whether more than MAX_SKIPPED_STEPS steps were skipped, with some in every line of metrics since the first.

    If the run is `complete`, also whether all steps since the start of the run, of its stage, or since the last
    rollback were skipped.
    """
    began = max(progress.stage_step, *(step for step, _ in progress.skipped_rows), 0)
    never_updated = complete and progress.skipped >= progress.step - began
    return progress.skipped > MAX_SKIPPED_STEPS or never_updated


class LossSpikes:
    """Detects loss spikes of generator and discriminator from their last losses."""

    def __init__(self, device: torch.device) -> None:
        self.losses = torch.zeros(NETWORKS, WINDOW, dtype=torch.float64, device=device)
        self.counts = torch.zeros(NETWORKS, dtype=torch.int64, device=device)
        self.in_a_row = torch.zeros(NETWORKS, dtype=torch.int64, device=device)

    def detect(self, losses: Tensor, trained: Tensor) -> Tensor:
        """Which of the `losses` `(2,)` are spikes, among those of networks that were `trained` `(2,)`.

        A loss is no spike if it is non-finite or if the window is not full yet.
        """
        mean = self.losses.mean(1)
        limit = mean + SIGMAS * self.losses.std(1, correction=0)
        filled = self.counts >= WINDOW
        return trained & filled & torch.isfinite(losses) & (losses > limit)

    def add(self, losses: Tensor, trained: Tensor, updated: Tensor, spikes: Tensor) -> None:
        """Add the losses of a step to the window, if it has `updated` the weights, `()`.

        MAX_CONSECUTIVE_SPIKES `spikes` `(2,)` of a network in a row clear its window. Steps that do not train a
        network neither interrupt nor continue the sequence.
        """
        taken = trained & updated & torch.isfinite(losses)
        here = torch.arange(WINDOW, device=losses.device) == (self.counts % WINDOW)[:, None]
        self.losses = torch.where(here & taken[:, None], losses[:, None], self.losses)
        self.counts += taken
        self.in_a_row = torch.where(trained, (self.in_a_row + 1) * spikes, self.in_a_row)
        lasting = self.in_a_row >= MAX_CONSECUTIVE_SPIKES
        self.counts.masked_fill_(lasting, 0)
        self.in_a_row.masked_fill_(lasting, 0)

    def reset(self) -> None:
        """Clear the window, since later losses will not be comparable with it."""
        self.counts.zero_()
        self.in_a_row.zero_()

    def state(self) -> Tensor:
        """`(2, 2 + WINDOW)`: spikes in a row, counts and losses, for a checkpoint."""
        return torch.cat([torch.stack([self.in_a_row, self.counts], 1).double(), self.losses], 1)

    def load_state(self, state: Tensor) -> None:
        """Restore the state of a checkpoint."""
        self.in_a_row.copy_(state[:, 0].long())
        self.counts.copy_(state[:, 1].long())
        self.losses.copy_(state[:, 2:])


class RecoverableRun:
    """Base class of `Trainer`: the state that checkpoints contain, saving, loading, resuming and rolling back."""

    compiled: bool
    metrics_logger: MetricsLogger

    def __init__(
        self,
        config: PretrainConfig,
        store: BlockStore,
        pair: Pair,
        folder: RunFolder,
        accelerator: Accelerator,
        world: World,
        words: WordFinder | None,
    ) -> None:
        self.config, self.folder, self.world = config, folder, world
        self.accelerator, self.device = accelerator, accelerator.device
        fsdp = config.parallel == "fsdp" and world.is_distributed
        max_local_rows = world.max_local_rows if fsdp else None
        self.batches = BatchMaker(store, config, self.device, words, world.local_rows, max_local_rows)
        self.run_length = RunLength.of(config, self.batches.curriculum.steps)
        self.pair = pair.to(self.device)
        world.broadcast_parameters(self.pair)
        if fsdp:
            shard(self.pair, accelerator, world)
        self.optimizer = PairOptimizer(self.pair, config.optimizer, accelerator.muon_dtype)
        self.metric_sums = MetricSums(self.device)
        self.spikes = LossSpikes(self.device)
        self.writer = CheckpointWriter(folder.path, config.checkpoint)
        self.settings = identity_of(config, store)
        self.progress = Progress()

    def device_state(self) -> dict[str, Tensor]:
        """The tensors of a checkpoint besides weights and optimizer state: metric sums and recent losses."""
        return {"metrics": self.metric_sums.sums, "losses": self.spikes.state()}

    def save(self, last: bool = False) -> None:
        """Start writing a checkpoint. A failure is logged and training continues, unless it is the `last`.

        Raises:
            ElektronError: the last one cannot be written.
        """
        self.metric_sums.reduce(self.world)
        is_main = self.world.is_main
        state = self.optimizer.state_tensors() | self.device_state()
        # All ranks gather sharded tensors, and rank 0 keeps them.
        weights = copy_to_cpu(dict(self.pair.named_parameters()), is_main)
        snapshot = Snapshot(weights, copy_to_cpu(state, is_main), copy.deepcopy(self.progress))
        if is_main:
            self.writer.start(snapshot)
        if last:
            with self.world.propagate_rank0_error():
                self.writer.wait(must_succeed=True)

    def load(self, path: Path) -> None:
        """Load weights, optimizers, counters and metric sums from a checkpoint."""
        self.progress, state = checkpoint.load(path, self.pair, self.optimizer, self.device_state())
        self.metric_sums = MetricSums(self.device)
        self.metric_sums.load_state(state["metrics"], self.world)
        self.spikes.load_state(state["losses"])
        self.batches.skipped_rows = self.progress.skipped_rows

    def newest_checkpoint(self) -> Path | None:
        """The newest valid checkpoint; rank 0 looks first and renames damaged ones."""
        self.writer.wait()
        found = None
        with self.world.propagate_rank0_error():
            if self.world.is_main:
                found = checkpoint.newest_valid(self.folder.path)
        if not self.world.is_main:
            found = checkpoint.newest_valid(self.folder.path)
        self.world.barrier()
        return found

    def resume(self) -> None:
        """Load the newest checkpoint, if there is one, and drop the metrics that were logged after it."""
        with self.world.propagate_rank0_error():
            if self.world.is_main:
                checkpoint.remove_leftovers(self.folder.path)
        path = self.newest_checkpoint()
        if path is not None:
            self.load(path)
        # Results are only bit-identical if these are the same.
        device = f"{self.accelerator.kind}, {self.accelerator.precision}, {'compiled' if self.compiled else 'eager'}"
        self.progress.device, previous_device = device, self.progress.device
        if self.progress.settings != self.settings:
            self.spikes.reset()
            self.progress.settings = self.settings
        self.folder.cut_metrics(-1 if path is None else self.progress.step)
        self.world.barrier()  # every rank reads the same metrics
        if path is None:
            return
        self.metrics_logger.resume(self.progress.step)
        log.info("resuming from step %d", self.progress.step)
        if previous_device not in ("", device):
            other = "the checkpoint was written by %s, this is %s: the results will not be bit-identical"
            log.warning(other, previous_device, device)
        if self.progress.schedule_from and self.run_length.fraction_done(self.progress) < 1:
            log.info("the run had ended and is longer now: its schedule restarts here")

    def roll_back(self) -> None:
        """Return to the newest checkpoint, and skip the rows that came after it.

        Raises:
            ElektronError: there is no checkpoint, or MAX_ROLLBACKS rollbacks in a row have not helped.
        """
        diverged, path = self.progress, self.newest_checkpoint()
        or_spikes = " or their losses spikes" if self.config.optimizer.skip_spikes else ""
        message = (
            f"{diverged.skipped} steps before step {diverged.step} were skipped because their gradients "
            f"were non-finite{or_spikes}"
        )
        if path is None or len(diverged.rollbacks) == MAX_ROLLBACKS:
            tried = f"skipping rows {MAX_ROLLBACKS} times has not helped"
            why_not = "there is no checkpoint to roll back to" if path is None else tried
            self.metrics_logger.log_alarm(diverged.step, NON_FINITE, message)
            raise ElektronError(
                f"{message}; {why_not}: start again in another --out with a lower "
                "--optimizer.learning-rate, a longer --optimizer.warmup or --precision fp32"
            )
        self.load(path)
        step = self.progress.step
        rows = self.batches.curriculum.rows_before(diverged.step) - self.batches.curriculum.rows_before(step)
        self.progress.skipped_rows = [*diverged.skipped_rows, (step, rows)]
        self.batches.skipped_rows = self.progress.skipped_rows
        self.progress.seconds = diverged.seconds
        self.progress.rollbacks = [*diverged.rollbacks, diverged.step]
        self.progress.skipped = 0  # those before the checkpoint have been counted already
        self.metric_sums = MetricSums(self.device)
        self.metrics_logger.roll_back(step, rows, message)
        log.warning("%s: rolling back to step %d and skipping the %s rows since", message, step, f"{rows:,}")
