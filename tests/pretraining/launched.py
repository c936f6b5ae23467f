"""Helpers that start runs of several processes, find these processes, and wait for events."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from elektron.configuration import save_yaml
from elektron.pretraining import checkpoint
from elektron.pretraining.config import CheckpointConfig, EvaluationConfig, PretrainConfig
from tests.pretraining.conftest import logged, same_weights, tiny_config

# All events come within seconds; this limit ends runs that hang.
AT_MOST_SECONDS = 180
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
ELEKTRON = (sys.executable, "-m", "elektron")


def config_of(blocks: Path, out: Path, **changes: Any) -> PretrainConfig:
    """200 steps, which is long enough to interrupt two processes during training."""
    settings = {
        "steps": 200,
        "log_every": 10,
        "evaluation": EvaluationConfig(every=50, rows=16),
        "checkpoint": CheckpointConfig(every=20),
    }
    return tiny_config(blocks, out, **(settings | changes))


def recipe_of(config: PretrainConfig) -> str:
    """Write the configuration next to the folder of the run, and return the path."""
    path = config.out.with_suffix(".yaml")
    save_yaml(config, path)
    return str(path)


@contextmanager
def started(command: Sequence[str], said: Path, **environment: str) -> Iterator[subprocess.Popen]:
    """Start a command, and kill its processes at the end of the block.

    Their stderr is appended to the file `said`.
    """
    with said.open("a") as file:
        process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment, stderr=file)
    try:
        yield process
    finally:
        for pid in (*workers(process.pid).values(), process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def workers(launcher: int) -> dict[int, int]:
    """Ids of the processes that torchrun has started, by rank."""
    try:
        children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    except OSError:
        return {}
    found = {}
    for child in children:
        with suppress(OSError):
            for setting in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                if setting.startswith(b"RANK="):
                    found[int(setting.removeprefix(b"RANK="))] = int(child)
    return found


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def when(happened: Callable[[], Any], what: str) -> None:
    """Wait until `happened` returns true."""
    until = time.monotonic() + AT_MOST_SECONDS
    while not happened():
        assert time.monotonic() < until, f"waited in vain: {what}"
        time.sleep(0.01)


def has_come_to(out: Path, step: int) -> Callable[[], bool]:
    """A function that tells whether the run has logged metrics of this step."""

    def happened() -> bool:
        path = out / "metrics.jsonl"
        return path.exists() and f'"step": {step},' in path.read_text()

    return happened


def newest_step(out: Path) -> int:
    """Step of the newest checkpoint, or 0."""
    found = checkpoint.checkpoints(out)
    return checkpoint.read_progress(found[-1]).step if found else 0


def is_the_run(out: Path, undisturbed: Path) -> None:
    """Check that weights and logged metrics are bitwise equal to those of the undisturbed run."""
    assert same_weights(out, undisturbed)
    assert logged(out) == logged(undisturbed)
