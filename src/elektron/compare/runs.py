"""One run of a comparison, a pre-training and then its probes, and the execution of several on devices.

A run's folder holds `pretraining/`, a folder for each probe, and `result.json`, which is written last. Each part is
done once: an interrupted pre-training resumes from its checkpoint, and a finished run without a probe gets only that.

On a CPU runs are executed one after another in this process. On GPUs each is a process that sees one device, so that
its memory and compiled code end with it; its output goes to `log.txt`. The processes have process groups of their own,
so that Ctrl-C reaches this process alone, which then terminates them: they save and stop.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from elektron.compare.probes import PRETRAINING, Probe
from elektron.compare.variants import Budget, Variant, folder_name
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.io.files import atomic_write, from_json
from elektron.pretraining.config import METRICS, PretrainConfig
from elektron.reporting.reading import Record, number, read_json
from elektron.reporting.variants_report import ProbeResult, VariantRun
from elektron.terminal import output, output_enabled

RESULT = "result.json"
LOG = "log.txt"
VISIBLE = "CUDA_VISIBLE_DEVICES"
BAD_INPUT = 2
"""Exit status of a process whose error is the last line of its log."""
FROM_SUMMARY = (
    *("flops", "seconds", "tokens", "generator_loss", "discriminator_auc"),
    *("parameters", "device"),
)
"""What is kept of a pre-training's summary."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A pre-training of a variant with one seed and budget."""

    out: Path
    """The comparison's folder."""
    folder: Path
    variant: str
    tuned: Record
    """The values that were chosen, or are being tried, for this variant."""
    budget: Budget
    seed: int
    pretraining: PretrainConfig
    probes: dict[str, FinetuneConfig]

    @property
    def title(self) -> str:
        """For messages."""
        parts = [self.variant, folder_name(self.tuned), self.budget.name, f"seed {self.seed}"]
        return " · ".join(filter(None, parts))

    def result(self) -> VariantRun | None:
        """The result; None while a part of the run is left to do."""
        found = read_json(self.folder / RESULT, self._parse_result)
        if found is None or (found.diverged is None and self.probes.keys() - found.probes.keys()):
            return None
        return found

    def _parse_result(self, content: Any) -> VariantRun:
        found: VariantRun = from_json(content, VariantRun, "the result")
        if (found.variant, found.budget, found.seed) != (
            self.variant,
            self.budget.name,
            self.seed,
        ):
            raise ValueError("is the result of another run")
        if found.flops is not None and found.flops <= 0:
            raise ValueError(f"flops must be positive, got {found.flops:g}")
        return found


def make_run(
    out: Path,
    data: Path,
    variant: Variant,
    tuned: Record,
    budget: Budget,
    seed: int,
    probes: Sequence[Probe],
) -> Run:
    """The run of a variant; ElektronError where its configuration cannot work."""
    parts = filter(None, [variant.name, folder_name(tuned), budget.name, f"seed-{seed}"])
    folder = out.joinpath(*parts)
    pretraining = folder / PRETRAINING
    given: Record = {"model": str(pretraining / "discriminator"), "seed": seed}
    config = variant.configured(tuned, budget, data, pretraining, seed)
    probe_configs = {
        probe.name: dataclasses.replace(probe.config, out=folder / probe.name, **given)
        for probe in probes
    }
    return Run(out, folder, variant.name, tuned, budget, seed, config, probe_configs)


def execute(run: Run, may_diverge: bool = False) -> VariantRun:
    """Do what is left of a run, and write its `result.json`.

    Args:
        run: the run.
        may_diverge: whether a loss that is no longer finite is a result too, as for a trial, instead of an error.

    Raises:
        ElektronError: a part of it cannot work; the message names the run.
        SystemExit: it was interrupted, and its pre-training has been saved.
    """
    if (done := run.result()) is not None:
        return done
    run.folder.mkdir(parents=True, exist_ok=True)
    folder = run.folder.relative_to(run.out).as_posix()
    result = VariantRun(run.variant, run.tuned, run.budget.name, run.seed, folder)
    try:
        with output_enabled(output.progress, results=False):  # the comparison prints its own
            result = dataclasses.replace(result, **_pretrain(run.pretraining))
            probes = {name: _finetune(config) for name, config in run.probes.items()}
        result = dataclasses.replace(result, probes=probes)
    except ElektronError as error:
        if not (may_diverge and _has_diverged(run.pretraining.out)):
            raise ElektronError(f"{run.title}: {error}") from error
        result = dataclasses.replace(result, diverged=str(error))
    text = json.dumps(dataclasses.asdict(result), indent=1, ensure_ascii=False)
    atomic_write(run.folder / RESULT, text)
    return result


def _pretrain(config: PretrainConfig) -> Record:
    from elektron.pretraining.pretrain import pretrain
    from elektron.reporting.config import ReportConfig
    from elektron.reporting.report import report
    from elektron.reporting.task_report import REPORT

    summary = pretrain(config)
    shutil.rmtree(config.out / "checkpoints", ignore_errors=True)  # nothing is left to resume
    if not (config.out / REPORT).exists():
        report(ReportConfig(runs=[config.out]))
    return {name: summary.get(name) for name in FROM_SUMMARY}


def _finetune(config: FinetuneConfig) -> ProbeResult:
    from elektron.finetuning.finetune import finetune
    from elektron.reporting.task_result import is_task_result, read_task_result

    if not is_task_result(config.out):
        finetune(config)
    found = read_task_result(config.out)
    return ProbeResult(
        task=found.task,
        figure=found.metric,
        split="test" if config.test else "eval",
        rows=found.rows,
        value=found.metrics[found.metric],
        interval=found.intervals.get(found.metric),
        eval=found.kept.eval.get(found.metric) if found.kept else None,
        collapsed=(found.kept.collapsed or None) if found.kept else None,
    )


def _has_diverged(out: Path) -> bool:
    """Whether the pre-training ended because its loss was no longer finite."""
    from elektron.reporting.pretraining_run import read_run

    if not (out / METRICS).is_file():
        return False
    run = read_run(out)
    # A run that recovered has the alarm too, and metrics of later steps.
    last = run.metrics.alarm[-1] if run.metrics.alarm else {}
    at_the_end = (number(last, "step") or 0) >= (number(run.position, "step") or 0)
    return last.get("alarm") == "not-finite" and at_the_end


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them; none on a CPU."""
    import torch

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get(VISIBLE, "").split(",") if name]
    return named[:count] if named else [str(index) for index in range(count)]


def execute_all(
    runs: Sequence[Run], gpus: Sequence[str], may_diverge: bool = False
) -> Generator[tuple[Run, VariantRun, float], None, None]:
    """Every run with its result and its seconds, as they end; closing the iterator stops those in progress.

    Args:
        runs: the runs, in the order in which they begin.
        gpus: where to run; none for the CPU.
        may_diverge: as in `execute`.

    Raises:
        ElektronError: a run cannot work; the others have been stopped.
    """
    if not gpus:
        for run in runs:
            log.info("%s begins", run.title)
            began = time.monotonic()
            yield run, execute(run, may_diverge), time.monotonic() - began
        return
    waiting, free = list(runs), list(gpus)
    process: BaseProcess
    busy: dict[int, tuple[Run, str, BaseProcess, float]] = {}
    try:
        while waiting or busy:
            while waiting and free:
                run, gpu = waiting.pop(0), free.pop(0)
                process = multiprocessing.get_context("spawn").Process(
                    target=_work, args=(run, gpu, may_diverge)
                )
                process.start()
                log.info("%s begins on GPU %s", run.title, gpu)
                busy[process.sentinel] = run, gpu, process, time.monotonic()
            ended = wait(list(busy))
            for sentinel in [sentinel for sentinel in busy if sentinel in ended]:
                run, gpu, process, began = busy.pop(sentinel)
                process.join()
                free.append(gpu)
                yield run, _result(run, process.exitcode), time.monotonic() - began
    finally:
        for _, _, process, _ in busy.values():
            process.terminate()
        for _, _, process, _ in busy.values():
            process.join()


def _work(run: Run, gpu: str, may_diverge: bool) -> None:
    """The process of a run; an error is the last line of its log."""
    os.setpgrp()
    os.environ[VISIBLE] = gpu  # before torch is imported
    run.folder.mkdir(parents=True, exist_ok=True)
    with (run.folder / LOG).open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    logging.basicConfig(format="elektron: %(message)s")
    logging.getLogger("elektron").setLevel(logging.INFO)
    try:
        with output_enabled():
            execute(run, may_diverge)
    except ElektronError as error:
        log.error("%s", error)
        sys.exit(BAD_INPUT)


def _result(run: Run, status: int | None) -> VariantRun:
    """What the process has written, or the error that ended it."""
    if status == BAD_INPUT:
        *_, error = (run.folder / LOG).read_text(encoding="utf-8").splitlines()
        raise ElektronError(error.removeprefix("elektron: "))
    if status or (found := run.result()) is None:
        raise ElektronError(
            f"{run.title}: its process ended with status {status}: {run.folder / LOG} says why"
        )
    return found
