"""Folders that appear complete or not at all, and locks that keep a second process out of a folder.

A folder is written as `.NAME.partial` beside the place where it is going to be, and then renamed. The next
command that writes there removes what a killed process has left under that name.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import IO

from elektron.errors import ElektronError
from elektron.io.files import PARTIAL, apply_umask, fsync, make_parents, resolve_link

log = logging.getLogger(__name__)

LOCK_FILE = ".lock"
LOCK_TIMEOUT_SECONDS, LOCK_RETRY_SECONDS = 5.0, 0.1
"""How long to wait for a lock: torchrun restarts processes while the previous ones may still exit on other hosts."""
LOST_AND_FOUND = "lost+found"
"""Exists at the root of a new ext file system, which still counts as empty."""


@contextmanager
def atomic_folder(out: Path, kept: str = "", owned: bool = False) -> Iterator[Path]:
    """Yield a temporary folder to fill; it is renamed to `out` when the block ends without an exception.

    The temporary folder is next to `out`, is locked while the block runs, and is synced to disk before it is
    renamed. If `out` is an empty folder, which may be a mount point or the current folder and then cannot be
    replaced, the temporary folder is inside it, and its files are moved up at the end.

    If the block fails, the temporary folder is removed. If the block succeeds but something else has appeared at
    `out`, the finished folder is kept, and the error says where it is.

    Args:
        out: the final path; if it is a symbolic link, the link stays and its target is written.
        kept: name of a subfolder for unfinished work: if it exists when the block fails, it stays for the next call
            to continue from; it does not become part of `out`.
        owned: whether the caller keeps other processes away and removes an existing `out` before the block ends;
            the temporary folder is then not locked, and is removed if it cannot be renamed.

    Raises:
        ElektronError: `out` exists, nothing can be written there, or another process is writing it.
    """
    if not owned:
        refuse_taken(out)
    target = resolve_link(out)
    inside = target.is_dir() and is_free(target)
    partial = target / PARTIAL if inside else target.with_name(f".{target.name}{PARTIAL}")
    try:
        make_parents(partial)
        partial.mkdir(exist_ok=True)
    except OSError as error:
        raise ElektronError(f"{out} cannot be written ({error.strerror})") from error
    with nullcontext() if owned else folder_lock(partial, out):
        try:
            if not owned:
                refuse_taken(out)  # another process may have written it by now
            for path in partial.iterdir():
                if path.is_dir() and not path.is_symlink() and path.name != kept:
                    shutil.rmtree(path)
                elif path.name not in (LOCK_FILE, kept):
                    path.unlink()
            yield partial
            if kept:
                shutil.rmtree(partial / kept, ignore_errors=True)
            apply_umask(partial)
            for path in [*sorted(partial.rglob("*"), reverse=True), partial]:
                fsync(path)
        except BaseException:
            if not (kept and (partial / kept).is_dir()):
                shutil.rmtree(partial, ignore_errors=True)
            raise
        try:
            _publish(partial, target, inside)
        except OSError as error:
            message = f"{out} cannot be written ({error.strerror})"
            if owned:  # the caller can make it again
                shutil.rmtree(partial, ignore_errors=True)
                raise ElektronError(message) from error
            if not inside:
                with suppress(OSError):  # so that no other command clears it
                    partial = partial.rename(target.with_name(f"{target.name}.finished"))
            raise ElektronError(f"{message}: the finished result is in {partial}") from error
    fsync(target if inside else target.parent)


def _publish(partial: Path, target: Path, inside: bool) -> None:
    """Rename the folder to its final name. Its lock is removed last, so that a waiting process finds `target` taken."""
    if not inside:
        partial.rename(target)
        (target / LOCK_FILE).unlink(missing_ok=True)
        return
    if not is_free(target):
        raise FileExistsError(errno.EEXIST, "something else has appeared there")
    for path in sorted(partial.iterdir()):
        if path.name != LOCK_FILE:
            path.rename(target / path.name)
    shutil.rmtree(partial, ignore_errors=True)


def refuse_taken(out: Path) -> None:
    """Raise ElektronError if `out` is not free."""
    if not is_free(out):
        raise ElektronError(f"{out} exists and is not empty: choose another --out")


def is_free(out: Path) -> bool:
    """Whether `out` does not exist or is an empty folder; what a killed command has left in it does not count."""
    if not out.exists():
        return True
    return out.is_dir() and {path.name for path in out.iterdir()} <= {PARTIAL, LOST_AND_FOUND}


def final_path(folder: Path) -> Path:
    """The final path of a temporary folder of `atomic_folder`; any other path unchanged."""
    if folder.name == PARTIAL:
        return folder.parent
    name = folder.name.removesuffix(PARTIAL)
    return folder.with_name(name[1:]) if name != folder.name and name[:1] == "." else folder


@contextmanager
def folder_lock(folder: Path, out: Path) -> Iterator[None]:
    """Hold an exclusive lock on a folder, which is created if necessary, while the block runs.

    The lock is `flock` on an empty file in the folder. It also works across the hosts of a shared file system, and
    ends with the process. If the file system has no such locks, a warning is logged instead.

    Args:
        folder: folder of the lock file.
        out: the path that error messages name.

    Raises:
        ElektronError: another process holds the lock, or nothing can be written there.
    """
    try:
        file = _lock(folder, out)
    except OSError as error:
        raise ElektronError(f"{out} cannot be written ({error.strerror}): choose another --out") from error
    with file:
        yield


def _lock(folder: Path, out: Path) -> IO[bytes]:
    """Open and lock the lock file; closing it releases the lock."""
    path, deadline = folder / LOCK_FILE, time.monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            file.close()
            if time.monotonic() > deadline:
                raise ElektronError(
                    f"another process is writing {out}: wait until it has finished, stop it, or choose another --out"
                ) from None
            time.sleep(LOCK_RETRY_SECONDS)
            continue
        except OSError as error:
            log.warning("%s cannot be locked (%s): make sure that no other process writes there", out, error.strerror)
            return file
        # The process that held the lock may have removed the file meanwhile.
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()
