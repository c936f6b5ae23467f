"""One run of a comparison, a pre-training and then its probes, and the execution of several on devices.

`result.json` is written after the pre-training and after each probe, so that a part that is done is not done again. An
interrupted pre-training or fine-tuning resumes by its own rules.

On a CPU runs are executed one after another in this process. On GPUs each is a process that sees one device, so that
its memory and compiled code end with it; its output goes to `log.txt`.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Generator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from elektron.compare.probes import PRETRAINING, Probe
from elektron.errors import ElektronError
from elektron.io.files import atomic_write, from_json, to_json
from elektron.pretraining.config import PretrainConfig
from elektron.reporting.reading import Record, read_json
from elektron.reporting.variants_report import ProbeResult, VariantRun
from elektron.terminal import output, output_enabled

RESULT = "result.json"
LOG = "log.txt"
VISIBLE = "CUDA_VISIBLE_DEVICES"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A pre-training of a variant with one seed and budget, and its probes."""

    out: Path
    """The comparison's folder."""
    name: str
    """The run's folder in it: variant, budget and seed."""
    variant: str
    budget: str
    seed: int
    pretraining: PretrainConfig
    probes: Sequence[Probe]

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.out / self.name

    def result(self) -> VariantRun | None:
        """What is done of the run; None if its pre-training is not.

        Raises:
            ElektronError: `result.json` is of another run, or of another probe of the same name.
        """
        return read_json(self.folder / RESULT, self._parse_result)

    def remaining(self, result: VariantRun) -> list[Probe]:
        """The probes without a result."""
        return [probe for probe in self.probes if probe.name not in result.probes]

    def _parse_result(self, content: Any) -> VariantRun:
        result: VariantRun = from_json(content, VariantRun, "the result")
        if (result.variant, result.budget, result.seed) != (self.variant, self.budget, self.seed):
            raise ElektronError(f"{self.folder / RESULT} is the result of another run: choose another --out")
        if result.flops is not None and result.flops <= 0:
            raise ValueError(f"flops must be positive, got {result.flops:g}")
        for probe in self.probes:
            if (done := result.probes.get(probe.name)) and done.command != probe.command:
                raise ElektronError(
                    f"{self.folder}: probe {probe.name} was {done.command!r}, not {probe.command!r}: "
                    "give it another name, NAME=TASK …, or choose another --out"
                )
        return result


def execute(run: Run) -> VariantRun:
    """Execute the unfinished parts of a run, and write its `result.json`.

    Raises:
        ElektronError: a part of it cannot work; the message names the run.
        SystemExit: it was interrupted, and its pre-training has been saved.
    """
    result = run.result()
    run.folder.mkdir(parents=True, exist_ok=True)
    try:
        with output_enabled(output.progress, results=False):  # the comparison prints its own
            if result is None:
                metrics = _pretrain(run.pretraining)
                result = VariantRun(run.variant, run.budget, run.seed, run.name, **metrics)
                atomic_write(run.folder / RESULT, to_json(result, indent=1))
            for probe in run.remaining(result):
                result = replace(result, probes=result.probes | {probe.name: _finetune(run, probe)})
                atomic_write(run.folder / RESULT, to_json(result, indent=1))
    except ElektronError as error:
        raise ElektronError(f"{run.name}: {error}") from error
    return result


def _pretrain(config: PretrainConfig) -> Record:
    from elektron.pretraining.pretrain import pretrain
    from elektron.report import report
    from elektron.reporting.config import ReportConfig

    summary = pretrain(config)
    shutil.rmtree(config.out / "checkpoints", ignore_errors=True)  # nothing is left to resume
    report(ReportConfig(runs=[config.out]))
    names = ("flops", "seconds", "tokens", "generator_loss", "discriminator_auc", "parameters", "device")
    return {name: summary.get(name) for name in names}


def _finetune(run: Run, probe: Probe) -> ProbeResult:
    from elektron.finetuning.finetune import finetune
    from elektron.reporting.task_result import read_task_result

    out, model = run.folder / probe.name, run.folder / PRETRAINING / "discriminator"
    shutil.rmtree(out, ignore_errors=True)  # complete, but the process was killed before it wrote the result
    finetune(replace(probe.config, model=str(model), out=out, seed=run.seed))
    result = read_task_result(out)
    return ProbeResult(
        command=probe.command,
        task=result.task,
        metric=result.metric,
        split="test" if probe.config.test else "eval",
        rows=result.rows,
        value=result.metrics[result.metric],
        interval=result.intervals.get(result.metric),
        baselines=result.of_baselines(result.metric),
        collapsed=(result.kept.collapsed or None) if result.kept else None,
    )


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them; none on a CPU."""
    import torch

    count = torch.cuda.device_count()
    names = list(filter(None, os.environ.get(VISIBLE, "").split(",")))
    return (names or list(map(str, range(count))))[:count]


def execute_all(runs: Sequence[Run], gpus: Sequence[str]) -> Generator[VariantRun, None, None]:
    """Execute the runs and yield the result of each as it ends; closing the generator stops those in progress.

    Args:
        runs: the runs, in the order in which they are started.
        gpus: names of the GPUs to run on; empty for the CPU.

    Raises:
        ElektronError: a run cannot work; the others have been stopped.
    """
    if not gpus:
        for run in runs:
            log.info("%s begins", run.name)
            yield execute(run)
        return
    free = SimpleQueue[str]()
    for gpu in gpus:
        free.put(gpu)

    def execute_in_process(run: Run) -> VariantRun:
        gpu, spawn = free.get(), multiprocessing.get_context("spawn")
        log.info("%s begins on GPU %s", run.name, gpu)
        try:
            with ProcessPoolExecutor(1, spawn, _start_process, (gpu, run.folder)) as process:
                return process.submit(execute, run).result()
        except BrokenExecutor as error:
            where = run.folder / LOG
            raise ElektronError(f"{run.name}: its process ended unexpectedly: see {where}") from error
        finally:
            free.put(gpu)

    with ThreadPoolExecutor(len(gpus)) as threads:
        started = [threads.submit(execute_in_process, run) for run in runs]
        try:
            for ended in as_completed(started):
                yield ended.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            stopped: set[BaseProcess] = set()
            while not all(run.done() for run in started):  # one may just have begun
                for process in set(multiprocessing.active_children()) - stopped:
                    process.terminate()  # once only: a pre-training saves a checkpoint before it ends
                    stopped.add(process)
                time.sleep(0.1)


def _start_process(gpu: str, folder: Path) -> None:
    """Choose the device of a run's process and where its output goes."""
    os.setpgrp()  # Ctrl-C reaches the parent alone, which then terminates this process
    os.environ[VISIBLE] = gpu
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    logging.basicConfig(format="elektron: %(message)s")
    logging.getLogger("elektron").setLevel(logging.INFO)
    output.progress = True
