"""Goodput of a run that is killed repeatedly: the fraction of time that went into steps that were kept.

    goodput = final step x median seconds per step of this run / wall time

A supervisor runs `elektron pretrain` with recipe quickstart, kills it by SIGKILL after times from an exponential
distribution (seeded), and restarts it at once. The rest of the time is divided into

- redone: steps after the last checkpoint, computed again;
- starting: from the start of a process to its first training metrics, without the time of these steps;
- evaluation, saving, and step time above the median.

On a GPU run it twice, so that the compile cache is warm.

    python benchmarks/goodput.py --kills-per-hour 20 --minutes 15
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import machine, new_parser, print_target, save
from elektron.quickstart import CORPUS, SEQ_LEN, VOCAB_SIZE

TARGETS = {4: 0.95, 20: 0.85}  # goodput by kills per hour
MAX_STEPS = 10_000_000
POLL_SECONDS = 0.02
LOG_EVERY = 5


@dataclass
class Observed:
    """What the supervisor observed."""

    seconds: float = 0.0
    kills: int = 0
    starting_seconds: float = 0.0
    steps_redone: int = 0
    steps: int = 0
    seconds_of_a_step: float = 0.0

    @property
    def goodput(self) -> float:
        """The fraction of time that went into steps that were kept."""
        return self.steps * self.seconds_of_a_step / self.seconds


def main() -> None:
    parser = new_parser(__doc__, "goodput")
    parser.add_argument("--kills-per-hour", type=float, default=20)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--every", type=int, default=50, help="steps between checkpoints")
    parser.add_argument("--evaluate", type=int, default=1000, help="steps between evaluations")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *prepared(Path(folder)),
            *("--checkpoint.every", str(options.every)),
            *("--evaluation.every", str(options.evaluate)),
        ]
        seen = supervise(command, Path(folder, "run"), options)
    result = machine() | {"kills_per_hour": options.kills_per_hour} | asdict(seen)
    show(seen, options.kills_per_hour)
    save(result | {"goodput": seen.goodput}, options.json)


def prepared(folder: Path) -> list[str]:
    """Make blocks and return the command of the run."""
    elektron = [sys.executable, "-m", "elektron"]
    tokenizer, blocks = str(folder / "tokenizer"), str(folder / "blocks")
    size, length = str(VOCAB_SIZE), str(SEQ_LEN)
    for command in (
        ["tokenizer", CORPUS, "--out", tokenizer, "--vocab-size", size],
        ["prepare", CORPUS, "--tokenizer", tokenizer, "--out", blocks, "--seq-len", length],
    ):
        subprocess.run([*elektron, *command], check=True)
    return [
        *(*elektron, "pretrain", "--config", "quickstart", "--data", blocks),
        *("--out", str(folder / "run"), "--steps", str(MAX_STEPS)),
        *("--log-every", str(LOG_EVERY)),
    ]


def supervise(command: list[str], out: Path, options: argparse.Namespace) -> Observed:
    """Start, kill and restart the run until the time is over, then stop it by SIGTERM, so that it saves."""
    rng = random.Random(options.seed)
    seen = Observed()
    step_seconds: list[float] = []
    began = time.perf_counter()
    end = began + options.minutes * 60
    while time.perf_counter() < end:
        dies = time.perf_counter() + rng.expovariate(options.kills_per_hour / 3600)
        run_until(command, out, min(dies, end), signal.SIGKILL if dies < end else signal.SIGTERM, seen)
        reached = lines(out)
        step_seconds = [line["seconds_of_a_step"] for line in reached]
        if dies < end:
            seen.kills += 1
            saved = max((int(path.name[5:]) for path in out.glob("checkpoints/step-*")), default=0)
            seen.steps_redone += max((line["step"] for line in reached), default=0) - saved
    seen.seconds = time.perf_counter() - began
    seen.steps = max(int(path.name[5:]) for path in out.glob("checkpoints/step-*"))
    seen.seconds_of_a_step = statistics.median(step_seconds)
    return seen


def run_until(command: list[str], out: Path, until: float, how: int, seen: Observed) -> None:
    """Run the command until a time, then send it the signal `how`."""
    began = time.perf_counter()
    known = len(lines(out))
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    started = False
    while time.perf_counter() < until:
        time.sleep(POLL_SECONDS)
        if process.poll() is not None:
            raise SystemExit(f"the run ended by itself with status {process.returncode}")
        if not started and (first := first_line_since(out, known, began)) is not None:
            started = True
            seen.starting_seconds += time.perf_counter() - began - first
    if not started:
        seen.starting_seconds += time.perf_counter() - began
    os.kill(process.pid, how)
    process.wait()


def first_line_since(out: Path, known: int, began: float) -> float | None:
    """Seconds of the steps before the first training metrics that this process has logged; None if there are none."""
    path = out / "metrics.jsonl"
    if not path.exists() or path.stat().st_mtime < time.time() - (time.perf_counter() - began):
        return None
    records = parsed(path.read_text(encoding="utf-8").splitlines())
    resumed = [number for number, record in enumerate(records) if record["kind"] == "resumed"]
    if known and not resumed:
        return None
    trained = [record for record in records[resumed[-1] if resumed else 0 :] if record["kind"] == "train"]
    return trained[0]["seconds_of_a_step"] * LOG_EVERY if trained else None


def lines(out: Path) -> list[dict[str, Any]]:
    """Training metrics of the run, each with its seconds per step."""
    path = out / "metrics.jsonl"
    content = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line for line in parsed(content) if line["kind"] == "train"]


def parsed(content: list[str]) -> list[dict[str, Any]]:
    """Records without an incomplete last line; those of training get their seconds per step."""
    records = []
    before = {"step": 0, "tokens": 0}
    for line in content:
        if not line.endswith("}"):
            continue
        record = json.loads(line)
        if record["kind"] == "train":
            tokens = (record["tokens"] - before["tokens"]) / (record["step"] - before["step"])
            record["seconds_of_a_step"] = tokens / record["tokens_per_second"]
            before = record
        records.append(record)
    return records


def show(seen: Observed, kills_per_hour: float) -> None:
    """Print how the time was spent."""
    redone = seen.steps_redone * seen.seconds_of_a_step
    parts = {"trained": seen.steps * seen.seconds_of_a_step, "redone": redone, "starting": seen.starting_seconds}
    parts["evaluation, saving, slower steps"] = seen.seconds - sum(parts.values())
    print(
        f"{seen.seconds / 60:.1f} minutes, {seen.kills} kills (at {kills_per_hour:g} per hour), "
        f"{seen.steps:,} steps of {1000 * seen.seconds_of_a_step:.0f} ms"
    )
    for name, seconds in parts.items():
        print(f"  {name:34} {seconds:7.1f} s  {seconds / seen.seconds:6.1%}")
    target = next((least for kills, least in TARGETS.items() if kills_per_hour <= kills), None)
    if target is None:
        print(f"goodput: {seen.goodput:.1%}")
    else:
        print_target("goodput", seen.goodput, target)


if __name__ == "__main__":
    main()
