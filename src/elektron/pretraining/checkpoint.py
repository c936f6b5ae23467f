"""What a run can come back to: weights and optimizer state in safetensors, counters in JSON.

A checkpoint is a folder that appears in one motion (`new_folder`), with a manifest, written last, of the
SHA-256 of every file. A run goes on from the newest one that is whole; a broken one is set aside and
never deleted. Random streams and data order are functions of the step, so a step number is all they
need. The newest `keep` checkpoints stay, the best one, and if asked one in so many steps; the others
go in one motion too.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from elektron.bounded import read_text
from elektron.errors import ElektronError
from elektron.folders import new_folder, remains
from elektron.models.pair import Pair
from elektron.models.shards import divided_like, in_host_memory
from elektron.pretraining.config import CheckpointConfig
from elektron.pretraining.optimizers import PairOptimizer

log = logging.getLogger(__name__)

FOLDER = "checkpoints"
MANIFEST = "manifest.json"
WEIGHTS, OPTIMIZER, COUNTERS = "weights.safetensors", "optimizer.safetensors", "progress.json"
MEASURES = ("window", "spikes")
"""What the optimizers' file holds besides their state."""
NAMES = "step-????????"
BROKEN = "broken-"
DROPPED = ".dropped-"


@dataclass
class Progress:
    """How far a run has come."""

    step: int = 0
    seconds: float = 0.0
    """Training time, evaluation and saving included, over all sessions."""
    flops: float = 0.0
    held_out_loss: float | None = None
    """Both networks' weighted loss at the last evaluation: the lowest makes the best checkpoint."""
    stage: int = 0
    """Of the plan."""
    stage_step: int = 0
    """The step that it began with."""
    schedule_from: float = 0.0
    """Where the schedule of the rate begins, in the unit of the run's length: 0, or where the run had ended before
    it was made longer."""
    skipped: int = 0
    """Steps skipped for gradients that were no finite numbers, since a line of metrics without any."""
    passed_over: list[list[int]] = field(default_factory=list)
    """`[step, rows]`: from this step on, so many more rows of the order are left out."""


@dataclass(frozen=True)
class Snapshot:
    """All that a checkpoint holds, in copies that training does not touch."""

    weights: dict[str, Tensor]
    state: dict[str, Tensor]
    """The optimizers' state, the training metrics summed up since they were last logged, and the last losses."""
    progress: Progress

    @classmethod
    def of(
        cls,
        pair: Pair,
        optimizer: PairOptimizer,
        measures: dict[str, Tensor],
        progress: Progress,
        keeps: bool = True,
    ) -> Snapshot:
        """Copies in the host's memory, of whole tensors.

        Those that are divided are put together one after the other, by all processes, of which one `keeps`
        them; the others' snapshots have no tensors.
        """
        state = optimizer.state_tensors() | measures
        return cls(
            in_host_memory(dict(pair.named_parameters()), keeps),
            in_host_memory(state, keeps),
            copy.deepcopy(progress),
        )


def write(out: Path, snapshot: Snapshot, config: CheckpointConfig) -> None:
    """Write a checkpoint into the run's folder, and drop those that are no longer kept.

    Raises:
        ElektronError: it cannot be written; what was there before is as it was.
    """
    folder = out / FOLDER / f"step-{snapshot.progress.step:08d}"
    try:
        if not folder.exists():  # the same step of the same run has the same bits
            with new_folder(folder) as partial:
                save_file(snapshot.weights, partial / WEIGHTS)
                save_file(snapshot.state, partial / OPTIMIZER)
                counters = json.dumps(asdict(snapshot.progress))
                (partial / COUNTERS).write_text(counters, encoding="utf-8")
                write_manifest(partial)
        rotate(out, config.keep, config.keep_every)
    except (OSError, SafetensorError) as error:
        raise ElektronError(f"checkpoint {folder} cannot be written ({error})") from error


def write_manifest(checkpoint: Path) -> None:
    """Write down what the files of a checkpoint are."""
    digests = {name: digest(checkpoint / name) for name in (WEIGHTS, OPTIMIZER, COUNTERS)}
    manifest = {"sha256": digest_of_text(json.dumps(digests)), "files": digests}
    (checkpoint / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def digest(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_text(text: str) -> str:
    """The SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def faults(checkpoint: Path) -> Iterator[str]:
    """A line for every file of a checkpoint that is not what its manifest says."""
    try:
        manifest = json.loads(read_text(checkpoint / MANIFEST))
        listed = dict(manifest["files"])
        whole = manifest["sha256"] == digest_of_text(json.dumps(listed))
    except FileNotFoundError:
        yield f"{checkpoint / MANIFEST} is missing"
        return
    except (OSError, ValueError, KeyError, TypeError, ElektronError) as error:
        yield f"{checkpoint / MANIFEST} is damaged ({error})"
        return
    if not whole:
        yield f"{checkpoint / MANIFEST} is damaged (not what was written)"
        return
    for name in (WEIGHTS, OPTIMIZER, COUNTERS):
        path = checkpoint / name
        if not path.is_file():
            yield f"{path} is missing"
        elif listed.get(name) != digest(path):
            yield f"{path} is damaged (not what was written)"


def newest_whole(out: Path) -> Path | None:
    """The newest checkpoint whose every file is as it was written; broken ones are set aside on the way."""
    for path in reversed(checkpoints(out)):
        found = list(faults(path))
        if not found:
            return path
        aside = path.with_name(BROKEN + path.name)
        if not aside.exists():
            path.rename(aside)
        log.warning("%s: it is set aside as %s", found[0], aside)
    return None


def checkpoints(out: Path) -> list[Path]:
    """The run's checkpoints, oldest first."""
    return sorted((out / FOLDER).glob(NAMES))


def read_progress(checkpoint: Path) -> Progress:
    """How far the run had come."""
    try:
        return Progress(**json.loads(read_text(checkpoint / COUNTERS)))
    except (OSError, ValueError, TypeError, ElektronError) as error:
        raise damaged(checkpoint, error) from error


def rotate(out: Path, keep: int, keep_every: int | None) -> None:
    """Drop all but the newest `keep` checkpoints, the best one, and those at multiples of `keep_every` steps.

    One whose counters cannot be read is left for whoever wants to know why.
    """
    losses: dict[Path, float | None] = {}
    for path in checkpoints(out):
        try:
            losses[path] = read_progress(path).held_out_loss
        except ElektronError as error:
            log.warning("%s", error)
    found = list(losses)
    judged = [path for path in found if losses[path] is not None]
    best = min(judged, key=lambda path: losses[path] or 0.0) if judged else None
    for path in found[:-keep]:
        step = int(path.name.removeprefix("step-"))
        if path != best and not (keep_every and step % keep_every == 0):
            drop(path)


def drop(checkpoint: Path) -> None:
    """Delete a checkpoint; a kill in the midst of it leaves nothing that looks like one."""
    dropped = checkpoint.with_name(DROPPED + checkpoint.name)
    checkpoint.rename(dropped)
    shutil.rmtree(dropped)


def clear(out: Path) -> None:
    """Remove what killed processes have left half written or half deleted."""
    folder = out / FOLDER
    for path in (*folder.glob(DROPPED + NAMES), *remains(folder, NAMES)):
        shutil.rmtree(path)


def load(
    checkpoint: Path, pair: Pair, optimizer: PairOptimizer
) -> tuple[Progress, dict[str, Tensor]]:
    """Put pair and optimizer back to a checkpoint; its progress and MEASURES.

    Raises:
        ElektronError: the checkpoint is damaged or belongs to other networks.
    """
    progress = read_progress(checkpoint)
    parameters = dict(pair.named_parameters())
    try:
        with safe_open(checkpoint / WEIGHTS, "pt") as weights, torch.no_grad():
            shapes = {
                name: tuple(weights.get_slice(name).get_shape()) for name in list(weights.keys())
            }
            if {name: tuple(p.shape) for name, p in parameters.items()} != shapes:
                raise ElektronError(
                    f"{checkpoint} holds other networks than this run's configuration"
                )
            for name, parameter in parameters.items():
                parameter.copy_(divided_like(weights.get_tensor(name), parameter))
        with safe_open(checkpoint / OPTIMIZER, "pt") as state:
            names = sorted(state.keys())
            if missing := [name for name in MEASURES if name not in names]:
                raise ElektronError(
                    f"{checkpoint} is of an earlier version of elektron and has no {missing[0]}: "
                    "choose another --out"
                )
            optimizer.load_state_tensors(
                (name, state.get_tensor(name)) for name in names if name not in MEASURES
            )
            return progress, {name: state.get_tensor(name) for name in MEASURES}
    except (OSError, SafetensorError) as error:
        raise damaged(checkpoint, error) from error


def damaged(checkpoint: Path, error: Exception) -> ElektronError:
    """One line about a checkpoint that cannot be read."""
    return ElektronError(
        f"checkpoint {checkpoint} is damaged ({error}): move it away and run again "
        "to go on from the one before it"
    )
