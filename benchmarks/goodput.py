"""The share of time that trained, in a run that is killed again and again.

    goodput = steps that the run has at the end x seconds of a step / seconds on the clock

A supervisor runs `elektron pretrain` on the quickstart's pair and blocks, kills it by SIGKILL after times
drawn from an exponential distribution (seeded), and starts it again at once. The seconds of a step are the
median over the lines of training metrics of this very run, so that what else the machine does counts on both sides;
evaluation and saving are no part of them, and so count as lost. What is lost is told apart:

- redone: steps after the last checkpoint, taken once more;
- starting: from the start of the process to its first line of metrics, less that line's steps;
- the rest: evaluation, saving, and what steps took above the median.

No step is compiled on CPUs by default; on a GPU run it twice, so that the compile cache is warm.

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

from elektron.quickstart import CORPUS, SEQ_LEN, VOCAB_SIZE

TARGETS = {4: 0.95, 20: 0.85}
"""Kills an hour, and the least share that they may leave."""
MORE_THAN_ENOUGH = 10_000_000
SECONDS_BETWEEN_LOOKS = 0.02
LOG_EVERY = 5


@dataclass
class Seen:
    """What a supervisor has seen of a run."""

    seconds: float = 0.0
    kills: int = 0
    starting_seconds: float = 0.0
    steps_redone: int = 0
    steps: int = 0
    seconds_of_a_step: float = 0.0

    @property
    def goodput(self) -> float:
        """The share of time that trained."""
        return self.steps * self.seconds_of_a_step / self.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--kills-per-hour", type=float, default=20)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--every", type=int, default=50, help="steps between two checkpoints")
    parser.add_argument("--evaluate", type=int, default=1000, help="steps between two evaluations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/goodput.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *prepared(Path(folder)),
            *("--checkpoint.every", str(options.every)),
            *("--evaluation.every", str(options.evaluate)),
        ]
        seen = supervise(command, Path(folder, "run"), options)
    show(seen, options.kills_per_hour)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    result = asdict(seen) | {"goodput": seen.goodput, "kills_per_hour": options.kills_per_hour}
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def prepared(folder: Path) -> list[str]:
    """The command of the run, for which blocks are made."""
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
        *("--out", str(folder / "run"), "--steps", str(MORE_THAN_ENOUGH)),
        *("--log-every", str(LOG_EVERY)),
    ]


def supervise(command: list[str], out: Path, options: argparse.Namespace) -> Seen:
    """Start, kill and start again until the time is over; the run is then stopped, which saves it."""
    chance = random.Random(options.seed)
    seen = Seen()
    paces: list[float] = []
    began = time.perf_counter()
    end = began + options.minutes * 60
    while time.perf_counter() < end:
        dies = time.perf_counter() + chance.expovariate(options.kills_per_hour / 3600)
        live(command, out, min(dies, end), signal.SIGKILL if dies < end else signal.SIGTERM, seen)
        reached = lines(out)
        paces = [line["seconds_of_a_step"] for line in reached]
        if dies < end:
            seen.kills += 1
            saved = max((int(path.name[5:]) for path in out.glob("checkpoints/step-*")), default=0)
            seen.steps_redone += max((line["step"] for line in reached), default=0) - saved
    seen.seconds = time.perf_counter() - began
    seen.steps = max(int(path.name[5:]) for path in out.glob("checkpoints/step-*"))
    seen.seconds_of_a_step = statistics.median(paces)
    return seen


def live(command: list[str], out: Path, until: float, how: int, seen: Seen) -> None:
    """Let the run live until a time, and end it."""
    began = time.perf_counter()
    known = len(lines(out))
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    started = False
    while time.perf_counter() < until:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        if process.poll() is not None:
            raise SystemExit(f"the run has ended by itself with status {process.returncode}")
        if not started and (first := first_line_since(out, known, began)) is not None:
            started = True
            seen.starting_seconds += time.perf_counter() - began - first
    if not started:
        seen.starting_seconds += time.perf_counter() - began
    os.kill(process.pid, how)
    process.wait()


def first_line_since(out: Path, known: int, began: float) -> float | None:
    """Seconds of the steps of the first line that this process has logged, if there is one."""
    path = out / "metrics.jsonl"
    if not path.exists() or path.stat().st_mtime < time.time() - (time.perf_counter() - began):
        return None
    content = path.read_text(encoding="utf-8").splitlines()
    resumed = [n for n, line in enumerate(content) if '"kind": "resumed"' in line]
    if known and not resumed:
        return None
    since = content[resumed[-1] :] if resumed else content
    trained = [line for line in parsed(since) if line["kind"] == "train"]
    return trained[0]["seconds_of_a_step"] * LOG_EVERY if trained else None


def lines(out: Path) -> list[dict[str, Any]]:
    """The lines of training metrics that a run has, each with the seconds of a step."""
    path = out / "metrics.jsonl"
    content = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line for line in parsed(content) if line["kind"] == "train"]


def parsed(content: list[str]) -> list[dict[str, Any]]:
    """Records, but for one that was being written."""
    found = []
    before = {"step": 0, "tokens": 0}
    for line in content:
        if not line.endswith("}"):
            continue
        record = json.loads(line)
        if record["kind"] == "train":
            tokens = (record["tokens"] - before["tokens"]) / (record["step"] - before["step"])
            record["seconds_of_a_step"] = tokens / record["tokens_per_second"]
            before = record
        found.append(record)
    return found


def show(seen: Seen, kills_per_hour: float) -> None:
    """Print where the time went."""
    redone = seen.steps_redone * seen.seconds_of_a_step
    parts = {
        "trained": seen.steps * seen.seconds_of_a_step,
        "redone": redone,
        "starting": seen.starting_seconds,
    }
    parts["evaluation, saving, slower steps"] = seen.seconds - sum(parts.values())
    print(
        f"{seen.seconds / 60:.1f} minutes, {seen.kills} kills ({kills_per_hour:g} an hour asked for), "
        f"{seen.steps:,} steps of {1000 * seen.seconds_of_a_step:.0f} ms"
    )
    for name, seconds in parts.items():
        print(f"  {name:34} {seconds:7.1f} s  {seconds / seen.seconds:6.1%}")
    target = next((share for kills, share in TARGETS.items() if kills_per_hour <= kills), None)
    asked = f", {'at least' if seen.goodput >= target else 'below'} {target:.0%}" if target else ""
    print(f"goodput = steps x seconds of a step / seconds = {seen.goodput:.1%}{asked}")


if __name__ == "__main__":
    main()
