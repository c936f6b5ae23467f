"""Memory and start-up time of `elektron prepare` and `pretrain` as the corpus grows; speed of several processes.

All parts run the commands in their own processes.

- `prepare`: a corpus of 2 MB, 10 times and 100 times as much: the first 2 MB of `builtin:docs`, one document per
  line, repeated with one word in twenty replaced at random, so that no two documents are equal.
- `pretrain`: 30 steps of a tiny network on the blocks of each.
- `processes`: tokens per second of one process with one and two threads, and of two with one thread each.

Memory is anonymous memory (RssAnon in /proc/PID/status), sampled every 20 ms, of the process and of all processes
that it started. Mapped files, such as libraries and blocks, are not counted. Linux only.

    python benchmarks/scaling.py prepare pretrain processes --json benchmarks/results/scaling.json
"""

from __future__ import annotations

import json
import os
import random
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common import machine, new_parser, print_table, print_target, save

TARGET = 1.1  # memory with the largest corpus / with the smallest, at most
PARTS = ("prepare", "pretrain", "processes")
SIZES = (1, 10, 100)
MEGABYTES = 2
VOCAB_SIZE = 8192
POLL_SECONDS = 0.02
BYTES_PER_DOCUMENT = 16

STEPS = 30
TINY = (
    *("--config", "quickstart", "--steps", str(STEPS), "--batch-size", "8", "--log-every", "1"),
    *("--network.num-hidden-layers", "1", "--network.hidden-size", "32"),
    *("--network.intermediate-size", "64", "--network.num-attention-heads", "2"),
    *("--network.embedding-size", "32"),
)
STEPS_PER_ROUND = 40
SIDES = {  # processes, threads of each
    "1 process, 1 thread": (1, 1),
    "1 process, 2 threads": (1, 2),
    "2 processes, 1 thread each": (2, 1),
}


def main() -> None:
    parser = new_parser(__doc__, "scaling")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="times 2 MB")
    parser.add_argument("--rounds", type=int, default=3, help="of part `processes`")
    options = parser.parse_args()
    parts = options.parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}")

    results: dict[str, Any] = machine() | {"cores": len(os.sched_getaffinity(0))}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "prepare" in parts or "pretrain" in parts:
            results |= growth(folder, options.sizes, parts)
        if "processes" in parts:
            results["processes"] = processes(folder, options.rounds)
    save(results, options.json)


def growth(folder: Path, sizes: list[int], parts: list[str]) -> dict[str, Any]:
    """Both commands on corpora of growing size."""
    documents = first_documents()
    write_corpus(folder / "1.txt", documents, 1)
    tokenizer = folder / "tokenizer"
    elektron("tokenizer", folder / "1.txt", "--out", tokenizer, "--vocab-size", VOCAB_SIZE)
    results: dict[str, list[dict[str, Any]]] = {part: [] for part in parts if part != "processes"}
    for size in sizes:
        corpus, blocks = folder / f"{size}.txt", folder / f"blocks-{size}"
        count = write_corpus(corpus, documents, size)
        about = {"size": size, "megabytes": corpus.stat().st_size / 1e6, "documents": count}
        # The hidden folder appears when the command is ready to read the first document.
        command = ("prepare", corpus, "--tokenizer", tokenizer, "--out", blocks)
        measured = watch(lambda: any(folder.glob(".blocks-*")), *command)
        if "prepare" in parts:
            results["prepare"].append(about | measured)
        if "pretrain" in parts:
            run, metrics = folder / f"run-{size}", folder / f"run-{size}" / "metrics.jsonl"
            measured = watch(
                lambda: metrics.exists() and metrics.stat().st_size > 0,  # noqa: B023
                *("pretrain", "--data", blocks, "--out", run, *TINY),
            )
            results["pretrain"].append(about | measured)
        corpus.unlink()
    for part, rows in results.items():
        show(part, rows)
    return results


def show(part: str, rows: list[dict[str, Any]]) -> None:
    """Print each value with its ratio to that of the smallest corpus."""
    columns = {"own_bytes": 1e6, "started_bytes": 1e6, "seconds_to_start": 1.0, "seconds": 1.0}

    def cell(row: dict[str, Any], column: str) -> str:
        first = rows[0][column]
        ratio = row[column] / first if first else 0.0
        return f"{row[column] / columns[column]:.1f} ({ratio:.2f})"

    start = "until reading" if part == "prepare" else "to the first step"
    print_table(
        f"elektron {part}: peak anonymous memory, MB, and time, s",
        ("corpus", "documents", "main process", "its workers", start, "total"),
        [
            (f"{row['megabytes']:.1f} MB", f"{row['documents']:,}", *(cell(row, column) for column in columns))
            for row in rows
        ],
    )
    smallest, largest = (row["own_bytes"] + row["started_bytes"] for row in (rows[0], rows[-1]))
    digests = BYTES_PER_DOCUMENT * rows[-1]["documents"] if part == "prepare" else 0
    if digests:
        print(f"in total {largest / smallest:.2f} times, {digests / 1e6:.1f} MB of it for deduplication")
    name = f"{part}: memory{' without that' if digests else ''}, largest / smallest"
    print_target(name, (largest - digests) / smallest, TARGET, True)


def first_documents() -> list[list[str]]:
    """Words of the first documents of `builtin:docs`, 2 MB in total."""
    from elektron.corpus.documents import Corpus

    documents, size = [], 0
    for document in Corpus(["builtin:docs"]):
        words = document.text.split()
        documents.append(words)
        size += len(" ".join(words).encode()) + 1
        if size >= MEGABYTES * 1_000_000:
            break
    return documents


def write_corpus(path: Path, documents: list[list[str]], repetitions: int) -> int:
    """Write the documents `repetitions` times, one per line, and return their number."""
    with path.open("w", encoding="utf-8") as file:
        for repetition in range(repetitions):
            rng = random.Random(repetition)
            for words in documents:
                varied = list(words)
                for index in range(rng.randrange(min(20, len(varied))), len(varied), 20):
                    varied[index] = "".join(rng.choices(string.ascii_lowercase, k=8))
                file.write(" ".join(varied) + "\n")
    return repetitions * len(documents)


def processes(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Tokens per second of each side and round, with recipe quickstart and rows of 128 tokens."""
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
                *("--steps", STEPS_PER_ROUND, "--log-every", 10),
                *(("--nproc", count) if count > 1 else ()),
                threads=threads,
            )
            speeds[side].append(speed(run / "metrics.jsonl"))
    medians = {side: statistics.median(values) for side, values in speeds.items()}
    first = next(iter(medians.values()))
    print_table(
        "tokens/s",
        ("side", "median", "ratio", "rounds"),
        [
            (
                side,
                f"{medians[side]:,.0f}",
                f"{medians[side] / first:.2f}",
                "  ".join(f"{each:,.0f}" for each in values),
            )
            for side, values in speeds.items()
        ],
    )
    return speeds


def speed(metrics: Path) -> float:
    """Tokens per second after the first ten steps, which are slow."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    return statistics.median(
        line["tokens_per_second"] for line in lines if line["kind"] == "train" and line["step"] > 10
    )


def command_line(arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", "elektron", *map(str, arguments)]


def elektron(*arguments: object, threads: int | None = None) -> None:
    """Run a command to its end."""
    environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    subprocess.run(command_line(arguments), check=True, stderr=subprocess.DEVNULL, env=os.environ | environment)


def watch(started: Callable[[], bool], *arguments: object) -> dict[str, float]:
    """Run a command and sample its memory; `started` tells whether it has begun its work.

    Returns:
        `seconds_to_start`, `seconds`, and peaks of memory: `own_bytes` of the process itself, `started_bytes` of all
        processes that it started together.
    """
    began = time.perf_counter()
    seconds_to_start, main_bytes, worker_bytes = 0.0, 0, 0
    with subprocess.Popen(command_line(arguments), stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if not seconds_to_start and started():
                seconds_to_start = time.perf_counter() - began
            main_bytes = max(main_bytes, anonymous(process.pid))
            worker_bytes = max(worker_bytes, sum(map(anonymous, descendants(process.pid))))
            time.sleep(POLL_SECONDS)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))} failed")
    seconds = time.perf_counter() - began
    return {
        "seconds_to_start": seconds_to_start,
        "seconds": seconds,
        "own_bytes": main_bytes,
        "started_bytes": worker_bytes,
    }


def anonymous(process: int) -> int:
    """Anonymous memory of a process in bytes, 0 if it has ended."""
    lines = _read(Path(f"/proc/{process}/status")).splitlines()
    sizes = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return int(sizes[0]) * 1024 if sizes else 0


def descendants(process: int) -> Iterator[int]:
    """Children of a process, and their children."""
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, _read(path).split()):
            # A child that has forked but not yet executed its program shares its parent's memory.
            if _command(child) != _command(process):
                yield child
                yield from descendants(child)


def _command(process: int) -> str:
    return _read(Path(f"/proc/{process}/cmdline"))


def _read(path: Path) -> str:
    """Content of a file of /proc, empty if the process has ended."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""


if __name__ == "__main__":
    main()
