"""Kills runs at chosen points, resumes them, and compares them with an uninterrupted run.

    python -m tests.pretraining.killing BLOCKS FOLDER TRIALS SEED PROCESSES…

A point is the moment just before Python opens, renames, creates or removes a file or folder of the run.
Points cover every step of a save, of a rotation, and of the start and the end of a run. Other runs are
killed after a random time. Each trial prints a line of JSON. Modules are imported once and each run is
a fork, so that a trial takes a second or two.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from elektron.pretraining.config import CheckpointConfig, EvaluationConfig, PretrainConfig
from elektron.pretraining.pretrain import pretrain
from tests.pretraining.conftest import logged, tiny_config
from tests.pretraining.forks import work_in

# Every third trial is killed twice.
SECOND_DEATH = 3
WATCHED = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove"}
Death = Callable[[], None]


def main() -> None:
    blocks, folder = Path(sys.argv[1]), Path(sys.argv[2])
    trials, seed, *numbers = map(int, sys.argv[3:])
    torch.set_num_threads(1)
    for processes in numbers:
        (folder / str(processes)).mkdir()
        try_all(blocks, folder / str(processes), trials, processes, random.Random(seed))


def try_all(blocks: Path, folder: Path, trials: int, processes: int, chance: random.Random) -> None:
    """Run an uninterrupted run, then `trials` runs that are killed and resumed."""
    untouched = config_in(blocks, folder / "untouched")
    began = time.perf_counter()
    points_file = folder / "points"
    assert run(untouched, processes, lambda: record(untouched.out, points_file)) == 0
    seconds = time.perf_counter() - began
    points = points_file.read_text().splitlines()
    say({"points": sorted(set(points))})
    for number in range(trials):
        config = config_in(blocks, folder / f"trial-{number}")
        deaths = [
            plan(number + again, config.out, points, seconds, chance)
            for again in range(2 if number % SECOND_DEATH == 0 else 1)
        ]
        statuses = [run(config, processes, death) for _, death in deaths]
        end = run(config, processes, lambda: None)
        say(
            {
                "planned": [name for name, _ in deaths],
                "killed": sum(status == -signal.SIGKILL for status in statuses),
                "end": end,
                "differs": differences(untouched.out, config.out),
            }
        )


def say(record: dict[str, Any]) -> None:
    """Print a line of JSON for the test."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def config_in(blocks: Path, out: Path) -> PretrainConfig:
    """A run of 12 steps that saves every third step, and rotates at every save after the first."""
    return tiny_config(
        blocks,
        out,
        log_every=2,
        evaluation=EvaluationConfig(every=4, rows=16),
        checkpoint=CheckpointConfig(every=3, keep=1),
    )


def plan(number: int, out: Path, points: list[str], seconds: float, chance: random.Random) -> tuple[str, Death]:
    """Name and function of a kill: after a random time for odd numbers, else at each of the points in turn."""
    names = sorted(set(points))
    if number % 2:
        delay = chance.uniform(0, seconds)
        return f"after {delay:.3f} s", lambda: die_after(delay)
    name = chance.choice(names) if number >= 2 * len(names) else names[number // 2]
    occurrence = chance.randrange(points.count(name))
    return f"{name}, number {occurrence}", lambda: die_at(out, name, occurrence)


def watch(out: Path, seen: Callable[[str], None]) -> None:
    """Call `seen` with the name of every point that this process reaches."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in WATCHED:
            return
        path = str(arguments[0])
        # Removals inside a folder have paths relative to that folder.
        if path.startswith(str(out)) or (event in {"os.rmdir", "os.remove"} and "/" not in path):
            name = re.sub(r"\d+|partial-\w+", "N", path.removeprefix(str(out)))
            seen(f"{event} {name}")

    sys.addaudithook(hook)


def record(out: Path, file: Path) -> None:
    """Write the names of all points to a file in order."""
    stream = file.open("a", buffering=1)
    watch(out, lambda name: print(name, file=stream))


def die_at(out: Path, point: str, occurrence: int) -> None:
    """Kill this process at a point that it has already reached `occurrence` times."""
    left = [occurrence]

    def seen(name: str) -> None:
        if name == point:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

    watch(out, seen)


def die_after(delay: float) -> None:
    """Kill this process after `delay` seconds."""
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()


def run(config: PretrainConfig, processes: int, prepare_first: Death) -> int:
    """Run a configuration and return the exit status of the first process."""
    return work_in(processes, partial(pretrain, config), prepare_first)


def differences(expected: Path, found: Path) -> list[str]:
    """Files that differ between two finished runs, and checkpoints that should have been removed."""
    named = [
        "checkpoints/step-00000012/weights.safetensors",
        "checkpoints/step-00000012/optimizer.safetensors",
        "discriminator/model.safetensors",
        "generator/model.safetensors",
    ]
    wrong = [
        name
        for name in named
        if not (found / name).is_file() or (found / name).read_bytes() != (expected / name).read_bytes()
    ]
    if logged(expected) != logged(found):
        wrong.append("metrics.jsonl")
    kept = {path.name for path in (expected / "checkpoints").iterdir()}
    wrong += sorted({path.name for path in (found / "checkpoints").iterdir()} - kept)
    if not (found / "summary.json").is_file():
        wrong.append("summary.json")
    return wrong


if __name__ == "__main__":
    main()
