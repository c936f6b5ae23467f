"""One process at a time in a folder: a requeued job or a host that comes back must not write under another.

The lock is the system's, on an empty file in the folder, and goes with the process that holds it,
however it ends. It is on a file and not on the folder itself because a file can be locked across the hosts of
a shared file system too. Who removes the file must hold the lock; who gets the lock of a file that is no longer
there begins again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from elektron.errors import ElektronError

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # not on Windows
    flock = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

LOCK = ".lock"
WAITS_SECONDS, SECONDS_BETWEEN_TRIES = 5.0, 0.1
"""torchrun starts processes again at once, and those before them, if on other hosts, may take a moment to die."""


@contextmanager
def exclusive_lock(folder: Path, out: Path) -> Iterator[None]:
    """Keep all others out of a folder, made if it is not there, as long as the block lasts.

    Where the system or the file system has no such locks, this says so and goes on.

    Args:
        folder: where the lock lies.
        out: what messages name.

    Raises:
        ElektronError: another process is at work there, or nothing can be written.
    """
    try:
        file = _held(folder, out)
    except OSError as error:
        raise ElektronError(
            f"{out} cannot be written ({error.strerror}): choose another --out"
        ) from error
    with file:
        yield


def _held(folder: Path, out: Path) -> IO[bytes]:
    """The file of the lock, opened; it is locked until it is closed."""
    path = folder / LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
        try:
            locked = lock(file.fileno())
        except OSError as error:
            log.warning(
                "%s cannot be locked (%s): see that no second process writes there",
                out,
                error.strerror,
            )
            return file
        if locked and path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()
        if not locked:
            raise ElektronError(
                f"another process is at work on {out}: wait for its end, stop it, or choose another --out"
            )


def lock(descriptor: int) -> bool:
    """Whether a file could be locked within WAITS_SECONDS.

    Raises:
        OSError: its file system has no locks.
    """
    if flock is None:
        raise OSError(0, "this system has no flock")
    until = time.monotonic() + WAITS_SECONDS
    while True:
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
        time.sleep(SECONDS_BETWEEN_TRIES)
