"""Who turns chunks of documents into rows: this process, processes of this machine, or a Ray cluster.

An engine is a context manager that gives a function from chunks to chunks with their rows, in the
same order. All of them call `Encoder.pack`, which knows nothing but the texts of a chunk and its
number, so the bytes do not depend on the engine. No engine holds more than a few chunks for each
worker. What goes wrong with a chunk is raised here as it was raised there.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import secrets
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from elektron.corpus.config import PrepareConfig
from elektron.corpus.encoding import (
    Encoder,
    Encoding,
    Packed,
    pack_in_worker,
    pack_on_ray,
    start_worker,
    versions,
)
from elektron.corpus.manifest import Split
from elektron.errors import ElektronError, first_line

CHUNKS_AHEAD_OF_WORKER = 2
RAY_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
"""No telemetry; and under `uv run`, the folder one happens to be in is not sent to the cluster."""
PLACE_OF_SOCKETS = "/tmp"
"""Where a Ray cluster of our own lies while it lives: a socket's path must be short."""
SECONDS_TO_ANSWER = 10.0
RETRIES_ON_RAY = 5
"""A chunk is given up when so many workers have died over it: then it is not their fault."""


@dataclass(frozen=True)
class Chunk:
    """Documents of one split that are packed together."""

    number: int
    split: Split
    texts: list[str]


Rows = Iterator[tuple[Chunk, Packed]]
RowsOf = Callable[[Iterable[Chunk]], Rows]


def engine(config: PrepareConfig, encoding: Encoding) -> AbstractContextManager[RowsOf]:
    """The engine that is asked for."""
    if config.engine == "ray":
        return on_ray(config.workers, encoding)
    workers = config.workers or cores()
    return in_this_process(encoding) if workers == 1 else on_this_machine(workers, encoding)


@contextmanager
def in_this_process(encoding: Encoding) -> Iterator[RowsOf]:
    """One worker, which needs no process of its own."""
    encoder = Encoder(encoding)
    yield lambda chunks: ((chunk, encoder.pack(chunk.texts, chunk.number)) for chunk in chunks)


@contextmanager
def on_this_machine(workers: int, encoding: Encoding) -> Iterator[RowsOf]:
    """World started afresh: forking one that may hold threads of other libraries is not safe."""
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), start_worker, (encoding,)
    )

    def submit(chunk: Chunk) -> Future[Packed]:
        return pool.submit(pack_in_worker, chunk.texts, chunk.number)

    try:
        yield _in_order(submit, workers)
    except BrokenProcessPool as error:
        raise ElektronError(
            "a worker process was ended: if memory is short, try fewer --workers; a script that calls "
            'this must do so under `if __name__ == "__main__":`'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def on_ray(workers: int | None, encoding: Encoding) -> Iterator[RowsOf]:
    """Tasks of a Ray cluster, at most `workers` at once, or one for each CPU that it has.

    A task whose worker or machine dies is done again elsewhere. The cluster is the one of
    RAY_ADDRESS, or one that is started here and ended afterwards.
    """
    os.environ |= RAY_ENVIRONMENT
    try:
        import ray
    except ImportError as error:
        raise ElektronError(
            "--engine ray needs ray, which is not installed: pip install 'elektron[ray]'"
        ) from error
    from ray.exceptions import RayError, RayTaskError

    with ray_cluster(workers or cores()):
        # One that grows on demand may begin with none.
        workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        task = ray.remote(num_cpus=1, max_retries=RETRIES_ON_RAY)(pack_on_ray)
        shared = ray.put(encoding)
        free = threading.Semaphore(workers)

        def submit(chunk: Chunk) -> Future[Packed]:
            free.acquire()
            rows: Future[Packed] = task.remote(
                shared, versions(), chunk.texts, chunk.number
            ).future()
            rows.add_done_callback(lambda _: free.release())
            return rows

        try:
            yield _in_order(submit, workers)
        except RayTaskError as error:
            if isinstance(error.cause, ElektronError):
                raise error.cause from None
            if isinstance(error.cause, RuntimeError):  # the function is not found there
                raise ElektronError(
                    "a machine of the Ray cluster cannot run this elektron, install the same there "
                    f"({first_line(error.cause)})"
                ) from error
            raise
        except RayError as error:
            raise ElektronError(
                f"Ray gave up ({first_line(error)}): if memory is short, try fewer --workers"
            ) from error


@contextmanager
def ray_cluster(workers: int) -> Iterator[None]:
    """Be connected to Ray: as this process is already, or to RAY_ADDRESS, or to a cluster of our own.

    One of our own has as many CPUs as workers, keeps its logs to itself, and leaves nothing behind.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    with tempfile.TemporaryDirectory(
        prefix="ray-",
        dir=os.environ.get("RAY_TMPDIR", PLACE_OF_SOCKETS),
        ignore_cleanup_errors=True,
    ) as folder:
        try:
            _connect(workers, folder)
            yield
        finally:
            ray.shutdown()


def _connect(workers: int, folder: str) -> None:
    import ray
    from ray.exceptions import RayError

    address = os.environ.get("RAY_ADDRESS") or "local"
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address == "local":
            # Ray lets in only who has its token; left to itself, it keeps one in the home folder,
            # which clusters that are started later ask for as well.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            ray.init("local", num_cpus=workers, include_dashboard=False, _temp_dir=folder, **quiet)
        else:
            _knock(address)
            ray.init(address, **quiet)
    except (OSError, ImportError, RuntimeError, ValueError, RayError) as error:
        where = "cannot be started here" if address == "local" else f"no cluster at {address}"
        raise ElektronError(f"--engine ray: {where} ({first_line(error)})") from error


def _knock(address: str) -> None:
    """Raise OSError if nobody answers at `HOST:PORT`: Ray itself tries for many minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "://" not in address:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()


def _in_order(submit: Callable[[Chunk], Future[Packed]], workers: int) -> RowsOf:
    """Have chunks worked on by others, some ahead of what is asked for."""

    def rows_of(chunks: Iterable[Chunk]) -> Rows:
        waiting: deque[tuple[Chunk, Future[Packed]]] = deque()
        for chunk in chunks:
            waiting.append((chunk, submit(chunk)))
            if len(waiting) > workers * CHUNKS_AHEAD_OF_WORKER:
                first, future = waiting.popleft()
                yield first, future.result()
        for chunk, future in waiting:
            yield chunk, future.result()

    return rows_of


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
