"""Checkpoints: weights and optimizer state in safetensors, counters in JSON, written in a background thread.

A checkpoint is a folder `checkpoints/step-…` that becomes visible by one rename (`atomic_folder`). Its manifest has the
SHA-256 of every file and the identity of the run, so that neither the checkpoint of another step nor that of another
run is mistaken for it. A run resumes from the newest valid one; damaged ones are renamed and never deleted. Random
numbers and data order are functions of the step, so the step number restores them. The newest `keep` checkpoints are
kept, the best one, and every one at a multiple of `keep_every` steps.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from fnmatch import fnmatch
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from elektron.errors import ElektronError
from elektron.io.checksums import file_sha256, text_sha256
from elektron.io.files import MALFORMED, PARTIAL, from_json, parse_json_object, read_json, read_text, unreadable
from elektron.io.folders import atomic_folder
from elektron.models.dtensors import distribute_like
from elektron.models.pair import Pair
from elektron.pretraining.config import CheckpointConfig
from elektron.pretraining.optimizers import PairOptimizer, check_tensor
from elektron.pretraining.schedules import Progress

log = logging.getLogger(__name__)

FOLDER = "checkpoints"
IDENTITY = "run.json"
"""File in the run's folder with the identity that the run was started with."""
MANIFEST = "manifest.json"
WEIGHTS, OPTIMIZER, COUNTERS = "weights.safetensors", "optimizer.safetensors", "progress.json"
NAMES = "step-????????"
BROKEN, DROPPED, REPLACED = "broken-", ".dropped-", ".replaced-"
"""Prefixes of checkpoints that are damaged, being deleted, or being replaced."""
ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""Exceptions of opening a missing file. Other OSErrors do not mean that the checkpoint is damaged."""


class CheckpointWriter:
    """Writes the checkpoints of a run in a thread, one at a time.

    A failure is logged by the next call, and training continues; only the last save of a run has to succeed.
    """

    def __init__(self, out: Path, config: CheckpointConfig) -> None:
        self.out, self.config = out, config
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self.pending: Future[None] | None = None

    def start(self, weights: dict[str, Tensor], state: dict[str, Tensor], progress: Progress) -> None:
        """Start writing a checkpoint, after waiting for the previous one; training must not change the arguments."""
        self.wait()
        self.pending = self.pool.submit(write_checkpoint, self.out, weights, state, progress, self.config)

    def poll(self) -> None:
        """Log a failure of the last write, without waiting for it."""
        if self.pending is not None and self.pending.done():
            self.wait()

    def wait(self, must_succeed: bool = False) -> None:
        """Wait until everything has been written, and log a failure.

        Raises:
            ElektronError: the last checkpoint cannot be written, and `must_succeed`.
        """
        pending, self.pending = self.pending, None
        try:
            if pending is not None:
                pending.result()
        except ElektronError as error:
            if must_succeed:
                raise
            log.warning("%s: training continues", error)

    def close(self) -> None:
        """Wait until everything has been written, and stop the thread."""
        self.wait()
        self.pool.shutdown()


def write_checkpoint(
    out: Path, weights: dict[str, Tensor], state: dict[str, Tensor], progress: Progress, config: CheckpointConfig
) -> None:
    """Write a checkpoint into the run's folder, and delete those that are no longer kept.

    Args:
        out: folder of the run.
        weights: the parameters of the networks.
        state: the optimizers' state and the tensors of `Trainer.device_state`.
        progress: the counters.
        config: which checkpoints are kept.

    Raises:
        ElektronError: it cannot be written; the checkpoints there are unchanged.
    """
    folder = out / FOLDER / folder_name(progress.step)
    try:
        try:
            with atomic_folder(folder, owned=True) as partial:
                save_file(weights, partial / WEIGHTS)
                save_file(state, partial / OPTIMIZER)
                (partial / COUNTERS).write_text(json.dumps(asdict(progress)), encoding="utf-8")
                write_manifest(partial, identity(out))
                if folder.exists():  # a run that was stopped here or made shorter saves again
                    folder.rename(folder.with_name(REPLACED + folder.name))
        finally:
            finish_replacing(folder.parent)
    except (OSError, SafetensorError) as error:
        raise ElektronError(f"checkpoint {folder} cannot be written ({error})") from error
    try:
        rotate(out, config.keep, config.keep_every)
    except OSError as error:
        log.warning("old checkpoints of %s cannot be deleted (%s)", out, error)


def write_manifest(checkpoint: Path, run: str | None = None) -> None:
    """Write the checksums of a checkpoint's files, and the identity of its run if there is one."""
    digests = {name: file_sha256(checkpoint / name) for name in (WEIGHTS, OPTIMIZER, COUNTERS)}
    (checkpoint / MANIFEST).write_text(manifest_of(digests, run), encoding="utf-8")


def manifest_of(digests: dict[str, str], run: str | None) -> str:
    """The JSON of a manifest, which includes a checksum of its own content."""
    identity_entry = {} if run is None else {"run": run}
    digest = text_sha256(json.dumps(digests | identity_entry))
    return json.dumps({"sha256": digest, **identity_entry, "files": digests}, indent=1)


def identity(out: Path) -> str | None:
    """The identity of the run in a folder; None for runs of earlier versions, which have none.

    Raises:
        ElektronError: it cannot be read.
    """
    path = out / IDENTITY
    try:
        return str(read_json(path)["run"])
    except FileNotFoundError:
        return None
    except (OSError, *MALFORMED) as error:
        raise unreadable(path, error, "restore it") from error


def other_run(checkpoint: Path) -> str | None:
    """An error message if the checkpoint was written by a run other than that of its folder."""
    written_by, run = read_json(checkpoint / MANIFEST).get("run"), checkpoint.parent.parent
    if written_by in (None, expected := identity(run)) or expected is None:
        return None
    return f"{checkpoint} belongs to another run than {run}: move it away"


def faults(checkpoint: Path) -> Iterator[str]:
    """A message for each file that is missing, damaged or differs from the manifest, and for a wrong name.

    Raises:
        ElektronError: a file exists and cannot be read, which does not mean that it is damaged.
    """
    digests: dict[str, Any] = {}
    for path in (checkpoint / name for name in (MANIFEST, WEIGHTS, OPTIMIZER, COUNTERS)):
        try:
            if path.name == MANIFEST:
                text = read_text(path)
                manifest = parse_json_object(text)
                digests = dict(manifest["files"])
                if text != manifest_of(digests, manifest.get("run")):
                    raise ValueError("its checksum does not match the manifest")
            elif file_sha256(path) != digests.get(path.name):
                raise ValueError("its checksum does not match the manifest")
            elif path.name == COUNTERS:
                step = from_json(read_json(path), Progress, COUNTERS).step
                if fnmatch(checkpoint.name, NAMES) and checkpoint.name != folder_name(step):
                    yield f"{checkpoint} contains the checkpoint of step {step}"
        except ABSENT:
            yield f"{path} is missing"
        except OSError as error:
            raise unreadable(path, error, "") from error
        except MALFORMED as error:
            yield f"{path} is damaged ({error})"
        else:
            continue
        if path.name == MANIFEST:
            return


def newest_valid(out: Path) -> Path | None:
    """The newest checkpoint that matches its manifest; newer ones, which are damaged, are renamed.

    Raises:
        ElektronError: there are checkpoints and none is valid, or one cannot be read; nothing is renamed then.
    """
    broken: dict[Path, str] = {}
    for path in reversed(checkpoints(out)):
        fault = next(faults(path), None)
        if fault is None:
            for newer, its_fault in broken.items():
                mark_broken(newer, its_fault)
            return path
        broken[path] = fault
    if broken:
        raise ElektronError(
            f"none of the {len(broken)} checkpoints of {out} is valid ({next(iter(broken.values()))}): "
            f"restore one, or move {out / FOLDER} away to start again"
        )
    return None


def mark_broken(checkpoint: Path, fault: str) -> None:
    """Rename a damaged checkpoint, so that no run resumes from it."""
    moved_to, number = checkpoint.with_name(BROKEN + checkpoint.name), 1
    while moved_to.exists():
        number += 1
        moved_to = checkpoint.with_name(f"{BROKEN}{checkpoint.name}-{number}")
    try:
        checkpoint.rename(moved_to)
    except OSError as error:
        raise ElektronError(f"{fault}, and cannot be renamed ({error.strerror})") from error
    log.warning("%s: it is kept as %s", fault, moved_to)


def folder_name(step: int) -> str:
    """The name of a step's checkpoint."""
    return f"step-{step:08d}"


def checkpoints(out: Path) -> list[Path]:
    """The run's checkpoints, oldest first.

    Raises:
        ElektronError: their folder cannot be read.
    """
    try:
        return sorted(path for path in (out / FOLDER).iterdir() if fnmatch(path.name, NAMES))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(out / FOLDER, error, "") from error


def read_progress(checkpoint: Path) -> Progress:
    """The counters of a checkpoint.

    Raises:
        ElektronError: the file cannot be read, or holds something else.
    """
    try:
        return from_json(read_json(checkpoint / COUNTERS), Progress, COUNTERS)
    except (OSError, *MALFORMED) as error:
        raise damaged(checkpoint, error) from error


def rotate(out: Path, keep: int, keep_every: int | None) -> None:
    """Delete all but the newest `keep` checkpoints, the best one, and those at multiples of `keep_every` steps.

    One whose counters cannot be read is kept.
    """
    losses: dict[Path, float | None] = {}
    for path in checkpoints(out):
        try:
            losses[path] = read_progress(path).held_out_loss
        except ElektronError as error:
            log.warning("%s", error)
    finite = {path: loss for path, loss in losses.items() if loss is not None and isfinite(loss)}
    best = min(finite, key=lambda path: finite[path], default=None)
    for path in list(losses)[:-keep]:
        step = int(path.name.removeprefix("step-"))
        if path != best and not (keep_every and step % keep_every == 0):
            dropped = path.with_name(DROPPED + path.name)
            path.rename(dropped)  # so that a process killed meanwhile leaves no partial checkpoint
            shutil.rmtree(dropped)


def remove_leftovers(out: Path) -> None:
    """Remove checkpoints that killed processes have left partly written or partly deleted.

    Raises:
        ElektronError: one cannot be removed.
    """
    folder = out / FOLDER
    try:
        for path in (*folder.glob(DROPPED + NAMES), *folder.glob(f".{NAMES}{PARTIAL}*")):
            shutil.rmtree(path)
        finish_replacing(folder)
    except OSError as error:
        raise ElektronError(f"{error.filename} cannot be removed ({error.strerror})") from error


def finish_replacing(folder: Path) -> None:
    """Delete checkpoints that have been replaced; restore those whose replacement was never completed."""
    for path in folder.glob(REPLACED + NAMES):
        replacement = path.with_name(path.name.removeprefix(REPLACED))
        if replacement.exists():
            shutil.rmtree(path)
        else:
            path.rename(replacement)


def load(
    checkpoint: Path, pair: Pair, optimizer: PairOptimizer, device_state: dict[str, Tensor]
) -> tuple[Progress, dict[str, Tensor]]:
    """Load networks and optimizers from a checkpoint.

    Returns:
        Its counters, and its values of the tensors in `device_state`.

    Raises:
        ElektronError: the checkpoint is damaged or belongs to another run or other networks.
    """
    if mismatch := other_run(checkpoint):
        raise ElektronError(mismatch)
    progress = read_progress(checkpoint)
    parameters = dict(pair.named_parameters())
    try:
        with safe_open(checkpoint / WEIGHTS, "pt") as weights, torch.no_grad():
            shapes = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
            if {name: list(p.shape) for name, p in parameters.items()} != shapes:
                raise ElektronError(f"the networks in {checkpoint} differ from this run's configuration")
            for name, parameter in parameters.items():
                value = weights.get_tensor(name)
                check_tensor(name, value, parameter.shape, parameter.dtype)
                parameter.copy_(distribute_like(value, parameter))
        with safe_open(checkpoint / OPTIMIZER, "pt") as state:
            names = sorted(state.keys())
            loaded = {name: state.get_tensor(name) for name in device_state}
            for name, tensor in device_state.items():
                check_tensor(name, loaded[name], tensor.shape, tensor.dtype)
            if progress.step and set(names) == set(device_state):
                raise ValueError("it has no state of the optimizers")
            optimizer.load_state_tensors((name, state.get_tensor(name)) for name in names if name not in device_state)
            return progress, loaded
    except (OSError, SafetensorError, ValueError) as error:
        raise damaged(checkpoint, error) from error


def damaged(checkpoint: Path, error: Exception) -> ElektronError:
    """The error for a checkpoint that cannot be read."""
    return unreadable(checkpoint, error, "move it away, and the same command resumes from the one before it")
