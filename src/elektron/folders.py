"""Folders and files that appear in one motion: whole, or not at all.

Both are written under a hidden name in the place where they are going to be, `.NAME.partial`, and then
renamed. The next command that writes there clears what a killed one has left under that name.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from elektron.errors import ElektronError
from elektron.lock import LOCK, exclusive_lock

PARTIAL = ".partial"
LOST = "lost+found"
"""What a file system may have at its root from the beginning."""
BEGINNING = 1 << 20
"""Bytes in which a file's mark stands."""


@contextmanager
def new_folder(out: Path, kept: str = "", owned: bool = False) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when the block ends without an exception, and which no other process fills.

    It lies beside `out` and is on the disk before it is renamed. Where `out` is an empty folder, which may be a
    mount point or the current folder and then cannot be replaced, it lies inside, and its files are moved up.
    It is removed if anything goes wrong while it is filled. Once it is whole it stays: where it cannot be
    moved, because something else has meanwhile come to lie at `out`, the error says where it is.

    Args:
        out: where it is going to be; a link stays one.
        kept: a folder inside for unfinished work, which is left where it is, if it was made, when the block
            fails, for the next one to go on with; it does not become part of `out`.
        owned: whether the caller keeps other processes away, and makes `out` free before the block ends.

    Raises:
        ElektronError: `out` is taken, nothing can be written there, or another process is at it.
    """
    place = followed(out)
    inside = place.is_dir() and is_free(place)
    partial = place / PARTIAL if inside else place.with_name(f".{place.name}{PARTIAL}")
    try:
        make_parents(partial)
        partial.mkdir(exist_ok=True)
    except OSError as error:
        raise ElektronError(f"{out} cannot be written ({error.strerror})") from error
    with nullcontext() if owned else exclusive_lock(partial, out):
        try:
            if not owned:
                refuse_taken(out)
            remove_all_but(partial, {LOCK, kept})
            yield partial
            if kept:
                shutil.rmtree(partial / kept, ignore_errors=True)
            give_usual_modes(partial)
            for path in sorted(partial.rglob("*"), reverse=True):
                sync(path)
            sync(partial)
        except BaseException:
            if not (kept and (partial / kept).is_dir()):
                shutil.rmtree(partial, ignore_errors=True)
            raise
        try:
            _publish(partial, place, inside)
        except OSError as error:
            if owned:  # the caller can make it again
                shutil.rmtree(partial, ignore_errors=True)
                raise ElektronError(f"{out} cannot be written ({error.strerror})") from error
            if not inside:
                with suppress(OSError):  # so that no other command clears it
                    partial = partial.rename(place.with_name(f"{place.name}.finished"))
            raise ElektronError(
                f"{out} cannot be written ({error.strerror}): the finished result is in {partial}"
            ) from error
    sync(place if inside else place.parent)


def _publish(partial: Path, place: Path, inside: bool) -> None:
    """Give the folder its name. Its lock goes last: whoever waits for it then finds that `place` is taken."""
    if not inside:
        partial.rename(place)
        (place / LOCK).unlink(missing_ok=True)
        return
    if not is_free(place):
        raise FileExistsError(errno.EEXIST, "something else has come to lie there")
    for path in sorted(partial.iterdir()):
        if path.name != LOCK:
            path.rename(place / path.name)
    shutil.rmtree(partial, ignore_errors=True)


def refuse_taken(out: Path) -> None:
    """Raise ElektronError if something lies at `out` that is more than an empty folder."""
    if not is_free(out):
        raise ElektronError(f"{out} exists and is not empty: choose another --out")


def is_free(out: Path) -> bool:
    """Whether nothing lies at `out`, or an empty folder; what a killed command left in it does not count."""
    if not out.exists():
        return True
    return out.is_dir() and {path.name for path in out.iterdir()} <= {PARTIAL, LOST}


def followed(path: Path) -> Path:
    """Where a path leads if it is a link, also if nothing is there yet; any other path as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def give_usual_modes(folder: Path) -> None:
    """Have the umask decide who may read the files of a folder; safetensors lets only their owner."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o666 & ~_umask())


def name_to_be(folder: Path) -> Path:
    """What a folder is going to be called that `new_folder` gave to fill; any other is called so already."""
    if folder.name == PARTIAL:
        return folder.parent
    name = folder.name.removesuffix(PARTIAL)
    return folder.with_name(name[1:]) if name != folder.name and name[:1] == "." else folder


def make_folder(path: Path) -> None:
    """Make a folder that may be there already, or the one that a link leads to."""
    followed(path).mkdir(parents=True, exist_ok=True)


def make_parents(path: Path) -> None:
    """Make the folders above a path, on the disk with all that are new."""
    new = list(itertools.takewhile(lambda folder: not folder.exists(), path.parents))
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in new:
        sync(folder.parent)


def remains(parent: Path, names: str) -> list[Path]:
    """What killed processes have left of new folders whose names are of a pattern."""
    return sorted(parent.glob(f".{names}{PARTIAL}*"))


def remove_all_but(folder: Path, names: set[str]) -> None:
    """Remove what lies in a folder under other names."""
    for path in folder.iterdir():
        if path.name in names:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` when the block ends without an exception.

    Where `path` is a link, it stays one, and the file it leads to is replaced. A device or a pipe is written
    to as it is.

    Raises:
        OSError: nothing can be written there.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    place = followed(path)
    partial = place.with_name(f".{place.name}{PARTIAL}")
    try:
        yield partial
        sync(partial)
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)
    sync(place.parent)


def write_whole(path: Path, text: str) -> None:
    """Write a file of text; one that is there is replaced whole or not at all."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def refuse_foreign(path: Path, mark: bytes) -> None:
    """Raise ElektronError if a file lies there that is neither empty nor has the mark of those that may be replaced."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        begins = file.read(BEGINNING)
    if begins and mark not in begins:
        raise ElektronError(
            f"{path} exists and was not written by this command: move it away, or give another name"
        )


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
