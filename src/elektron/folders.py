"""Folders and files that appear in one motion: whole, or not at all."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elektron.errors import ElektronError

PARTIAL = ".partial"


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when the block ends without an exception.

    It lies beside `out` under a hidden name, is on the disk before it is renamed, and is removed
    if anything goes wrong. Whatever else has meanwhile come to lie at `out` is left alone.

    Raises:
        ElektronError: `out` is taken, or nothing can be written there.
    """
    try:
        make_parents(out)
        made = tempfile.mkdtemp(prefix=f".{out.name}{PARTIAL}-", dir=out.parent)
    except OSError as error:
        raise ElektronError(f"{out} cannot be written ({error.strerror})") from error
    partial = out.with_name(Path(made).name)  # as relative as `out` is
    try:
        yield partial
        give_usual_modes(partial)
        for path in sorted(partial.rglob("*"), reverse=True):
            sync(path)
        partial.chmod(0o777 & ~_umask())  # mkdtemp lets nobody else in
        sync(partial)
        try:
            partial.rename(out)
        except OSError as error:
            raise ElektronError(f"{out} cannot be written ({error.strerror})") from error
        sync(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def give_usual_modes(folder: Path) -> None:
    """Have the umask decide who may read the files of a folder; safetensors lets only their owner."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o666 & ~_umask())


def name_to_be(folder: Path) -> Path:
    """What a folder is going to be called that `new_folder` gave to fill; any other is called so already."""
    name, partial, _ = folder.name.rpartition(f"{PARTIAL}-")
    return folder.with_name(name[1:]) if partial and name[:1] == "." and name[1:] else folder


def make_parents(path: Path) -> None:
    """Make the folders above a path, on the disk with all that are new."""
    new = list(itertools.takewhile(lambda folder: not folder.exists(), path.parents))
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in new:
        sync(folder.parent)


def remains(parent: Path, names: str) -> list[Path]:
    """What killed processes have left of new folders whose names are of a pattern."""
    return sorted(parent.glob(f".{names}{PARTIAL}-*"))


def write_whole(path: Path, text: str) -> None:
    """Write a file of text; one that is there is replaced whole or not at all."""
    partial = path.with_name(path.name + PARTIAL)
    partial.write_text(text, encoding="utf-8")
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def is_free(out: Path) -> bool:
    """Whether nothing lies at `out`, or an empty folder."""
    return not out.exists() or (out.is_dir() and not any(out.iterdir()))


def sync(path: Path) -> None:
    """Have the file or folder on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
