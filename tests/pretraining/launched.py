"""Runs of several processes from outside: start them, find their processes, wait for what they do."""

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
from tests.pretraining.conftest import tiny_config
from tests.pretraining.test_train import metrics

# What is waited for comes in seconds: a run that hangs fails here, and not by the reader's patience.
AT_MOST_SECONDS = 180
VOLATILE = {"seconds", "tokens_per_second", "flops_per_second", "mfu", "data_wait_share"}
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
ELEKTRON = (sys.executable, "-m", "elektron")


def config_of(blocks: Path, out: Path, **changes: Any) -> PretrainConfig:
    """200 steps: long enough for two processes to be met in the middle."""
    settings = {
        "steps": 200,
        "log_every": 10,
        "evaluation": EvaluationConfig(every=50, rows=16),
        "checkpoint": CheckpointConfig(every=20),
    }
    return tiny_config(blocks, out, **(settings | changes))


def recipe_of(config: PretrainConfig) -> str:
    """The run's configuration as a file beside its folder."""
    path = config.out.with_suffix(".yaml")
    save_yaml(config, path)
    return str(path)


@contextmanager
def started(command: Sequence[str], said: Path, **environment: str) -> Iterator[subprocess.Popen]:
    """A command whose processes are ended with the block, whatever has become of them.

    What they say is added to the file `said`.
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
    """The processes that torchrun has started, by their ranks."""
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
    """Whether a process is there, and more than a name that its parent has not taken off the list."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def when(happened: Callable[[], Any], what: str) -> None:
    """Wait until something has happened."""
    until = time.monotonic() + AT_MOST_SECONDS
    while not happened():
        assert time.monotonic() < until, f"waited in vain: {what}"
        time.sleep(0.01)


def has_come_to(out: Path, step: int) -> Callable[[], bool]:
    """Whether the run has a line of metrics of this step."""

    def happened() -> bool:
        path = out / "metrics.jsonl"
        return path.exists() and f'"step": {step},' in path.read_text()

    return happened


def newest_step(out: Path) -> int:
    """Of the checkpoints."""
    found = checkpoint.checkpoints(out)
    return checkpoint.read_progress(found[-1]).step if found else 0


def logged(out: Path) -> list[dict[str, Any]]:
    """All that was logged of the training itself, without what time has to do with."""
    return [
        {name: value for name, value in line.items() if name not in VOLATILE}
        for kind in ("train", "evaluation")
        for line in metrics(out, kind)
    ]
