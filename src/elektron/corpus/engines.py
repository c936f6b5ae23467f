"""Tokenize and pack chunks of documents: in this process, in processes of this machine, or on Ray.

An engine is a context manager that yields a function: it takes chunks and returns each chunk with its
rows, in the same order. All engines call `Encoder.pack`, whose result depends only on the texts and the
number of a chunk, so that the rows do not depend on the engine. No engine holds more than a few chunks
per worker in memory. Exceptions in a worker are raised again in this process.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import secrets
import signal
import socket
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from joblib import cpu_count  # within the limits of a container
from numpy.typing import NDArray
from tokenizers import Tokenizer

import elektron
from elektron.corpus.config import PrepareConfig
from elektron.corpus.manifest import Manifest, Split
from elektron.corpus.packing import check_ids_in_vocabulary, pack_dense, pack_paper
from elektron.corpus.redaction import PLACEHOLDERS, Redactor, library_versions
from elektron.corpus.unknown import Unknown, UnknownCounter, visible_characters
from elektron.errors import ElektronError, first_line, requires_extra

CHUNKS_AHEAD_OF_WORKER = 2
RAY_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
"""Turns off telemetry, and the upload of the current folder to the cluster under `uv run`."""
SOCKET_FOLDER = "/tmp"
"""Folder for the files of a Ray cluster started here: the path of a socket must be short."""
SECONDS_TO_ANSWER = 10.0
RETRIES_ON_RAY = 5
"""How often a chunk is tried again after its worker has died; the chunk itself is then the likely cause."""


@dataclass(frozen=True)
class Chunk:
    """Documents of one split that are packed together."""

    number: int
    split: Split
    texts: list[str]
    member: str = ""
    """The source in a mixture that they come from; empty if the corpus is not a mixture."""


class Packed(NamedTuple):
    """The rows of a chunk."""

    rows: NDArray[Any]
    """`(rows, seq_len)` token ids."""
    unknown: Unknown
    """How much of its text became [UNK]."""
    redacted: Counter[str]
    """Number of placeholders by kind."""


Engine = Callable[[Iterable[Chunk]], Iterator[tuple[Chunk, Packed]]]


@dataclass(frozen=True)
class Encoding:
    """Settings of an `Encoder`, which are sent to the workers."""

    tokenizer: str
    """The tokenizer as JSON, as the `tokenizers` library writes it."""
    manifest: Manifest
    """Gives the row length, the packing and the special tokens."""
    seed: int
    redact: tuple[str, ...] = ()
    """Kinds of personal data that become placeholders."""

    def __post_init__(self) -> None:
        """Raise ElektronError for a special token outside the vocabulary; unpickling in a worker does not call this."""
        ids, size = np.array(self.manifest.all_special_ids), self.manifest.vocab_size
        check_ids_in_vocabulary(ids, size, "a special token of the tokenizer")


class Encoder:
    """Turns chunks of documents into rows."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.manifest = manifest = encoding.manifest
        self.counter = UnknownCounter(Tokenizer.from_str(encoding.tokenizer), manifest.special_ids["unk"])
        self.tokenizer = self.counter.tokenizer
        self.redactor = Redactor(encoding.redact)
        self.is_special = np.zeros(manifest.vocab_size, dtype=bool)
        self.is_special[manifest.all_special_ids] = True
        placeholders = map(self.tokenizer.token_to_id, PLACEHOLDERS.values())
        # They are listed as special, so that they are never masked, but are allowed in text.
        self.is_special[[number for number in placeholders if number is not None]] = False

    def pack(self, texts: Sequence[str], chunk: int) -> Packed:
        """Pack the texts of a chunk; `chunk` is its number, which seeds random choices."""
        manifest = self.manifest
        unknown, redacted = Unknown(), Counter[str]()
        if self.encoding.redact:
            texts, counts = zip(*map(self.redactor.redact, texts), strict=True)
            redacted = sum(counts, redacted)
        cls_id, sep_id, pad_id = (manifest.special_ids[kind] for kind in ("cls", "sep", "pad"))
        if manifest.packing == "dense":
            tokens = self._tokenize(texts, unknown)
            rows = pack_dense(tokens, manifest.seq_len, cls_id, sep_id, pad_id)
        else:
            lines = [text.split("\n") for text in texts]
            of_lines = iter(self._tokenize(list(chain.from_iterable(lines)), unknown))
            documents = [[next(of_lines).tolist() for _ in document] for document in lines]
            generator = np.random.default_rng([self.encoding.seed, chunk])
            rows = pack_paper(documents, manifest.seq_len, cls_id, sep_id, pad_id, generator)
        return Packed(rows.astype(manifest.dtype), unknown, redacted)

    def _tokenize(self, texts: Sequence[str], unknown: Unknown) -> list[NDArray[np.int32]]:
        """Token ids of each text, without special tokens; adds to the count of unknown text."""
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ids = [encoding.ids for encoding in encodings]
        ends = np.cumsum([len(text) for text in ids])
        flat = np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=int(ends[-1]))
        check_ids_in_vocabulary(flat, self.manifest.vocab_size, "from the tokenizer")
        unknown_id = self.manifest.special_ids["unk"]
        lossy = [text for text, numbers in zip(texts, ids, strict=True) if unknown_id in numbers]
        counted = self.counter.count(lossy)
        counted.characters = visible_characters(texts)
        unknown.add(counted)
        # Some tokenizers can still produce a special token from text; in a row it would separate documents.
        flat[self.is_special[flat]] = unknown_id
        return np.split(flat, ends[:-1])


_encoder: Encoder | None = None
"""The encoder of this worker process."""


def start_worker(encoding: Encoding) -> None:
    """Initialise a worker process for `pack_in_worker`."""
    global _encoder  # noqa: PLW0603
    # There is a process for each core already.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Ctrl-C interrupts the parent too, which then shuts down its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _encoder = Encoder(encoding)


def _exit_with_parent() -> None:
    """Exit when the parent process ends, which cannot shut down its workers if it is killed."""
    multiprocessing.parent_process().join()  # type: ignore[union-attr]  # this is a child
    os._exit(1)


def pack_in_worker(texts: Sequence[str], chunk: int) -> Packed:
    """`Encoder.pack` in a process that `start_worker` has initialised."""
    assert _encoder is not None
    return _encoder.pack(texts, chunk)


def pack_on_ray(encoding: Encoding, expected_versions: str, texts: Sequence[str], chunk: int) -> Packed:
    """`Encoder.pack` in a Ray worker, which may be reused by later calls of `prepare`.

    Raises:
        ElektronError: the `versions` of the worker are not the expected ones.
    """
    global _encoder  # noqa: PLW0603
    if _encoder is None or _encoder.encoding != encoding:
        if (installed := versions(encoding)) != expected_versions:
            raise ElektronError(
                f"a machine of the Ray cluster has {installed}, this one {expected_versions}: install the same"
            )
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        _encoder = Encoder(encoding)
    return _encoder.pack(texts, chunk)


def versions(encoding: Encoding) -> str:
    """The versions of the libraries on which the rows of a text depend."""
    always = f"elektron {elektron.__version__}, tokenizers {tokenizers.__version__}"
    return f"{always}, {library_versions()}" if encoding.redact else always


def engine(config: PrepareConfig, encoding: Encoding) -> AbstractContextManager[Engine]:
    """The engine of a configuration."""
    if config.engine == "ray":
        return on_ray(config.workers, encoding)
    workers = config.workers or cpu_count()
    return in_this_process(encoding) if workers == 1 else on_this_machine(workers, encoding)


@contextmanager
def in_this_process(encoding: Encoding) -> Iterator[Engine]:
    """An engine without other processes."""
    encoder = Encoder(encoding)
    yield lambda chunks: ((chunk, encoder.pack(chunk.texts, chunk.number)) for chunk in chunks)


@contextmanager
def on_this_machine(workers: int, encoding: Encoding) -> Iterator[Engine]:
    """An engine of spawned processes: forking a process that may have threads of other libraries is not safe."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start_worker, (encoding,))

    def submit(chunk: Chunk) -> Future[Packed]:
        return pool.submit(pack_in_worker, chunk.texts, chunk.number)

    try:
        yield _in_order(submit, workers)
    except BrokenProcessPool as error:
        raise ElektronError(
            "a worker process died: if memory is short, try fewer --workers; a script must call "
            'this under `if __name__ == "__main__":`'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def on_ray(workers: int | None, encoding: Encoding) -> Iterator[Engine]:
    """An engine of Ray tasks, at most `workers` at once; by default one for each CPU of the cluster.

    A task whose worker or machine dies is repeated elsewhere. The cluster is the one of
    RAY_ADDRESS, or one that is started here and ended afterwards.
    """
    os.environ |= RAY_ENVIRONMENT
    with requires_extra("ray", "--engine ray"):
        import ray
    from ray.exceptions import RayError, RayTaskError

    with ray_cluster(workers or cpu_count()):
        # An autoscaling cluster may start with no CPU.
        workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        task = ray.remote(num_cpus=1, max_retries=RETRIES_ON_RAY)(pack_on_ray)
        shared = ray.put(encoding)
        free = threading.Semaphore(workers)

        def submit(chunk: Chunk) -> Future[Packed]:
            free.acquire()
            reference = task.remote(shared, versions(encoding), chunk.texts, chunk.number)
            future: Future[Packed] = reference.future()
            future.add_done_callback(lambda _: free.release())
            return future

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
            raise ElektronError(f"Ray failed ({first_line(error)}): if memory is short, try fewer --workers") from error


@contextmanager
def ray_cluster(workers: int) -> Iterator[None]:
    """Connect to Ray, unless this process is connected: to RAY_ADDRESS, or to a cluster started here.

    A cluster started here has as many CPUs as workers, and leaves no files behind.
    """
    import ray
    from ray.exceptions import RayError

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir=os.environ.get("RAY_TMPDIR", SOCKET_FOLDER), ignore_cleanup_errors=True
    ) as folder:
        try:
            try:
                if address == "local":
                    # Otherwise Ray writes a token to the home folder, and clusters that are
                    # started later require it too.
                    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
                    options |= {"include_dashboard": False, "_temp_dir": folder}
                    ray.init("local", num_cpus=workers, **options)
                else:
                    _check_address(address)
                    ray.init(address, **options)
            except (OSError, ImportError, RuntimeError, ValueError, RayError) as error:
                failed = "cannot be started here" if address == "local" else f"no cluster at {address}"
                raise ElektronError(f"--engine ray: {failed} ({first_line(error)})") from error
            yield
        finally:
            ray.shutdown()


def _check_address(address: str) -> None:
    """Raise OSError if nobody answers at `HOST:PORT`: Ray itself tries for many minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "://" not in address:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()


def _in_order(submit: Callable[[Chunk], Future[Packed]], workers: int) -> Engine:
    """An engine that submits a few chunks per worker ahead, and returns the results in the order of the chunks."""

    def results_of(chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Packed]]:
        submitted: deque[tuple[Chunk, Future[Packed]]] = deque()
        for chunk in chunks:
            submitted.append((chunk, submit(chunk)))
            if len(submitted) > workers * CHUNKS_AHEAD_OF_WORKER:
                first, future = submitted.popleft()
                yield first, future.result()
        for chunk, future in submitted:
            yield chunk, future.result()

    return results_of
