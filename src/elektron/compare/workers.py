"""Runs one after another on a CPU, or side by side on GPUs, each of which has one at a time.

On GPUs every run is a process of its own that sees one device: its memory is given back whole, and
what one run has compiled does not count against the next. Its output goes to `log.txt` in the run's
folder. The processes stand in process groups of their own, so that Ctrl-C reaches the command alone,
which then asks them to save and stop.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from elektron.compare.runs import LOG, Run, execute
from elektron.errors import ElektronError
from elektron.evidence.reading import Record
from elektron.terminal import showing

VISIBLE = "CUDA_VISIBLE_DEVICES"

Finished = Generator[tuple[Run, Record, float], None, None]
"""Runs with their results and the seconds they took; closing it stops those that are still at work."""

log = logging.getLogger(__name__)


def devices() -> list[str]:
    """The GPUs that this process sees, as the variable names them; none on a CPU."""
    import torch

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get(VISIBLE, "").split(",") if name]
    return named[:count] if named else [str(number) for number in range(count)]


def finished(runs: Sequence[Run], on: Sequence[str], may_diverge: bool = False) -> Finished:
    """Every run with its result and the seconds it took, as they come to their ends.

    Args:
        runs: the runs, in the order in which they are to begin.
        on: the GPUs; none for the CPU, and then they are done in this process.
        may_diverge: as in `execute`.

    Raises:
        ElektronError: a run cannot work; the others have been stopped.
    """
    if on:
        yield from _side_by_side(runs, on, may_diverge)
        return
    for run in runs:
        log.info("%s begins", run.title)
        began = time.monotonic()
        result = execute(run, may_diverge)
        yield run, result, time.monotonic() - began


@dataclass(frozen=True)
class _Worker:
    """A process at work."""

    run: Run
    device: str
    process: BaseProcess
    answer: Connection
    began: float


def _side_by_side(runs: Sequence[Run], on: Sequence[str], may_diverge: bool) -> Finished:
    waiting, free = list(runs), list(on)
    busy: list[_Worker] = []
    try:
        while waiting or busy:
            while waiting and free:
                busy.append(_begin(waiting.pop(0), free.pop(0), may_diverge))
            answers = wait([worker.answer for worker in busy])
            for worker in [worker for worker in busy if worker.answer in answers]:
                busy.remove(worker)
                free.append(worker.device)
                yield worker.run, _result(worker), time.monotonic() - worker.began
    finally:
        for worker in busy:
            worker.process.terminate()
        for worker in busy:
            worker.process.join()


def _begin(run: Run, device: str, may_diverge: bool) -> _Worker:
    context = multiprocessing.get_context("spawn")
    answer, question = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(run, device, may_diverge, question))
    process.start()
    question.close()  # so that the end of the process is the end of the pipe
    log.info("%s begins on GPU %s", run.title, device)
    return _Worker(run, device, process, answer, time.monotonic())


def _result(worker: _Worker) -> Record:
    """What the process has sent, or the error that ended it."""
    answer: Any
    try:
        answer = worker.answer.recv()
    except EOFError:
        answer = None
    worker.process.join()
    if isinstance(answer, ElektronError):
        raise answer
    if answer is None:
        raise ElektronError(
            f"{worker.run.title}: its process ended with status {worker.process.exitcode}: "
            f"{worker.run.folder / LOG} says why"
        )
    result: Record = answer
    return result


def _work(run: Run, device: str, may_diverge: bool, answer: Connection) -> None:
    """The process of a run."""
    os.setpgrp()
    os.environ[VISIBLE] = device  # before torch is imported
    _write_to_log(run)
    try:
        with showing():
            answer.send(execute(run, may_diverge))
    except ElektronError as error:
        answer.send(error)


def _write_to_log(run: Run) -> None:
    """Have all output of this process in the run's folder."""
    run.folder.mkdir(parents=True, exist_ok=True)
    with (run.folder / LOG).open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    logging.basicConfig(format="elektron: %(message)s")
    logging.getLogger("elektron").setLevel(logging.INFO)
