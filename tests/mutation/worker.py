"""Runs many command lines in one worker process, which is replaced when it hangs or dies."""

from __future__ import annotations

import io
import multiprocessing
import os
import resource
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

SECONDS_PER_COMMAND = 300
"""A command that takes longer hangs: on an idle machine none needs more than a few seconds."""
MEMORY = 6 << 30
"""Bytes a command may take: more for a file of kilobytes is a fault, and shows as a traceback."""
STEPS = 2
"""Training steps after which a value counts as accepted: some ask for more than anyone could wait for."""
BAD_INPUT, INTERRUPTED = 2, 130


@dataclass(frozen=True)
class Outcome:
    """The outcome of a command line."""

    status: int | None
    """Exit status; None where it raised, hung or took the process with it."""
    stdout: str
    stderr: str

    @property
    def accepted(self) -> bool:
        """Whether the command succeeded, or started a training that was stopped early."""
        return self.status in (0, INTERRUPTED)

    @property
    def fault(self) -> str | None:
        """The error; None if the command was accepted or rejected in one line."""
        if self.accepted:
            return None
        if self.status == BAD_INPUT and self.stderr.splitlines()[-1].startswith("elektron: "):
            return None
        return f"status {self.status}: {self.stderr[-1500:]}"


class Worker:
    """A process with the package imported, in which one command line runs after another."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the working directory of the commands."""
        self.folder = folder
        self.process: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, argv: Sequence[str]) -> Outcome:
        """The outcome of `elektron ARGV`."""
        if self.process is None:
            self.start()
        self.connection.send(list(argv))
        try:
            if self.connection.poll(SECONDS_PER_COMMAND):
                return self.connection.recv()
            said = f"no answer within {SECONDS_PER_COMMAND} s"
        except EOFError:
            self.process.join()
            said = f"the process ended with status {self.process.exitcode}"
        self.stop()
        return Outcome(None, "", said)

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, self.folder))
        self.process.start()
        other.close()

    def stop(self) -> None:
        if self.process is not None:
            if self.process.is_alive():
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.join()
            self.connection.close()
            self.process = None


def _serve(connection: Connection, folder: Path) -> None:
    os.setpgrp()  # so that processes started by a command are killed with it
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    _stop_trainings_early()
    while True:
        connection.send(_run(connection.recv()))


def _run(argv: list[str]) -> Outcome:
    from elektron.cli import main

    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = (_stream() for _ in range(3))
    try:
        status: int | None = main(argv)
    except SystemExit as end:
        status = INTERRUPTED if end.code == 128 else end.code  # type: ignore[assignment]
    except BaseException:  # noqa: BLE001 (whatever escapes is what is looked for)
        status = None
        traceback.print_exc()
    out, err = sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = before
    return Outcome(status, _written(out), _written(err))


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), write_through=True)


def _written(stream: Any) -> str:
    return stream.buffer.getvalue().decode(errors="replace")


def _stop_trainings_early() -> None:
    """Interrupt every training after some steps and the quickstart before it reads; draw few resamples."""
    import torch

    from elektron.corpus import documentation
    from elektron.finetuning import results, training
    from elektron.finetuning.metrics.measure import bootstrap
    from elektron.pretraining.train import Trainer

    torch.set_num_threads(1)
    results.bootstrap = partial(bootstrap, resamples=20)  # type: ignore[assignment]
    take_step, move_bar = Trainer.train_step, training.Monitor.on_step_end

    def step(self: Trainer, *arguments: Any) -> None:
        if self.progress.step >= STEPS:
            raise KeyboardInterrupt
        take_step(self, *arguments)

    def on_step_end(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> None:
        move_bar(self, args, state, control, **rest)
        if state.global_step >= STEPS:
            raise KeyboardInterrupt

    def documents() -> Any:
        raise KeyboardInterrupt

    documentation.training_docstrings = documents  # type: ignore[assignment]
    Trainer.train_step = step  # type: ignore[method-assign]
    training.Monitor.on_step_end = on_step_end  # type: ignore[method-assign]
