"""What grows with the corpus: memory and start-up of `elektron prepare` and `pretrain`; and what processes gain.

Three parts, each by its name; all of them run the commands as a user does, in processes of their own.

- `prepare`: a corpus of 2 MB, of 10 times and of 100 times as much. It is the first 2 MB of
  `builtin:docs`, a document a line, repeated; in each repetition one word in twenty of every
  document is another random one, so that no two documents are alike, and new words keep coming.
- `pretrain`: 30 steps of a tiny network on the blocks of each.
- `processes`: tokens a second of one process with one thread and with two, and of two processes
  with one thread each.

Memory is anonymous memory (RssAnon in /proc/PID/status), looked at every 20 ms, of the process and
of all that it has started together. What maps files, such as libraries and blocks, is not counted:
the kernel takes it back when it likes. Linux only.

    python benchmarks/scaling.py prepare pretrain processes --json benchmarks/results/scaling.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

TARGET = 1.1
"""The most that the largest corpus may take, times the smallest."""
SIZES = (1, 10, 100)
MEGABYTES = 2
VOCAB_SIZE = 8192
SECONDS_BETWEEN_LOOKS = 0.02
BYTES_A_DOCUMENT = 16

STEPS = 30
TINY = (
    *("--config", "quickstart", "--steps", str(STEPS), "--batch-size", "8", "--log-every", "1"),
    *(
        "--network.num-hidden-layers",
        "1",
        "--network.hidden-size",
        "32",
        "--network.intermediate-size",
        "64",
    ),
    *("--network.num-attention-heads", "2", "--network.embedding-size", "32"),
)
STEPS_OF_A_ROUND = 40
SIDES = {
    "1 process, 1 thread": (1, 1),
    "1 process, 2 threads": (1, 2),
    "2 processes, 1 thread each": (2, 1),
}


@dataclass(frozen=True)
class Watched:
    """What was seen of a command."""

    seconds_to_start: float
    seconds: float
    own_bytes: int
    """Peak of the process itself."""
    started_bytes: int
    """Peak of all processes that it has started, together."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help="prepare, pretrain, processes")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="times 2 MB")
    parser.add_argument("--rounds", type=int, default=3, help="of the part `processes`")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/scaling.json"))
    options = parser.parse_args()
    parts = options.parts or ["prepare", "pretrain", "processes"]
    if unknown := set(parts) - {"prepare", "pretrain", "processes"}:
        parser.error(f"no part {', '.join(sorted(unknown))}")

    results: dict[str, Any] = {
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "prepare" in parts or "pretrain" in parts:
            results |= growth(folder, options.sizes, parts)
        if "processes" in parts:
            results["processes"] = processes(folder, options.rounds)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def growth(folder: Path, sizes: list[int], parts: list[str]) -> dict[str, Any]:
    """Both commands on corpora of growing size."""
    documents = first_documents()
    write_corpus(folder / "1.txt", documents, 1)
    tokenizer = folder / "tokenizer"
    elektron("tokenizer", folder / "1.txt", "--out", tokenizer, "--vocab-size", VOCAB_SIZE)
    found: dict[str, list[dict[str, Any]]] = {part: [] for part in parts if part != "processes"}
    for size in sizes:
        corpus, blocks = folder / f"{size}.txt", folder / f"blocks-{size}"
        count = write_corpus(corpus, documents, size)
        about = {"size": size, "megabytes": corpus.stat().st_size / 1e6, "documents": count}
        # The hidden folder appears when all is ready to read the first document.
        command = ("prepare", corpus, "--tokenizer", tokenizer, "--out", blocks)
        seen = watch(lambda: any(folder.glob(".blocks-*")), *command)
        if "prepare" in parts:
            found["prepare"].append(about | asdict(seen))
        if "pretrain" in parts:
            run, metrics = folder / f"run-{size}", folder / f"run-{size}" / "metrics.jsonl"
            seen = watch(
                lambda: metrics.exists() and metrics.stat().st_size > 0,  # noqa: B023
                *("pretrain", "--data", blocks, "--out", run, *TINY),
            )
            found["pretrain"].append(about | asdict(seen))
        corpus.unlink()
    for part, rows in found.items():
        show(part, rows)
    return found


def show(part: str, rows: list[dict[str, Any]]) -> None:
    """A table with each figure and, behind it, how many times that of the smallest corpus it is."""
    start = "until it reads" if part == "prepare" else "to the first step"
    table = Table(title=f"elektron {part}: peak anonymous memory, MB, and time, s")
    columns = ("own_bytes", "started_bytes", "seconds_to_start", "seconds")
    for heading in ("corpus", "documents", "the process", "its workers", start, "in all"):
        table.add_column(heading, justify="right")
    for row in rows:
        cells = []
        for column in columns:
            unit = 1e6 if column.endswith("bytes") else 1.0
            ratio = row[column] / rows[0][column] if rows[0][column] else 0.0
            cells.append(f"{row[column] / unit:.1f} ({ratio:.2f})")
        table.add_row(f"{row['megabytes']:.1f} MB", f"{row['documents']:,}", *cells)
    Console().print(table)
    smallest, largest = (row["own_bytes"] + row["started_bytes"] for row in (rows[0], rows[-1]))
    digests = BYTES_A_DOCUMENT * rows[-1]["documents"] if part == "prepare" else 0
    if digests:
        print(
            f"all together {largest / smallest:.2f} times as much, {digests / 1e6:.1f} MB of it for "
            "finding copies"
        )
    ratio = (largest - digests) / smallest
    verdict = "at most" if ratio <= TARGET else "above"
    print(f"{'the rest' if digests else part} {ratio:.2f} times, {verdict} the {TARGET} asked for")


def first_documents() -> list[list[str]]:
    """Words of the first documents of `builtin:docs`, of so many that they have 2 MB."""
    from elektron.corpus.documents import read_documents

    documents, size = [], 0
    for document in read_documents(["builtin:docs"]):
        words = document.text.split()
        documents.append(words)
        size += len(" ".join(words).encode()) + 1
        if size >= MEGABYTES * 1_000_000:
            break
    return documents


def write_corpus(path: Path, documents: list[list[str]], repetitions: int) -> int:
    """Write the documents so often, a document a line, and return how many there are."""
    with path.open("w", encoding="utf-8") as file:
        for repetition in range(repetitions):
            chooser = random.Random(repetition)
            for words in documents:
                varied = list(words)
                for place in range(chooser.randrange(min(20, len(varied))), len(varied), 20):
                    varied[place] = "".join(chooser.choices(string.ascii_lowercase, k=8))
                file.write(" ".join(varied) + "\n")
    return repetitions * len(documents)


def processes(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Tokens a second of each side, by rounds; the quickstart's network and rows of 128 tokens."""
    blocks = folder / "blocks"
    corpus = folder / "corpus.txt"
    write_corpus(corpus, first_documents(), 1)
    elektron("tokenizer", corpus, "--out", folder / "tokens", "--vocab-size", VOCAB_SIZE)
    elektron("prepare", corpus, "--tokenizer", folder / "tokens", "--out", blocks)
    speeds: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(rounds):
        for side, (count, threads) in SIDES.items():
            run = folder / f"{count}-{threads}-{number}"
            elektron(
                *("pretrain", "--config", "quickstart", "--data", blocks, "--out", run),
                *("--steps", STEPS_OF_A_ROUND, "--log-every", 10),
                *(("--nproc", count) if count > 1 else ()),
                threads=threads,
            )
            speeds[side].append(speed(run / "metrics.jsonl"))
    medians = {side: statistics.median(found) for side, found in speeds.items()}
    table = Table(title="tokens a second, medians of rounds")
    for heading in ("side", "median", "times the first", "rounds"):
        table.add_column(heading, justify="left" if heading == "side" else "right")
    first = next(iter(medians.values()))
    for side, found in speeds.items():
        every = "  ".join(f"{value:,.0f}" for value in found)
        table.add_row(side, f"{medians[side]:,.0f}", f"{medians[side] / first:.2f}", every)
    Console().print(table)
    return speeds


def speed(metrics: Path) -> float:
    """Tokens a second after the first ten steps, which are slow."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    return statistics.median(
        line["tokens_per_second"] for line in lines if line["kind"] == "train" and line["step"] > 10
    )


def command_line(arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", "elektron", *map(str, arguments)]


def elektron(*arguments: object, threads: int | None = None) -> None:
    """Run a command to its end, on so many threads."""
    environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    subprocess.run(
        command_line(arguments), check=True, stderr=subprocess.DEVNULL, env=os.environ | environment
    )


def watch(started: Callable[[], bool], *arguments: object) -> Watched:
    """Run a command and look at it until its end; `started` says whether it has begun its work."""
    began = time.perf_counter()
    seconds_to_start = own = workers = 0.0
    with subprocess.Popen(command_line(arguments), stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if not seconds_to_start and started():
                seconds_to_start = time.perf_counter() - began
            own = max(own, anonymous(process.pid))
            workers = max(workers, sum(map(anonymous, descendants(process.pid))))
            time.sleep(SECONDS_BETWEEN_LOOKS)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))} has failed")
    return Watched(seconds_to_start, time.perf_counter() - began, int(own), int(workers))


def anonymous(process: int) -> int:
    """Anonymous memory of a process in bytes, 0 if it has ended."""
    lines = _read(Path(f"/proc/{process}/status")).splitlines()
    sizes = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return int(sizes[0]) * 1024 if sizes else 0


def descendants(process: int) -> Iterator[int]:
    """The processes that a process has started, and what these have started."""
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, _read(path).split()):
            # One that has just been forked and is about to become another program shares its
            # parent's memory.
            if _command(child) != _command(process):
                yield child
                yield from descendants(child)


def _command(process: int) -> str:
    return _read(Path(f"/proc/{process}/cmdline"))


def _read(path: Path) -> str:
    """What stands in a file of /proc, nothing if the process has ended."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""


if __name__ == "__main__":
    main()
