"""Pre-training from blocks to a trained pair: `pretrain` prepares, `Trainer.run` is the loop.

A step draws its batch, asks the plan whose turn it is, passes the batch through the objective one
micro-batch at a time, and updates the networks that learn. Nothing in it waits for the device:
training metrics are summed there and fetched when they are logged. The run's folder then holds
`generator/` and `discriminator/` for transformers, `metrics.jsonl`, `summary.json` and examples.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from elektron.allocator import keep_freed_memory
from elektron.corpus.blocks import BlockStore
from elektron.corpus.vocabulary import load_tokenizer
from elektron.device import Device, same_bits
from elektron.errors import ElektronError
from elektron.evidence.runs import SUMMARY
from elektron.folders import followed
from elektron.lock import only_one
from elektron.models.pair import DISCRIMINATOR, GENERATOR, Pair
from elektron.pretraining import checkpoint
from elektron.pretraining.batches import BatchMaker, GlobalBatch, MicroBatch, Prefetcher
from elektron.pretraining.checkpoint import Snapshot
from elektron.pretraining.config import PretrainConfig, resolve
from elektron.pretraining.evaluation import evaluate, unigram_entropy
from elektron.pretraining.export import export, versions
from elektron.pretraining.flops import StepFlops
from elektron.pretraining.foundations import (
    like_the_released_pair,
    open_blocks,
    pair_for,
    prepare_run,
)
from elektron.pretraining.health import Health
from elektron.pretraining.interruption import Interruption
from elektron.pretraining.launching import (
    launch,
    launched,
    quiet_unless,
    stop_with_the_launcher,
    warn_of_hosts_that_cannot_return,
)
from elektron.pretraining.logbook import NOT_FINITE, Logbook, closing_words, in_short
from elektron.pretraining.measures import Clock, Horizon, Window
from elektron.pretraining.objectives import Output, Turn, make_objective
from elektron.pretraining.optimizers import PairOptimizer, schedule
from elektron.pretraining.plans import Plan
from elektron.pretraining.processes import Processes, refuse_too_many, take_own_gpu
from elektron.pretraining.randomness import step_seed
from elektron.pretraining.run_folder import RunFolder, identity_of
from elektron.pretraining.saving import Saver
from elektron.pretraining.sharding import put_away, shard
from elektron.pretraining.spikes import Spikes
from elektron.pretraining.words import WordFinder
from elektron.progress import Progress as ProgressBar
from elektron.terminal import say

log = logging.getLogger(__name__)

# Steps whose gradients are no finite numbers are skipped; past so many, with some in every line of
# metrics, the run goes back to its last checkpoint and leaves out the rows since, at most so often.
SKIPPED_AT_MOST, GOES_BACK_AT_MOST = 10, 2
RECOMPILE_LIMIT = 64
# Compiling the layers of a small pair takes half a minute on two CPU cores and saves a quarter of a step's time and
# more: it pays for runs of more operations than this, or of more seconds.
COMPILED_FROM_FLOPS, COMPILED_FROM_SECONDS = 8e12, 180
# A warm-up longer than the whole run is shortened to this share of it.
SHORTENED_WARMUP = 0.1


def pretrain(config: PretrainConfig) -> dict[str, Any]:
    """Train a pair as the configuration says, or go on where the same run stopped; its summary.

    Raises:
        ElektronError: an impossible configuration, unusable blocks, another run's folder, or
            gradients that stay without finite numbers.
        SystemExit: the run was interrupted, after it has been saved.
    """
    config = resolve(like_the_released_pair(config))
    keep_freed_memory()
    store = open_blocks(config)
    tokenizer = load_tokenizer(str(store.tokenizer_folder))
    torch.manual_seed(config.seed)
    ramp, plan, words = prepare_run(config, store.manifest, tokenizer)
    pair = pair_for(config, store.manifest)
    if config.nproc is not None and not launched():
        refuse_too_many(config.nproc, ramp.shape(0).store_rows)
        with own_folder(config, store) as folder:
            pass  # what is wrong with it is said once, here, and before anything is started
        if not folder.finished:
            launch(config)
        return folder.read_json(SUMMARY)
    stop_with_the_launcher()
    take_own_gpu()
    on = Device.choose(config.precision)
    with (
        Processes(on.device, timedelta(seconds=config.collective_timeout)) as processes,
        quiet_unless(processes.first),
        same_bits(on.device),
        ExitStack() as held,
    ):
        with processes.ending_together():
            refuse_too_many(processes.count, ramp.shape(0).store_rows)
        warn_of_hosts_that_cannot_return()
        folder = open_folder(config, store, processes, held)
        if folder.finished:
            return folder.read_json(SUMMARY)
        trainer = Trainer(config, store, tokenizer, pair, folder, on, processes, plan, words)
        with Interruption() as interruption:
            return trainer.run(interruption)


@contextmanager
def own_folder(config: PretrainConfig, store: BlockStore) -> Iterator[RunFolder]:
    """The run's folder, made if it is new, and kept from other processes as long as the block lasts."""
    folder = RunFolder(config.out)
    earlier, changed = folder.compared(config, store)
    if earlier is not None and folder.finished and not changed:
        log.info("%s is finished: its models are in discriminator/ and generator/", folder.path)
        yield folder  # nothing will be written
        return
    with only_one(followed(config.out), config.out):
        yield RunFolder.open(config, store)


def open_folder(
    config: PretrainConfig, store: BlockStore, processes: Processes, held: ExitStack
) -> RunFolder:
    """The run's folder, which the first process makes, and owns until `held` ends, and the others find."""
    with processes.ending_together():
        if processes.first:
            folder = held.enter_context(own_folder(config, store))
    if not processes.first:
        folder = RunFolder.open(config, store, writes=False)
    processes.wait()
    return folder


class Trainer:
    """One run in progress."""

    def __init__(
        self,
        config: PretrainConfig,
        store: BlockStore,
        tokenizer: PreTrainedTokenizerBase,
        pair: Pair,
        folder: RunFolder,
        on: Device,
        processes: Processes,
        plan: Plan,
        words: WordFinder | None,
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.folder = folder
        self.on = on
        self.processes = processes
        self.device = self.on.device
        divided = config.parallel == "fsdp" and processes.several
        self.batches = BatchMaker(
            store,
            config,
            self.device,
            words,
            processes.part,
            processes.largest_part if divided else None,
        )
        self.ramp = self.batches.ramp
        self.horizon = Horizon.of(config, self.ramp.steps)
        self.plan = plan
        self.plan.prepare(pair)
        self.pair = pair.to(self.device)
        processes.alike(self.pair)
        if divided:
            shard(self.pair, on, processes)
        self.optimizer = PairOptimizer(self.pair, config.optimizer, on.muon_dtype)
        self.temperature = torch.ones((), device=self.device)
        self.learning = torch.ones(2, dtype=torch.bool, device=self.device)
        self.warmup = self.fitting_warmup()
        self.objective = make_objective(
            config, store.manifest.special_ids, store.manifest.vocab_size
        )
        self.flops = StepFlops(self.pair, self.objective)
        self.compiled = self.compiles()
        self.forward = self.compiled_objective()
        warmup_steps = int(
            self.warmup if self.warmup >= 1 else self.warmup * (self.horizon.steps or 0)
        )
        self.logbook = Logbook(folder, Health(unigram_entropy(self.batches), warmup_steps))
        self.peak_flops = on.peak_flops * processes.count
        self.window = Window(self.device)
        self.spikes = Spikes(self.device)
        self.saver = Saver(folder.path, config.checkpoint)
        self.settings = identity_of(config, store)
        self.progress = checkpoint.Progress()
        self.resume()

    def run(self, interruption: Interruption) -> dict[str, Any]:
        """The loop."""
        progress, config = self.progress, self.config
        self.logged_flops = progress.flops
        self.announce()
        prefetcher = Prefetcher(self.batches, progress.step)
        clock = Clock(progress.seconds, prefetcher)
        with ProgressBar(
            "pre-training", self.horizon.total, self.horizon.unit, self.processes.first
        ) as bar:
            share = self.share()
            while share < 1 and not self.processes.all_stop(interruption.asked):
                rate = self.rate(share)
                batch = self.processes.whole(prefetcher.take(), interruption.asked)
                self.step(batch, share, rate)
                self.saver.look()
                progress.seconds = clock.seconds()
                share = self.share()
                line = progress.step % config.log_every == 0 or share == 1
                if line and self.log_training(clock, rate, bar):
                    prefetcher.close()
                    self.go_back()
                    progress = self.progress
                    self.logged_flops = progress.flops
                    prefetcher = Prefetcher(self.batches, progress.step)
                    clock = Clock(progress.seconds, prefetcher)
                    share = self.share()
                    continue
                if progress.step % config.evaluation.every == 0:
                    self.log_evaluation()
                if progress.step % config.checkpoint.every == 0 and share < 1:
                    self.save()
            bar.update(self.horizon.done(progress), bar.note)
        prefetcher.close()
        if share < 1:
            self.save(last=True)
            log.info(
                "interrupted at step %d and saved: the same command goes on from here",
                progress.step,
            )
            raise SystemExit(128 + (interruption.received or 0))
        progress.seconds = clock.seconds()
        return self.finish()

    def share(self) -> float:
        """How much of the run is done, the same in all processes."""
        share = self.horizon.share(self.progress)
        return share if self.horizon.seconds is None else self.processes.same(share)

    def rate(self, share: float) -> float:
        """The factor on the peak rates; a stage of the plan has a schedule of its own."""
        stage, progress = self.plan.stage(share), self.progress
        if stage != progress.stage:
            self.plan.enter(stage, self.pair)
            self.spikes.forget()
            progress.stage, progress.stage_step = stage, progress.step
        if progress.schedule_from:
            share = self.horizon.share_of_schedule(progress)
        return schedule(
            self.plan.share_of_stage(share),
            progress.step - progress.stage_step + 1,
            self.warmup,
            self.config.optimizer.cooldown,
        )

    def step(self, batch: GlobalBatch, share: float, rate: float) -> None:
        """One optimizer step; each loss is divided by its count over the global batch."""
        turn, shape = self.plan.turn(share, self.progress.step), self.ramp.shape(self.progress.step)
        if self.progress.step and shape != self.ramp.shape(self.progress.step - 1):
            self.spikes.forget()  # the losses of longer rows are others
        # Filled on the device: a tensor made of Python numbers would be copied there, and waited for.
        temperature = self.temperature.fill_(self.plan.temperature(share))
        self.pair.set_trained(turn.generator, turn.discriminator)
        for place, learns in enumerate((turn.generator, turn.discriminator)):
            self.learning[place].fill_(learns)
        asked = self.learning
        total = torch.zeros(2, dtype=torch.float64, device=self.device)
        for number, micro_batch in enumerate(batch.micro_batches):
            torch.manual_seed(
                step_seed(self.config.seed, self.progress.step, number, self.processes.rank)
            )
            with self.on.autocast():
                output = self.pair(self.forward, micro_batch, turn, temperature)
            losses = (
                self.objective.generator_loss(output, batch) if turn.generator else None,
                self.objective.discriminator_loss(output, batch) if turn.discriminator else None,
            )
            self.optimizer.backward(*losses)
            for place, loss in enumerate(losses):
                if loss is not None:
                    total[place] += loss.detach()
            self.window.add(output)
        self.update(batch, output, rate, self.processes.sum(total), asked)
        self.progress.flops += self.flops(
            turn, shape.rows, shape.length, self.batches.slots(shape.length)
        )
        self.progress.step += 1

    def update(
        self, batch: GlobalBatch, output: Output, rate: float, losses: Tensor, asked: Tensor
    ) -> None:
        """Move the weights, unless gradients or losses speak against it; the same in all processes."""
        spikes = self.spikes.found(losses, asked)
        spike = spikes.any()
        allowed = ~spike if self.config.optimizer.skip_spikes else torch.ones_like(spike)
        norms = self.optimizer.step(rate, self.processes, allowed)
        moved = torch.isfinite(norms[GENERATOR] + norms[DISCRIMINATOR]) & allowed
        self.spikes.take(losses, asked, moved, spikes)
        self.window.add_step(batch, output, self.objective, norms, moved, spike)

    def log_training(self, clock: Clock, rate: float, bar: ProgressBar) -> bool:
        """Fetch and log the metrics of the window, and begin another; whether training has diverged."""
        window_from = self.logbook.window_from
        self.window.gather(self.processes)
        figures = self.window.figures()
        self.window = Window(self.device)
        seconds, steps, waiting = clock.lap()
        skipped = self.processes.same(figures["skipped_steps"] or 0.0)
        step = self.progress.step
        if figures["loss_spikes"]:
            log.warning(
                "step %d: a loss far above those before it in %d of the last %d steps%s",
                step,
                figures["loss_spikes"],
                step - window_from,
                ", which were skipped" if self.config.optimizer.skip_spikes else "",
            )
        tokens = self.ramp.tokens_before(step) - self.ramp.tokens_before(step - steps)
        flops_per_second = (self.progress.flops - self.logged_flops) / seconds
        self.logged_flops = self.progress.flops
        measured: dict[str, float | None] = {
            "learning_rate": (self.config.optimizer.lr or 0.0) * rate,
            "tokens_per_second": tokens / seconds,
            "flops_per_second": flops_per_second,
            "mfu": flops_per_second / self.peak_flops,
            "data_wait_share": waiting / seconds,
        }
        self.logbook.training(self.position(), figures | measured)
        bar.update(self.horizon.done(self.progress), in_short(figures))
        return self.diverged(skipped)

    def log_evaluation(self) -> dict[str, float | None]:
        """Evaluate on the held-out rows, and log it."""
        judged = self.plan.judges(self.progress.stage)
        # Not worth compiling again: without gradients, and with other rows at the end.
        with self.on.autocast(), torch.compiler.set_stance("force_eager"):
            figures = evaluate(self.pair, self.batches, self.objective, judged)
        put_away(self.pair)
        self.progress.held_out_loss = self.objective.total_loss(figures) if judged else None
        steps_of_stage = self.progress.step - self.progress.stage_step
        self.logbook.evaluation(self.position(), figures, steps_of_stage)
        return figures

    def position(self) -> dict[str, Any]:
        """Where in the run a line of metrics stands."""
        return {
            "step": self.progress.step,
            "tokens": self.ramp.tokens_before(self.progress.step),
            "flops": self.progress.flops,
            "seconds": round(self.progress.seconds, 3),
        }

    def diverged(self, skipped: float) -> bool:
        """Whether too many steps have been skipped, line of metrics after line.

        At the end of a run too many are also all of them, since it, or its stage, began or it went back: it has not
        been trained then, or going back has not helped.
        """
        progress = self.progress
        progress.skipped = progress.skipped + int(skipped) if skipped else 0
        began = max(progress.stage_step, *(step for step, _ in progress.passed_over), 0)
        unmoved = self.share() == 1 and progress.skipped >= progress.step - began
        return progress.skipped > SKIPPED_AT_MOST or unmoved

    def go_back(self) -> None:
        """Return to the newest checkpoint, and leave out the rows that came after it.

        Raises:
            ElektronError: there is none, or this has not helped before.
        """
        step, seconds = self.progress.step, self.progress.seconds
        or_spikes = " or their losses spikes" if self.config.optimizer.skip_spikes else ""
        message = (
            f"{self.progress.skipped} steps before step {step} were skipped, because their gradients were "
            f"no finite numbers{or_spikes}"
        )
        kept = self.newest_checkpoint()
        if kept is None or len(self.progress.passed_over) == GOES_BACK_AT_MOST:
            why = (
                "there is no checkpoint to go back to"
                if kept is None
                else f"leaving out rows {GOES_BACK_AT_MOST} times has not helped"
            )
            self.logbook.alarm(step, NOT_FINITE, message)
            raise ElektronError(
                f"{message}; {why}: begin again in another --out with a lower --optimizer.lr, a "
                "longer --optimizer.warmup or --precision fp32"
            )
        passed_over = self.progress.passed_over
        self.progress, measures = checkpoint.load(kept, self.pair, self.optimizer, self.measures())
        rows = self.ramp.rows_before(step) - self.ramp.rows_before(self.progress.step)
        self.progress.passed_over = [*passed_over, [self.progress.step, rows]]
        self.progress.seconds = seconds
        self.take_over(measures)
        # What was skipped before it has been judged, and is counted once.
        self.progress.skipped = 0
        self.window = Window(self.device)
        self.logbook.went_back(self.progress.step, rows, message)
        log.warning(
            "%s: going back to step %d and leaving out the %s rows since",
            message,
            self.progress.step,
            f"{rows:,}",
        )

    def measures(self) -> dict[str, Tensor]:
        """What is summed up or remembered on the device, as a checkpoint has it."""
        return {"window": self.window.sums, "losses": self.spikes.state()}

    def take_over(self, measures: dict[str, Tensor]) -> None:
        """Go on with the metrics and the rows of a checkpoint."""
        self.window = Window(self.device)
        self.window.take_over(measures["window"], self.processes)
        self.spikes.take_over(measures["losses"])
        self.batches.passed_over = self.progress.passed_over

    def save(self, last: bool = False) -> None:
        """Have a checkpoint written. Where that fails, training goes on and says so, unless it is the `last`.

        Raises:
            ElektronError: the last one cannot be written.
        """
        self.window.gather(self.processes)
        snapshot = Snapshot.of(
            self.pair,
            self.optimizer,
            self.measures(),
            self.progress,
            self.processes.first,
        )
        if self.processes.first:
            self.saver.start(snapshot)
        if last:
            with self.processes.ending_together():
                self.saver.finish()

    def newest_checkpoint(self) -> Path | None:
        """The newest whole one, which the first process looks for before the others do."""
        self.saver.wait()
        found = None
        with self.processes.ending_together():
            if self.processes.first:
                found = checkpoint.newest_whole(self.folder.path)
        if not self.processes.first:
            found = checkpoint.newest_whole(self.folder.path)
        self.processes.wait()
        return found

    def resume(self) -> None:
        """Go back to the newest checkpoint, if there is one; what was logged after it is forgotten."""
        with self.processes.ending_together():
            if self.processes.first:
                checkpoint.clear(self.folder.path)
        found = self.newest_checkpoint()
        if found is not None:
            self.progress, measures = checkpoint.load(
                found, self.pair, self.optimizer, self.measures()
            )
            self.take_over(measures)
        self.progress.device, found_on = self.arithmetic, self.progress.device
        if self.progress.settings != self.settings:
            self.spikes.forget()
            self.progress.settings = self.settings
        self.folder.cut_metrics(self.progress.step)
        self.processes.wait()  # all remember the same
        if found is not None:
            self.logbook.resumed(self.progress.step)
            log.info("resuming from step %d", self.progress.step)
            if found_on not in ("", self.arithmetic):
                log.warning(
                    "the checkpoint was written by %s, this is %s: the results will not be bit-identical",
                    found_on,
                    self.arithmetic,
                )
            if self.progress.schedule_from and self.share() < 1:
                log.info("the run had ended and is longer now: its schedule begins anew here")

    def finish(self) -> dict[str, Any]:
        """Evaluate, save, export both networks, and write the summary, which marks the run as finished."""
        figures = self.logbook.evaluated.get(self.progress.step) or self.log_evaluation()
        # Should the run be made longer, another schedule begins here.
        self.progress.schedule_from = self.horizon.done(self.progress)
        self.progress.stage_step = self.progress.step
        self.save(last=True)
        with self.processes.ending_together():
            export(self.pair, self.tokenizer, self.objective, self.batches, self.on, self.folder)
        summary = self.summary(figures)
        if self.processes.first:
            self.folder.write_json(SUMMARY, summary)
            say(closing_words(summary, self.folder.path))
        self.processes.wait()
        return summary

    def summary(self, figures: dict[str, float | None]) -> dict[str, Any]:
        """The figures of the last evaluation, and what the run was and took."""
        seconds, position = self.progress.seconds, self.position()
        return figures | {
            "objective": self.objective.name,
            "plan": self.plan.name,
            "steps": self.progress.step,
            "tokens": position["tokens"],
            "seconds": position["seconds"],
            "tokens_per_second": position["tokens"] / max(seconds, 1e-9),
            "flops": self.progress.flops,
            "device": self.on.name,
            "processes": self.processes.count,
            "parallel": self.config.parallel,
            "precision": self.on.precision,
            "compiled": self.compiled,
            "flops_per_second": self.progress.flops / max(seconds, 1e-9),
            "mfu": self.progress.flops / max(seconds, 1e-9) / self.peak_flops,
            "packing": self.batches.manifest.packing,
            "parameters": self.pair.parameter_counts(self.objective.detects),
            "versions": versions(),
        }

    @property
    def arithmetic(self) -> str:
        """What decides the bits of a result: processor, precision, and whether steps are compiled."""
        compiled = "compiled" if self.compiled else "eager"
        return f"{self.on.kind}, {self.on.precision}, {compiled}"

    def compiles(self) -> bool:
        """Whether steps are compiled: as configured, else on GPUs and for long runs on CPUs."""
        if self.config.compile is not None:
            return self.config.compile
        if self.config.parallel == "fsdp":
            return False
        if self.device.type == "cuda":
            return True
        if shutil.which(os.environ.get("CXX", "g++")) is None:
            return False  # Inductor needs a C++ compiler
        horizon = self.horizon
        if horizon.seconds is not None:
            return horizon.seconds >= COMPILED_FROM_SECONDS
        flops = horizon.flops
        if flops is None:
            shape = self.ramp.shape(sys.maxsize)
            slots = self.batches.slots(shape.length)
            flops = (horizon.steps or 0) * self.flops(Turn(), shape.rows, shape.length, slots)
        return flops >= COMPILED_FROM_FLOPS

    def announce(self) -> None:
        """Say what is about to run."""
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
            self.horizon,
            f"{self.ramp.shape(self.progress.step).tokens:,}",
            self.on.name,
            self.on.precision,
            "compiled" if self.compiled else "eager",
        )

    def fitting_warmup(self) -> float:
        """The configured warm-up, shortened if the run would end inside it."""
        warmup, steps = self.config.optimizer.warmup, self.horizon.steps
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

    def compiled_objective(self) -> Callable[[Pair, MicroBatch, Turn, Tensor], Output]:
        """The objective as a step calls it: compiled as a whole, with compiled layers, or as it is."""
        if not self.compiled:
            return self.objective
        torch.compiler.reset()  # earlier runs of this process count against a limit of recompilations
        # One piece of code serves networks of two sizes, which learn or not, and each stage of a curriculum.
        torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
        if self.device.type == "cpu" or self.config.optimizer.separate:
            # On CPUs one layer takes a fraction of the time to compile, and runs as fast. Separate
            # optimizers take two backward passes, and a compiled objective has one.
            for layer in self.pair.encoder_layers():
                layer.compile(fullgraph=True, dynamic=False)
            return self.objective
        return torch.compile(self.objective, fullgraph=True, dynamic=False)
