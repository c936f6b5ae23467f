"""What is wrong with the folder of a run or with one of its checkpoints, without loading them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from elektron.bounded import read_text, unreadable
from elektron.errors import ElektronError
from elektron.models.pair import DISCRIMINATOR, GENERATOR
from elektron.models.verification import json_faults, model_faults, tensor_names
from elektron.pretraining.checkpoint import IDENTITY, checkpoints, faults, identity, other_run
from elektron.pretraining.config import METRICS, SUMMARY
from elektron.pretraining.run_folder import as_line, load_settings

ADVICE = "the run will set the checkpoint aside and go on from the one before it"


def checkpoint_faults(folder: Path) -> Iterator[str]:
    """A line for every file of a checkpoint that is missing or cannot be what was written."""
    try:
        found = [f"{fault}: {ADVICE}" for fault in faults(folder)]
    except ElektronError as error:
        found = [str(error)]
    yield from found
    # A file that was written so may still be no checkpoint's.
    if not found:
        for path in sorted(folder.glob("*.safetensors")):
            if isinstance(unreadable := tensor_names(path), str):
                yield f"{unreadable}: {ADVICE}"
        try:
            strange = other_run(folder)
        except ElektronError:
            return  # said of the run already
        if strange:
            yield strange


def run_faults(folder: Path) -> Iterator[str]:
    """The same of a run: settings, metrics, checkpoints, and the models once it is finished."""
    try:
        load_settings(folder)
    except ElektronError as error:
        yield str(error)
    try:
        identity(folder)
    except ElektronError as error:
        yield str(error)
    for path in sorted(set(folder.glob("*.json")) - {folder / IDENTITY}):
        yield from json_faults(path)
    finished = (folder / SUMMARY).is_file()
    if (folder / METRICS).is_file():
        yield from _faults_of_metrics(folder / METRICS, finished)
    elif finished:
        yield f"{folder / METRICS} is missing"
    for path in checkpoints(folder):
        yield from checkpoint_faults(path)
    for name in (DISCRIMINATOR, GENERATOR):
        if (folder / name).is_dir():
            yield from model_faults(folder / name)
    if finished and not (folder / DISCRIMINATOR).is_dir():
        yield f"{folder / DISCRIMINATOR} is missing"


def _faults_of_metrics(path: Path, finished: bool) -> Iterator[str]:
    """Lines that are no records; the last may be in the making while the run is at work."""
    try:
        lines = read_text(path).removesuffix("\n").split("\n")
    except ElektronError as error:
        yield str(error)
        return
    except (OSError, ValueError) as error:
        yield str(unreadable(path, error, "restore it"))
        return
    for number, line in enumerate(lines, start=1):
        in_the_making = not finished and number == len(lines)
        if as_line(line) is None and not in_the_making:
            yield f"{path}, line {number}: not a record"
