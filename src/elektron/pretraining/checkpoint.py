"""What a run can come back to: weights and optimizer state in safetensors, counters in JSON.

A checkpoint is a folder that appears in one motion (`new_folder`), with a manifest, written last, of the
SHA-256 of every file. It is named after its step and has the identity of its run in the manifest, so that
neither another step's nor another run's is taken for it. A run goes on from the newest one that is
whole; a broken one is set aside and never deleted. Random streams and data order are functions of the
step, so a step number is all they need. The newest `keep` checkpoints stay, the best one, and if asked
one in so many steps; the others go in one motion too.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatch
from math import isfinite
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from elektron.errors import ElektronError
from elektron.io.checksums import file_sha256
from elektron.io.files import MALFORMED, parse_json_object, read_text, unreadable
from elektron.io.folders import atomic_folder, partial_folders
from elektron.models.dtensors import copy_to_cpu, distribute_like
from elektron.models.pair import Pair
from elektron.pretraining.config import CheckpointConfig
from elektron.pretraining.optimizers import PairOptimizer, refuse_unlike

log = logging.getLogger(__name__)

FOLDER = "checkpoints"
IDENTITY = "run.json"
"""In the run's folder: what it was begun as, whatever has since been changed in it."""
MANIFEST = "manifest.json"
WEIGHTS, OPTIMIZER, COUNTERS = "weights.safetensors", "optimizer.safetensors", "progress.json"
ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What opening a file raises where there is none. All other errors of the system say nothing of the file."""
NAMES = "step-????????"
BROKEN = "broken-"
DROPPED = ".dropped-"
REPLACED = ".replaced-"


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
    skipped_rows: list[list[int]] = field(default_factory=list)
    """`[step, rows]`: from this step on, so many more rows of the order are left out."""
    settings: str = ""
    """The identity that a run of the settings and blocks would have that the remembered losses come from."""

    device: str = ""
    """Processor, precision and mode of execution, which decide the bits of the results."""

    def check(self) -> None:
        """Raise ValueError if these are no counters of a run."""
        counts = [self.step, self.stage, self.stage_step, self.skipped]
        amounts = [self.seconds, self.flops, self.schedule_from]
        for pair in _list(self.skipped_rows):
            if len(_list(pair)) != 2:
                raise ValueError("what it passed over are no pairs")
            counts += pair
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("its counts are none")
        if not all(type(amount) in (int, float) and isfinite(amount) for amount in amounts):
            raise ValueError("its amounts are none")
        # A loss may be infinite or no number.
        if type(self.held_out_loss) not in (int, float, NoneType):
            raise ValueError("its loss is none")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r:.40} is no list")
    return value


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
            copy_to_cpu(dict(pair.named_parameters()), keeps),
            copy_to_cpu(state, keeps),
            copy.deepcopy(progress),
        )


def write(out: Path, snapshot: Snapshot, config: CheckpointConfig) -> None:
    """Write a checkpoint into the run's folder, and drop those that are no longer kept.

    Raises:
        ElektronError: it cannot be written; what was there before is as it was.
    """
    folder = out / FOLDER / name_of(snapshot.progress.step)
    try:
        if not holds(folder, snapshot.progress):
            try:
                with atomic_folder(folder, owned=True) as partial:
                    save_file(snapshot.weights, partial / WEIGHTS)
                    save_file(snapshot.state, partial / OPTIMIZER)
                    counters = json.dumps(asdict(snapshot.progress))
                    (partial / COUNTERS).write_text(counters, encoding="utf-8")
                    write_manifest(partial, identity(out))
                    if folder.exists():
                        folder.rename(folder.with_name(REPLACED + folder.name))
            finally:
                settle(folder.parent)
    except (OSError, SafetensorError) as error:
        raise ElektronError(f"checkpoint {folder} cannot be written ({error})") from error
    try:
        rotate(out, config.keep, config.keep_every)
    except OSError as error:
        log.warning("old checkpoints of %s cannot be dropped (%s)", out, error)


def holds(checkpoint: Path, progress: Progress) -> bool:
    """Whether it is there already: the same step of the same run has the same bits.

    Only the clock may differ. A broken one is set aside, and one of a run that has since been made longer
    or shorter has other counters.
    """
    if not checkpoint.exists():
        return False
    if found := next(faults(checkpoint), None):
        mark_broken(checkpoint, found)
        return False
    there = read_progress(checkpoint)
    return replace(there, seconds=progress.seconds) == progress


def write_manifest(checkpoint: Path, run: str | None = None) -> None:
    """Write down what the files of a checkpoint are, and the identity of its run if that has one."""
    digests = {name: file_sha256(checkpoint / name) for name in (WEIGHTS, OPTIMIZER, COUNTERS)}
    (checkpoint / MANIFEST).write_text(manifest_of(digests, run), encoding="utf-8")


def manifest_of(digests: dict[str, str], run: str | None) -> str:
    """The text of a manifest; another text says the same of no files."""
    bound = {} if run is None else {"run": run}
    sealed = digest_of_text(json.dumps(digests | bound))
    return json.dumps({"sha256": sealed, **bound, "files": digests}, indent=1)


def identity(out: Path) -> str | None:
    """The identity of the run in a folder; None where there is none, as of runs that earlier versions began.

    Raises:
        ElektronError: it cannot be read.
    """
    path = out / IDENTITY
    try:
        return str(parse_json_object(read_text(path))["run"])
    except FileNotFoundError:
        return None
    except (OSError, *MALFORMED) as error:
        raise unreadable(path, error, "restore it") from error


def other_run(checkpoint: Path) -> str | None:
    """A line if a whole checkpoint was written by another run than the one in whose folder it lies."""
    of_run = parse_json_object(read_text(checkpoint / MANIFEST)).get("run")
    if of_run in (None, here := identity(checkpoint.parent.parent)) or here is None:
        return None
    return f"{checkpoint} is of another run than {checkpoint.parent.parent}: move it away"


def digest_of_text(text: str) -> str:
    """The SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def faults(checkpoint: Path) -> Iterator[str]:
    """A line for everything about a checkpoint that is not as its manifest and its name say.

    Raises:
        ElektronError: a file is there and cannot be read, which is no fault of the checkpoint.
    """
    try:
        text = read_text(checkpoint / MANIFEST)
        manifest = parse_json_object(text)
        listed, run = dict(manifest["files"]), manifest.get("run")
        whole = text == manifest_of(listed, run)
    except ABSENT:
        yield f"{checkpoint / MANIFEST} is missing"
        return
    except OSError as error:
        raise inaccessible(checkpoint / MANIFEST, error) from error
    except MALFORMED as error:
        yield f"{checkpoint / MANIFEST} is damaged ({error})"
        return
    if not whole:
        yield f"{checkpoint / MANIFEST} is damaged (not what was written)"
        return
    found = [
        f"{checkpoint / name} {fault}"
        for name in (WEIGHTS, OPTIMIZER, COUNTERS)
        if (fault := fault_of(checkpoint / name, listed.get(name)))
    ]
    yield from found
    if found:
        return
    try:
        step = progress_in(checkpoint / COUNTERS).step
    except OSError as error:
        raise inaccessible(checkpoint / COUNTERS, error) from error
    except MALFORMED as error:
        yield f"{checkpoint / COUNTERS} is damaged ({error})"
        return
    if fnmatch(checkpoint.name, NAMES) and checkpoint.name != name_of(step):
        yield f"{checkpoint} is the checkpoint of step {step}, under another's name"


def fault_of(path: Path, expected: Any) -> str | None:
    """What is wrong with a file that should have a certain digest, if anything is.

    Raises:
        ElektronError: it is there and cannot be read.
    """
    try:
        whole = file_sha256(path) == expected
    except ABSENT:
        return "is missing"
    except OSError as error:
        raise inaccessible(path, error) from error
    return None if whole else "is damaged (not what was written)"


def inaccessible(path: Path, error: OSError) -> ElektronError:
    """One line about a file or folder of checkpoints to which the system denies access."""
    return ElektronError(
        f"{path} cannot be read ({error.strerror}): nothing has been changed, and the same command "
        "goes on when it can be read"
    )


def newest_valid(out: Path) -> Path | None:
    """The newest checkpoint whose every file is as it was written; newer ones that are broken are set aside.

    Raises:
        ElektronError: there are checkpoints and none is whole, or one cannot be read; all stay where they are.
    """
    broken: dict[Path, str] = {}
    for path in reversed(checkpoints(out)):
        found = next(faults(path), None)
        if found is None:
            for newer, fault in broken.items():
                mark_broken(newer, fault)
            return path
        broken[path] = found
    if broken:
        raise ElektronError(
            f"none of the {len(broken)} checkpoints of {out} is whole ({next(iter(broken.values()))}): "
            f"restore one, or move {out / FOLDER} away to begin anew"
        )
    return None


def mark_broken(checkpoint: Path, fault: str) -> None:
    """Give a broken checkpoint a name that nothing goes on from."""
    name = BROKEN + checkpoint.name
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    aside = next(path for free in names if not (path := checkpoint.with_name(free)).exists())
    try:
        checkpoint.rename(aside)
    except OSError as error:
        raise ElektronError(f"{fault}, and cannot be set aside ({error.strerror})") from error
    log.warning("%s: it is set aside as %s", fault, aside)


def name_of(step: int) -> str:
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
        raise inaccessible(out / FOLDER, error) from error


def read_progress(checkpoint: Path) -> Progress:
    """How far the run had come.

    Raises:
        ElektronError: the file cannot be read, or holds something else.
    """
    try:
        return progress_in(checkpoint / COUNTERS)
    except (OSError, *MALFORMED) as error:
        raise damaged(checkpoint, error) from error


def progress_in(path: Path) -> Progress:
    """What a file of counters holds; for whatever else it is, one of MALFORMED."""
    progress = Progress(**parse_json_object(read_text(path)))
    progress.check()
    return progress


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
    judged = {path: loss for path, loss in losses.items() if loss is not None and isfinite(loss)}
    best = min(judged, key=lambda path: judged[path]) if judged else None
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
    """Remove what killed processes have left half written or half deleted.

    Raises:
        ElektronError: the system does not allow it.
    """
    folder = out / FOLDER
    try:
        for path in (*folder.glob(DROPPED + NAMES), *partial_folders(folder, NAMES)):
            shutil.rmtree(path)
        settle(folder)
    except OSError as error:
        raise ElektronError(
            f"{error.filename} cannot be removed ({error.strerror}): {folder} has to be writable"
        ) from error


def settle(folder: Path) -> None:
    """Drop checkpoints that others have taken the place of; where none has come, they have it again."""
    for path in folder.glob(REPLACED + NAMES):
        of_now = path.with_name(path.name.removeprefix(REPLACED))
        if of_now.exists():
            shutil.rmtree(path)
        else:
            path.rename(of_now)


def load(
    checkpoint: Path, pair: Pair, optimizer: PairOptimizer, measures: dict[str, Tensor]
) -> tuple[Progress, dict[str, Tensor]]:
    """Put pair and optimizer back to a checkpoint; its progress, and its measures in the place of these.

    Raises:
        ElektronError: the checkpoint is damaged or belongs to another run or other networks.
    """
    if strange := other_run(checkpoint):
        raise ElektronError(strange)
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
                value = weights.get_tensor(name)
                refuse_unlike(name, value, parameter.shape, parameter.dtype)
                parameter.copy_(distribute_like(value, parameter))
        with safe_open(checkpoint / OPTIMIZER, "pt") as state:
            names = sorted(state.keys())
            if missing := [name for name in measures if name not in names]:
                raise ElektronError(
                    f"{checkpoint} is of an earlier version of elektron and has no {missing[0]}: "
                    "choose another --out"
                )
            found = {name: state.get_tensor(name) for name in measures}
            for name, measure in measures.items():
                refuse_unlike(name, found[name], measure.shape, measure.dtype)
            if progress.step and set(names) == set(measures):
                raise ValueError("it has no state of the optimizers")
            optimizer.load_state_tensors(
                (name, state.get_tensor(name)) for name in names if name not in measures
            )
            return progress, found
    except (OSError, SafetensorError, ValueError) as error:
        raise damaged(checkpoint, error) from error


def damaged(checkpoint: Path, error: Exception) -> ElektronError:
    """One line about a checkpoint that cannot be read."""
    return unreadable(
        checkpoint, error, "move it away and run again to go on from the one before it"
    )
