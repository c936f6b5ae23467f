"""The training loop: `Trainer.train` repeats `Trainer.train_step`, logs, evaluates and saves.

Nothing in a step waits for the device: training metrics are summed there and fetched when they are logged.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from elektron.corpus.blocks import BlockStore
from elektron.device import Device
from elektron.errors import ElektronError
from elektron.models.pair import DISCRIMINATOR, GENERATOR, Pair
from elektron.pretraining import checkpoint
from elektron.pretraining.batches import BatchMaker, GlobalBatch, Prefetcher
from elektron.pretraining.checkpoint import Snapshot
from elektron.pretraining.compilation import compile_step, should_compile
from elektron.pretraining.config import SUMMARY, PretrainConfig
from elektron.pretraining.distributed import World
from elektron.pretraining.evaluation import evaluate, unigram_entropy
from elektron.pretraining.export import export, versions
from elektron.pretraining.flops import StepFlops
from elektron.pretraining.health import Health
from elektron.pretraining.interruption import Interruption
from elektron.pretraining.loss_spikes import LossSpikes
from elektron.pretraining.metrics import (
    NON_FINITE,
    MetricsLogger,
    MetricSums,
    StepTimer,
    closing_words,
    metrics_line,
)
from elektron.pretraining.objectives import UpdateRoles, make_objective
from elektron.pretraining.optimizers import PairOptimizer
from elektron.pretraining.plans import Plan
from elektron.pretraining.randomness import step_seed
from elektron.pretraining.run_folder import RunFolder, identity_of
from elektron.pretraining.saving import Saver
from elektron.pretraining.schedules import RunLength, learning_rate_factor
from elektron.pretraining.sharding import reshard, shard
from elektron.pretraining.whole_words import WordFinder
from elektron.progress import Progress as ProgressBar
from elektron.terminal import echo

log = logging.getLogger(__name__)

MAX_SKIPPED_STEPS = 10
"""Steps with non-finite gradients are skipped. After more than this many, with some in every line of training
metrics, the run rolls back to its last checkpoint and skips the rows since."""
MAX_ROLLBACKS = 2
SHORTENED_WARMUP = 0.1
"""A warm-up that is longer than the run is shortened to this fraction of it."""


class Trainer:
    """One pre-training run."""

    def __init__(
        self,
        config: PretrainConfig,
        store: BlockStore,
        tokenizer: PreTrainedTokenizerBase,
        pair: Pair,
        folder: RunFolder,
        on: Device,
        world: World,
        plan: Plan,
        words: WordFinder | None,
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.folder = folder
        self.on = on
        self.world = world
        self.device = self.on.device
        fsdp = config.parallel == "fsdp" and world.is_distributed
        self.batches = BatchMaker(
            store,
            config,
            self.device,
            words,
            world.local_rows,
            world.max_local_rows if fsdp else None,
        )
        self.curriculum = self.batches.curriculum
        self.run_length = RunLength.of(config, self.curriculum.steps)
        self.plan = plan
        self.plan.prepare(pair)
        self.pair = pair.to(self.device)
        world.broadcast_parameters(self.pair)
        if fsdp:
            shard(self.pair, on, world)
        self.optimizer = PairOptimizer(self.pair, config.optimizer, on.muon_dtype)
        self.temperature = torch.ones((), device=self.device)
        self.trained = torch.ones(2, dtype=torch.bool, device=self.device)
        """Whether generator and discriminator are trained in a step, `(2,)`."""
        self.objective = make_objective(
            config, store.manifest.special_ids, store.manifest.vocab_size
        )
        self.flops = StepFlops(self.pair, self.objective)
        self.compiled = should_compile(config, self.device, self.flops_of_run())
        self.forward = (
            compile_step(
                self.objective, self.pair, self.device, config.optimizer.separate_optimizers
            )
            if self.compiled
            else self.objective
        )
        self.warmup = self.fitting_warmup()
        warmup_steps = (
            self.warmup if self.warmup >= 1 else self.warmup * (self.run_length.steps or 0)
        )
        self.metrics_logger = MetricsLogger(
            folder, Health(unigram_entropy(self.batches), int(warmup_steps))
        )
        self.peak_flops = on.peak_flops * world.size
        self.metric_sums = MetricSums(self.device)
        self.spikes = LossSpikes(self.device)
        self.saver = Saver(folder.path, config.checkpoint)
        self.settings = identity_of(config, store)
        self.progress = checkpoint.Progress()
        self.resume()

    def train(self, interruption: Interruption) -> dict[str, Any]:
        """Train until the run is complete; its summary.

        Raises:
            SystemExit: `interruption` was requested; the run has been saved.
            ElektronError: training diverges, or the last checkpoint cannot be written.
        """
        config = self.config
        self.log_start()
        self.start_batches()
        with ProgressBar(
            "pre-training", self.run_length.total, self.run_length.unit, self.world.is_main
        ) as bar:
            fraction = self.fraction_done()
            while fraction < 1 and not self.world.stop_requested(interruption.requested):
                factor = self.scheduled_factor(fraction)
                batch = self.world.all_reduce_counts(self.prefetcher.take(), interruption.requested)
                self.train_step(batch, fraction, factor)
                self.saver.look()
                self.progress.seconds = self.timer.seconds()
                fraction = self.fraction_done()
                step = self.progress.step
                if step % config.log_every == 0 or fraction == 1:
                    self.log_training(factor, bar)
                    if self.has_diverged():
                        self.roll_back()
                        fraction = self.fraction_done()
                        continue
                if step % config.evaluation.every == 0:
                    self.log_evaluation()
                if step % config.checkpoint.every == 0 and fraction < 1:
                    self.save()
            bar.update(self.run_length.done(self.progress), bar.note)
        self.prefetcher.close()
        if fraction < 1:
            self.save(last=True)
            log.info(
                "interrupted at step %d and saved: the same command resumes from here",
                self.progress.step,
            )
            raise SystemExit(128 + (interruption.received or 0))
        self.progress.seconds = self.timer.seconds()
        return self.finish()

    def train_step(self, batch: GlobalBatch, fraction: float, factor: float) -> None:
        """One optimizer step. Each loss is divided by its token count over the global batch.

        Args:
            batch: the local rows, with the counts of all ranks.
            fraction: how much of the run is done.
            factor: of the peak learning rates.
        """
        step = self.progress.step
        roles, shape = self.plan.roles(fraction, step), self.curriculum.shape(step)
        if step and shape != self.curriculum.shape(step - 1):
            self.spikes.reset()  # losses of longer rows are not comparable
        # Filled on the device: copying a tensor of Python numbers there would synchronize with the host.
        temperature = self.temperature.fill_(self.plan.temperature(fraction))
        for index, is_trained in enumerate((roles.generator, roles.discriminator)):
            self.trained[index].fill_(is_trained)
        self.pair.set_trained(roles.generator, roles.discriminator)

        losses = torch.zeros(2, dtype=torch.float64, device=self.device)
        for number, micro_batch in enumerate(batch.micro_batches):
            torch.manual_seed(step_seed(self.config.seed, step, number, self.world.rank))
            with self.on.autocast():
                output = self.pair(self.forward, micro_batch, roles, temperature)
            generator_loss = discriminator_loss = None
            if roles.generator:
                generator_loss = self.objective.generator_loss(output, batch)
            if roles.discriminator:
                discriminator_loss = self.objective.discriminator_loss(output, batch)
            self.optimizer.backward(generator_loss, discriminator_loss)
            for index, loss in enumerate((generator_loss, discriminator_loss)):
                if loss is not None:
                    losses[index] += loss.detach()
            self.metric_sums.add(output)
        self.world.all_reduce(losses)

        spikes = self.spikes.detect(losses, self.trained)
        spike = spikes.any()
        allowed = ~spike if self.config.optimizer.skip_spikes else torch.ones_like(spike)
        norms = self.optimizer.step(factor, self.world, allowed)
        updated = torch.isfinite(norms[GENERATOR] + norms[DISCRIMINATOR]) & allowed
        self.spikes.add(losses, self.trained, updated, spikes)

        self.metric_sums.add_step(batch, output, self.objective, norms, updated, spike)
        masked = self.batches.max_masked(shape.length)
        self.progress.flops += self.flops(roles, shape.rows, shape.length, masked)
        self.progress.step += 1

    # The position in the run and its schedule.

    def start_batches(self) -> None:
        """Prefetch from the current step on, and start the clock."""
        self.prefetcher = Prefetcher(self.batches, self.progress.step)
        self.timer = StepTimer(self.progress.seconds, self.prefetcher)
        self.logged_flops = self.progress.flops

    def fraction_done(self) -> float:
        """How much of the run is done, equal on all ranks."""
        fraction = self.run_length.fraction_done(self.progress)
        return (
            fraction if self.run_length.seconds is None else self.world.broadcast_scalar(fraction)
        )

    def scheduled_factor(self, fraction: float) -> float:
        """The factor on the peak learning rates; each stage of a plan has a schedule of its own."""
        stage, progress = self.plan.stage(fraction), self.progress
        if stage != progress.stage:
            self.plan.enter(stage, self.pair)
            self.spikes.reset()
            progress.stage, progress.stage_step = stage, progress.step
        if progress.schedule_from:
            fraction = self.run_length.schedule_fraction(progress)
        return learning_rate_factor(
            self.plan.stage_fraction(fraction),
            progress.step - progress.stage_step + 1,
            self.warmup,
            self.config.optimizer.decay_fraction,
        )

    def fitting_warmup(self) -> float:
        """The configured warm-up, shortened if the run would end inside it."""
        warmup, steps = self.config.optimizer.warmup, self.run_length.steps
        if steps is not None:
            steps = int(steps * self.plan.shortest_stage)
        if steps is not None and warmup >= 1 and warmup >= steps:
            log.warning(
                "a warm-up of %d steps does not fit into %d: %d %% of the run are used",
                warmup,
                steps,
                round(SHORTENED_WARMUP * 100),
            )
            return SHORTENED_WARMUP
        return warmup

    def flops_of_run(self) -> float:
        """The FLOPs of the whole run, as far as its length tells; an upper bound under plans that alternate."""
        if self.run_length.flops is not None:
            return self.run_length.flops
        shape = self.curriculum.shape(sys.maxsize)
        masked = self.batches.max_masked(shape.length)
        return (self.run_length.steps or 0) * self.flops(
            UpdateRoles(), shape.rows, shape.length, masked
        )

    # Metrics.

    def log_start(self) -> None:
        """Log what is about to run."""
        counts = self.pair.parameter_counts(self.objective.detects)
        networks = " and ".join(
            f"{name} of {counts[name]:,} parameters"
            for name in (GENERATOR, DISCRIMINATOR)
            if name in counts
        )
        log.info(
            "family %s, objective %s, plan %s: %s, %s, %s tokens a step, on %s in %s, %s",
            self.config.family,
            self.objective.name,
            self.plan.name,
            networks,
            self.run_length,
            f"{self.curriculum.shape(self.progress.step).tokens:,}",
            self.on.name,
            self.on.precision,
            "compiled" if self.compiled else "eager",
        )

    def log_training(self, factor: float, bar: ProgressBar) -> None:
        """Fetch the training metrics since the last call from the device, and log them."""
        previous = self.metrics_logger.summed_from
        self.metric_sums.reduce(self.world)
        metrics = self.metric_sums.means()
        self.metric_sums = MetricSums(self.device)
        seconds, steps, waiting = self.timer.lap()
        step = self.progress.step
        if metrics["loss_spikes"]:
            log.warning(
                "step %d: a loss far above those before it in %d of the last %d steps%s",
                step,
                metrics["loss_spikes"],
                step - previous,
                ", which were skipped" if self.config.optimizer.skip_spikes else "",
            )
        tokens = self.curriculum.tokens_before(step) - self.curriculum.tokens_before(step - steps)
        flops_per_second = (self.progress.flops - self.logged_flops) / seconds
        self.logged_flops = self.progress.flops
        speed: dict[str, float | None] = {
            "learning_rate": (self.config.optimizer.learning_rate or 0.0) * factor,
            "tokens_per_second": tokens / seconds,
            "flops_per_second": flops_per_second,
            "mfu": flops_per_second / self.peak_flops,
            "data_wait_share": waiting / seconds,
        }
        self.metrics_logger.log_training(self.position(), metrics | speed)
        bar.update(self.run_length.done(self.progress), metrics_line(metrics))
        skipped = int(self.world.broadcast_scalar(metrics["skipped_steps"] or 0.0))
        self.progress.skipped = self.progress.skipped + skipped if skipped else 0

    def log_evaluation(self) -> dict[str, float | None]:
        """Evaluate on the held-out rows, and log it."""
        with_discriminator = self.plan.trains_discriminator(self.progress.stage)
        # Not worth compiling again: without gradients, and with other rows at the end.
        with self.on.autocast(), torch.compiler.set_stance("force_eager"):
            metrics = evaluate(self.pair, self.batches, self.objective, with_discriminator)
        reshard(self.pair)
        self.progress.held_out_loss = (
            self.objective.total_loss(metrics) if with_discriminator else None
        )
        steps_of_stage = self.progress.step - self.progress.stage_step
        self.metrics_logger.log_evaluation(self.position(), metrics, steps_of_stage)
        return metrics

    def position(self) -> dict[str, Any]:
        """Where in the run a line of metrics stands."""
        return {
            "step": self.progress.step,
            "tokens": self.curriculum.tokens_before(self.progress.step),
            "flops": self.progress.flops,
            "seconds": round(self.progress.seconds, 3),
        }

    # Checkpoints and recovery.

    def has_diverged(self) -> bool:
        """Whether too many steps have been skipped, in every line of metrics since the first of them.

        At the end of the run: or all steps since it, or its stage, began or was rolled back.
        """
        progress = self.progress
        began = max(progress.stage_step, *(step for step, _ in progress.skipped_rows), 0)
        never_updated = self.fraction_done() == 1 and progress.skipped >= progress.step - began
        return progress.skipped > MAX_SKIPPED_STEPS or never_updated

    def roll_back(self) -> None:
        """Return to the newest checkpoint, and skip the rows that came after it.

        Raises:
            ElektronError: there is no checkpoint, or this has not helped before.
        """
        self.prefetcher.close()
        step, seconds = self.progress.step, self.progress.seconds
        or_spikes = " or their losses spikes" if self.config.optimizer.skip_spikes else ""
        message = (
            f"{self.progress.skipped} steps before step {step} were skipped because their gradients were "
            f"non-finite{or_spikes}"
        )
        path = self.newest_checkpoint()
        if path is None or len(self.progress.skipped_rows) == MAX_ROLLBACKS:
            why = (
                "there is no checkpoint to roll back to"
                if path is None
                else f"skipping rows {MAX_ROLLBACKS} times has not helped"
            )
            self.metrics_logger.log_alarm(step, NON_FINITE, message)
            raise ElektronError(
                f"{message}; {why}: begin again in another --out with a lower --optimizer.learning-rate, a "
                "longer --optimizer.warmup or --precision fp32"
            )
        skipped_rows = self.progress.skipped_rows
        self.load(path)
        rows = self.curriculum.rows_before(step) - self.curriculum.rows_before(self.progress.step)
        self.progress.skipped_rows = [*skipped_rows, [self.progress.step, rows]]
        self.batches.skipped_rows = self.progress.skipped_rows
        self.progress.seconds = seconds
        self.progress.skipped = (
            0  # those before the checkpoint have been with_discriminator already
        )
        self.metric_sums = MetricSums(self.device)
        self.metrics_logger.roll_back(self.progress.step, rows, message)
        log.warning(
            "%s: rolling back to step %d and skipping the %s rows since",
            message,
            self.progress.step,
            f"{rows:,}",
        )
        self.start_batches()

    def device_state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps besides weights and optimizers: metric sums and recent losses."""
        return {"metric_sums": self.metric_sums.sums, "losses": self.spikes.state()}

    def save(self, last: bool = False) -> None:
        """Start writing a checkpoint. A failure is logged and training continues, unless it is the `last`.

        Raises:
            ElektronError: the last one cannot be written.
        """
        self.metric_sums.reduce(self.world)
        snapshot = Snapshot.of(
            self.pair, self.optimizer, self.device_state(), self.progress, self.world.is_main
        )
        if self.world.is_main:
            self.saver.start(snapshot)
        if last:
            with self.world.propagate_rank0_error():
                self.saver.finish()

    def load(self, path: Path) -> None:
        """Load weights, optimizers, counters and metric sums from a checkpoint."""
        self.progress, state = checkpoint.load(path, self.pair, self.optimizer, self.device_state())
        self.metric_sums = MetricSums(self.device)
        self.metric_sums.load_state(state["metric_sums"], self.world)
        self.spikes.load_state(state["losses"])
        self.batches.skipped_rows = self.progress.skipped_rows

    def newest_checkpoint(self) -> Path | None:
        """The newest undamaged checkpoint; rank 0 looks first and renames damaged ones."""
        self.saver.wait()
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
                checkpoint.clear(self.folder.path)
        path = self.newest_checkpoint()
        if path is not None:
            self.load(path)
        self.progress.device, previous_device = self.arithmetic, self.progress.device
        if self.progress.settings != self.settings:
            self.spikes.reset()
            self.progress.settings = self.settings
        self.folder.cut_metrics(self.progress.step)
        self.world.barrier()  # every rank reads the same metrics
        if path is None:
            return
        self.metrics_logger.resume(self.progress.step)
        log.info("resuming from step %d", self.progress.step)
        if previous_device not in ("", self.arithmetic):
            log.warning(
                "the checkpoint was written by %s, this is %s: the results will not be bit-identical",
                previous_device,
                self.arithmetic,
            )
        if self.progress.schedule_from and self.fraction_done() < 1:
            log.info("the run had ended and is longer now: its schedule begins anew here")

    @property
    def arithmetic(self) -> str:
        """What decides the bits of a result: processor, precision, and whether steps are compiled."""
        compiled = "compiled" if self.compiled else "eager"
        return f"{self.on.kind}, {self.on.precision}, {compiled}"

    # The end of the run.

    def finish(self) -> dict[str, Any]:
        """Evaluate, save, export both networks, and write the summary, which marks the run as finished."""
        metrics = self.metrics_logger.evaluated.get(self.progress.step) or self.log_evaluation()
        # Should the run be made longer, another schedule begins here.
        self.progress.schedule_from = self.run_length.done(self.progress)
        self.progress.stage_step = self.progress.step
        self.save(last=True)
        with self.world.propagate_rank0_error():
            export(self.pair, self.tokenizer, self.objective, self.batches, self.on, self.folder)
        summary = self.summary(metrics)
        if self.world.is_main:
            self.folder.write_json(SUMMARY, summary)
            echo(closing_words(summary, self.folder.path))
        self.world.barrier()
        return summary

    def summary(self, metrics: dict[str, float | None]) -> dict[str, Any]:
        """The metrics of the last evaluation, and what the run was and took."""
        seconds, position = max(self.progress.seconds, 1e-9), self.position()
        return metrics | {
            "objective": self.objective.name,
            "plan": self.plan.name,
            "steps": self.progress.step,
            "tokens": position["tokens"],
            "seconds": position["seconds"],
            "tokens_per_second": position["tokens"] / seconds,
            "flops": self.progress.flops,
            "device": self.on.name,
            "processes": self.world.size,
            "parallel": self.config.parallel,
            "precision": self.on.precision,
            "compiled": self.compiled,
            "flops_per_second": self.progress.flops / seconds,
            "mfu": self.progress.flops / seconds / self.peak_flops,
            "packing": self.batches.manifest.packing,
            "parameters": self.pair.parameter_counts(self.objective.detects),
            "versions": versions(),
        }
