"""The training loop: `Trainer.train` repeats `Trainer.train_step`, logs, evaluates and saves.

Nothing in a step waits for the device: training metrics are summed there and fetched when they are logged.
"""

from __future__ import annotations

import copy
import logging
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from elektron import __version__
from elektron.accelerator import Accelerator
from elektron.corpus.blocks import BlockStore
from elektron.errors import ElektronError
from elektron.models.dtensors import copy_to_cpu
from elektron.models.pair import DISCRIMINATOR, GENERATOR, Pair
from elektron.pretraining import checkpoint
from elektron.pretraining.batches import BatchMaker, GlobalBatch, Prefetcher
from elektron.pretraining.checkpoint import CheckpointWriter
from elektron.pretraining.compilation import compile_step, should_compile
from elektron.pretraining.config import EXAMPLES, SUMMARY, PretrainConfig
from elektron.pretraining.distributed import World, reshard, shard
from elektron.pretraining.evaluation import evaluate, find_examples
from elektron.pretraining.health import Health, first_judged_step
from elektron.pretraining.launching import Interruption
from elektron.pretraining.masking import WordFinder, max_masked_positions
from elektron.pretraining.metrics import NON_FINITE, MetricsLogger, MetricSums, metrics_line, summary_text
from elektron.pretraining.objectives import UpdateRoles, make_objective
from elektron.pretraining.optimizers import PairOptimizer
from elektron.pretraining.plans import Plan
from elektron.pretraining.randomness import step_seed
from elektron.pretraining.recovery import MAX_ROLLBACKS, LossSpikes, has_diverged
from elektron.pretraining.run import RunFolder, identity_of
from elektron.pretraining.schedules import Progress, RunLength, effective_warmup, learning_rate_factor
from elektron.progress import Progress as ProgressBar
from elektron.terminal import echo

log = logging.getLogger(__name__)


class Trainer:
    """One pre-training run."""

    def __init__(
        self,
        config: PretrainConfig,
        store: BlockStore,
        tokenizer: PreTrainedTokenizerBase,
        pair: Pair,
        folder: RunFolder,
        accelerator: Accelerator,
        world: World,
        plan: Plan,
        words: WordFinder | None,
    ) -> None:
        self.config, self.tokenizer, self.folder, self.world = config, tokenizer, folder, world
        self.accelerator, self.device, self.plan = accelerator, accelerator.device, plan
        fsdp = config.parallel == "fsdp" and world.is_distributed
        max_local_rows = world.max_local_rows if fsdp else None
        self.batches = BatchMaker(store, config, self.device, words, world.local_rows, max_local_rows)
        self.curriculum = self.batches.curriculum
        self.run_length = RunLength.of(config, self.curriculum.steps)
        plan.prepare(pair)
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
        self.temperature = torch.ones((), device=self.device)
        self.trained = torch.ones(2, dtype=torch.bool, device=self.device)
        """Whether generator and discriminator are trained in a step, `(2,)`."""
        self.objective = make_objective(config, store.manifest.special_ids, store.manifest.vocab_size)
        self.compiled = should_compile(config, self.device, self.flops_of_run())
        self.forward = compile_step(self.objective, self.pair, self.device) if self.compiled else self.objective
        steps = self.run_length.steps
        self.warmup = self.fitting_warmup(steps)
        health = Health(store.unigram_entropy, first_judged_step(self.warmup, steps))
        self.metrics_logger = MetricsLogger(folder, health)
        self.peak_flops = accelerator.peak_flops * world.size
        self.resume()
        if steps is not None and 0 < self.progress.schedule_from < steps:
            self.warmup = self.fitting_warmup(steps - int(self.progress.schedule_from))

    def fitting_warmup(self, steps: int | None) -> float:
        """The configured warm-up, shortened if it does not fit into the shortest stage of `steps` steps."""
        configured = self.config.optimizer.warmup
        shortest = None if steps is None else int(steps * self.plan.shortest_stage)
        warmup = effective_warmup(configured, shortest)
        if warmup != configured:
            log.warning(
                f"a warm-up of {configured:g} steps does not fit into {shortest}: it is shortened to {warmup:.0%} "
                "of the steps"
            )
        return warmup

    def train(self, interruption: Interruption) -> dict[str, Any]:
        """Train until the run is complete, and return its summary.

        Raises:
            SystemExit: `interruption` was requested; the run has been saved.
            ElektronError: training diverges, or the last checkpoint cannot be written.
        """
        config = self.config
        self.log_start()
        if config.init_from is not None and self.progress.step == 0 and not self.metrics_logger.evaluated:
            self.log_evaluation()
        self.start_batches()
        if self.compiled:
            log.info("compiling: the first step takes longer")
        with ProgressBar("pre-training", self.run_length.total, self.run_length.unit, self.world.is_main) as bar:
            fraction = self.fraction_done()
            while fraction < 1 and not self.world.stop_requested(interruption.requested):
                factor = self.scheduled_factor(fraction)
                batch = self.world.all_reduce_counts(self.prefetcher.take(), interruption.requested)
                self.train_step(batch, fraction, factor)
                self.writer.poll()
                self.progress.seconds = time.perf_counter() - self.started
                fraction = self.fraction_done()
                step = self.progress.step
                if step % config.log_every == 0 or fraction == 1:
                    self.log_training(factor, bar)
                    if has_diverged(self.progress, fraction == 1):
                        self.prefetcher.close()
                        self.roll_back()
                        self.start_batches()
                        fraction = self.fraction_done()
                        continue
                elif not bar.note:  # nothing has been logged yet
                    bar.update(self.run_length.done(self.progress))
                if step % config.evaluation.every == 0:
                    self.log_evaluation()
                if step % config.checkpoint.every == 0 and fraction < 1:
                    if not self.progress.skipped and step > max(self.progress.rollbacks, default=step):
                        self.progress.rollbacks = []
                    self.save()
            bar.update(self.run_length.done(self.progress), bar.note)
        self.prefetcher.close()
        if fraction < 1:
            self.save(last=True)
            log.info("interrupted at step %d and saved: the same command resumes from here", self.progress.step)
            raise SystemExit(128 + (interruption.received or 0))
        self.progress.seconds = time.perf_counter() - self.started
        return self.finish()

    def train_step(self, batch: GlobalBatch, fraction: float, factor: float) -> None:
        """One optimizer step. Each loss is divided by its token count over the global batch.

        Args:
            batch: the local rows, with the counts of all ranks.
            fraction: how much of the run is done.
            factor: multiplies the peak learning rates.
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
            with self.accelerator.autocast():
                output = self.pair(self.forward, micro_batch, roles, temperature)
            micro_losses = self.objective.losses(output, batch, roles)
            torch.stack(list(micro_losses.values())).sum().backward()
            for index, network in enumerate((GENERATOR, DISCRIMINATOR)):
                if network in micro_losses:
                    losses[index] += micro_losses[network].detach()
            self.metric_sums.add(output)
        self.world.all_reduce(losses)

        spikes = self.spikes.detect(losses, self.trained)
        spike = spikes.any()
        allowed = ~spike if self.config.optimizer.skip_spikes else torch.ones_like(spike)
        norms = self.optimizer.step(factor, self.world, allowed)
        updated = torch.isfinite(norms[GENERATOR] + norms[DISCRIMINATOR]) & allowed
        self.spikes.add(losses, self.trained, updated, spikes)

        self.metric_sums.add_step(self.objective.token_counts(batch), output, norms, updated, spike)
        self.progress.flops += self.step_flops(roles, step)
        self.progress.step += 1

    # Saving, resuming and rolling back.

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
        state = copy_to_cpu(state, is_main)
        if is_main:
            self.writer.start(weights, state, copy.deepcopy(self.progress))
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
        with self.world.propagate_rank0_error():
            path = checkpoint.newest_valid(self.folder.path) if self.world.is_main else None
        if not self.world.is_main:
            path = checkpoint.newest_valid(self.folder.path)
        self.world.barrier()
        return path

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
            message = "the checkpoint was written by %s, this is %s: the results will not be bit-identical"
            log.warning(message, previous_device, device)
        if self.progress.schedule_from and self.run_length.fraction_done(self.progress) < 1:
            log.info("the finished run was made longer: its schedule restarts here")

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
        rows = self.curriculum.rows_before(diverged.step) - self.curriculum.rows_before(step)
        self.progress.skipped_rows = [*diverged.skipped_rows, (step, rows)]
        self.batches.skipped_rows = self.progress.skipped_rows
        self.progress.seconds = diverged.seconds
        self.progress.rollbacks = [*diverged.rollbacks, diverged.step]
        self.progress.skipped = 0  # those before the checkpoint have been counted already
        self.metric_sums = MetricSums(self.device)
        self.metrics_logger.roll_back(step, rows, message)
        log.warning("%s: rolling back to step %d and skipping the %s rows since", message, step, f"{rows:,}")

    # The position in the run and its schedule.

    def start_batches(self) -> None:
        """Prefetch from the current step on, and start the clock."""
        self.prefetcher = Prefetcher(self.batches, self.progress.step)
        self.started = time.perf_counter() - self.progress.seconds
        self.logged = self.counters()

    def counters(self) -> tuple[float, int, float, float]:
        """Time in seconds, steps, seconds of waiting for data, and FLOPs; their differences are logged."""
        waited = self.prefetcher.waited_seconds
        return time.perf_counter(), self.progress.step, waited, self.progress.flops

    def fraction_done(self, since: float = 0.0) -> float:
        """How much of the run after the position `since` is done, equal on all ranks."""
        fraction = self.run_length.fraction_done(self.progress, since)
        return self.world.broadcast_scalar(fraction) if self.run_length.unit == "seconds" else fraction

    def scheduled_factor(self, fraction: float) -> float:
        """The factor on the peak learning rates. Starts a new stage of the plan when it is due."""
        stage, progress = self.plan.stage(fraction), self.progress
        if stage != progress.stage:
            self.plan.start_stage(stage, self.pair)
            self.spikes.reset()
            progress.stage, progress.stage_step = stage, progress.step
        if progress.schedule_from:
            fraction = self.fraction_done(progress.schedule_from)  # the run had ended and was made longer
        return learning_rate_factor(
            self.plan.stage_fraction(fraction),
            progress.step - progress.stage_step + 1,
            self.warmup,
            self.config.optimizer.decay_fraction,
        )

    def step_flops(self, roles: UpdateRoles, step: int) -> int:
        """FLOPs of a step."""
        shape = self.curriculum.shape(step)
        masked = max_masked_positions(shape.length, self.config.masking.mask_probability)
        return self.objective.step_flops(self.pair, roles, shape.rows, shape.length, masked)

    def flops_of_run(self) -> float:
        """FLOPs of the whole run if each step trained both networks; 0 if its length does not determine them."""
        if self.config.flops is not None:
            return self.config.flops
        return (self.run_length.steps or 0) * self.step_flops(UpdateRoles(), sys.maxsize)

    # Metrics.

    def log_start(self) -> None:
        """Log the configuration of the run."""
        counts = self.pair.parameter_counts(self.objective.detects)
        networks = (f"{name} of {counts[name]:,} parameters" for name in (GENERATOR, DISCRIMINATOR) if name in counts)
        tokens = self.curriculum.shape(self.progress.step).tokens
        log.info(
            f"family {self.config.family}, objective {self.objective.name}, plan {self.plan.name}: "
            f"{' and '.join(networks)}, {self.run_length}, {tokens:,} tokens a step, "
            f"on {self.accelerator.name} in {self.accelerator.precision}, {'compiled' if self.compiled else 'eager'}"
        )

    def log_training(self, factor: float, bar: ProgressBar) -> None:
        """Fetch the training metrics since the last call from the device, and log them."""
        previous, step = self.metrics_logger.summed_from, self.progress.step
        self.metric_sums.reduce(self.world)
        metrics = self.metric_sums.means()
        self.metric_sums = MetricSums(self.device)
        if metrics["loss_spikes"]:
            which = ", which were skipped" if self.config.optimizer.skip_spikes else ""
            spikes = metrics["loss_spikes"]
            log.warning("step %d: loss spikes in %d of the last %d steps%s", step, spikes, step - previous, which)
        before, self.logged = self.logged, self.counters()
        seconds, steps, waited, flops = (b - a for a, b in zip(before, self.logged, strict=True))
        tokens = self.curriculum.tokens_before(step)
        tokens -= self.curriculum.tokens_before(int(step - steps))
        speed: dict[str, float | None] = {
            "learning_rate": (self.config.optimizer.learning_rate or 0.0) * factor,
            "tokens_per_second": tokens / seconds,
            "flops_per_second": flops / seconds,
            "mfu": flops / seconds / self.peak_flops,
            "data_wait_share": waited / seconds,
        }
        self.metrics_logger.log_training(self.position(), metrics | speed)
        bar.update(self.run_length.done(self.progress), metrics_line(metrics))
        skipped = int(self.world.broadcast_scalar(metrics["skipped_steps"] or 0.0))
        self.progress.skipped = self.progress.skipped + skipped if skipped else 0

    def log_evaluation(self) -> dict[str, float | None]:
        """Evaluate on the held-out rows, and log the metrics."""
        with_discriminator = self.plan.trains_discriminator(self.progress.stage)
        # Eager: evaluation, without gradients and with a smaller last batch, would need its own compilation.
        with self.accelerator.autocast(), torch.compiler.set_stance("force_eager"):
            metrics = evaluate(self.pair, self.batches, self.objective, with_discriminator)
        reshard(self.pair)
        loss = self.objective.total_loss(metrics) if with_discriminator else None
        self.progress.held_out_loss = loss
        steps_of_stage = self.progress.step - self.progress.stage_step
        position = self.position()
        if self.progress.step == 0:
            position["new_parts"] = self.pair.new_parts
        self.metrics_logger.log_evaluation(position, metrics, steps_of_stage)
        return metrics

    def position(self) -> dict[str, Any]:
        """The position in the run, for a line of metrics."""
        return {
            "step": self.progress.step,
            "tokens": self.curriculum.tokens_before(self.progress.step),
            "flops": self.progress.flops,
            "seconds": round(self.progress.seconds, 3),
        }

    # The end of the run.

    def finish(self) -> dict[str, Any]:
        """Evaluate, save, export both networks, and write the summary, which marks the run as finished."""
        metrics = self.metrics_logger.evaluated.get(self.progress.step) or self.log_evaluation()
        # If the run is made longer later, its new schedule starts here.
        self.progress.schedule_from = self.run_length.done(self.progress)
        self.progress.stage_step = self.progress.step
        self.save(last=True)
        with self.world.propagate_rank0_error():
            self.export()
        summary = self.summary(metrics)
        if self.world.is_main:
            self.folder.write_json(SUMMARY, summary)
            echo(summary_text(summary, self.folder, self.config.init_from))
        self.world.barrier()
        return summary

    def export(self) -> None:
        """Write both models, and example sentences if the objective detects replaced tokens.

        All ranks gather sharded weights, then rank 0 writes.

        Raises:
            ElektronError: they cannot be written. The last checkpoint is complete, so a restart writes them.
        """
        examples, detects = None, self.objective.detects
        if detects:
            with self.accelerator.autocast(), torch.compiler.set_stance("force_eager"):
                examples = find_examples(self.pair, self.batches, self.objective, self.tokenizer)
            reshard(self.pair)
        out, writes = self.folder.path, self.folder.writes
        try:
            self.pair.save(out, self.tokenizer, self.objective.name, detects, writes)
            if examples is not None and writes:
                self.folder.write_json(EXAMPLES, examples)
        except (OSError, SafetensorError) as error:
            raise ElektronError(
                f"the models cannot be written into {out} ({error}): the run is saved, and the "
                "same command writes them when there is room"
            ) from error

    def summary(self, metrics: dict[str, float | None]) -> dict[str, Any]:
        """The metrics of the last evaluation, and the settings, length and speed of the run."""
        seconds, position = max(self.progress.seconds, 1e-9), self.position()
        return metrics | {
            "objective": self.objective.name,
            "plan": self.plan.name,
            "steps": self.progress.step,
            "unigram_entropy": self.metrics_logger.health.unigram_entropy,
            "tokens": position["tokens"],
            "seconds": position["seconds"],
            "tokens_per_second": position["tokens"] / seconds,
            "flops": self.progress.flops,
            "device": self.accelerator.name,
            "processes": self.world.size,
            "parallel": self.config.parallel,
            "precision": self.accelerator.precision,
            "compiled": self.compiled,
            "flops_per_second": self.progress.flops / seconds,
            "mfu": self.progress.flops / seconds / self.peak_flops,
            "packing": self.batches.manifest.packing,
            "parameters": self.pair.parameter_counts(self.objective.detects),
            "versions": versions(),
        }


def versions() -> dict[str, str]:
    """Versions of the software that computes the weights."""
    return {
        "elektron": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
