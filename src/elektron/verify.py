"""`elektron verify`: check that the files of a folder are those that were written.

Blocks, checkpoints and models that Elektron saved have checksums, which are compared. For other models and for
runs, it checks whether all files are there, whether the headers of tensor files account for every byte, and
whether JSON files can be parsed. docs/safety.md says what that finds and what it cannot.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from elektron.configuration import Positional, ValidatedConfig
from elektron.errors import ElektronError
from elektron.inference.config import EXPORT_FILE
from elektron.io.checksums import checksum_faults
from elektron.io.files import MALFORMED, check_readable, read_json, read_text, unreadable
from elektron.progress import format_quantity
from elektron.terminal import echo

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"
CHECKPOINT_ADVICE = "the run will set the checkpoint aside and resume from the one before it"
CHECKPOINT_FILES = ("progress.json", "weights.safetensors", "optimizer.safetensors")


@dataclass
class VerifyConfig(ValidatedConfig):
    """Check folders of blocks, checkpoints, runs and models: one line for every fault."""

    folders: Positional[list[Path]]
    """Folders that `elektron prepare`, `pretrain` or `finetune` wrote, or a single checkpoint."""


def verify(config: VerifyConfig) -> None:
    """Print a line for every fault, or one for a folder without faults.

    Raises:
        ElektronError: there are faults, or a folder is of no kind that can be checked.
    """
    kinds = {folder: kind_of(folder) for folder in config.folders}
    count = 0
    for folder, (kind, find_faults) in kinds.items():
        faults = list(find_faults(folder))
        count += len(faults)
        for fault in faults or [f"{folder}: no faults ({kind}, {_size(folder)})"]:
            echo(fault)
    if count:
        where = ", ".join(map(str, config.folders))
        raise ElektronError(f"{count} fault{'s' * (count > 1)} found in {where}")


def _size(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return f"{len(files)} files, {format_quantity(sum(path.stat().st_size for path in files), 'bytes')}"


def kind_of(folder: Path) -> tuple[str, Callable[[Path], Iterator[str]]]:
    """What a folder holds, and the function that finds its faults.

    One file of a kind is enough, because the others may be missing.

    Raises:
        ElektronError: it holds nothing that can be checked.
    """
    if not folder.is_dir():
        raise ElektronError(f"{folder}: no such folder")
    for kind, patterns, find_faults in KINDS:
        if any(any(folder.glob(pattern)) for pattern in patterns):
            return kind, find_faults
    raise ElektronError(f"{folder}: neither blocks nor a checkpoint, a run, a model or metrics")


def _block_faults(folder: Path) -> Iterator[str]:
    from elektron.corpus.blocks import BlockStore
    from elektron.corpus.manifest import MANIFEST, Manifest

    try:
        store = BlockStore(folder, Manifest.load(folder / MANIFEST))
    except ElektronError as error:
        yield str(error)
        return
    yield from store.faults()


def _comparison_faults(folder: Path) -> Iterator[str]:
    """The faults of a comparison's own files, and of all runs and models in it."""
    yield from _json_faults(folder, "*.json")
    within = {path.parent for name in ("config.yaml", CONFIG) for path in folder.rglob(name)}
    for path in sorted(within):
        if not within.intersection(path.parents):  # a run's models are checked with it
            yield from kind_of(path)[1](path)


def run_faults(folder: Path) -> Iterator[str]:
    """The faults of a run: settings, metrics, checkpoints, and the models once it is finished."""
    from elektron.models.pair import DISCRIMINATOR, GENERATOR
    from elektron.pretraining.checkpoint import IDENTITY, checkpoints, identity
    from elektron.pretraining.config import METRICS, SUMMARY
    from elektron.pretraining.run import load_settings

    for check in (load_settings, identity):
        yield from _fault(folder, check)
    yield from _json_faults(folder, "*.json", {folder / IDENTITY})
    finished = (folder / SUMMARY).is_file()
    if (folder / METRICS).is_file():
        yield from _metrics_faults(folder / METRICS, finished)
    elif finished:
        yield f"{folder / METRICS} is missing"
    for path in checkpoints(folder):
        yield from checkpoint_faults(path)
    for name in (DISCRIMINATOR, GENERATOR):
        if (folder / name).is_dir():
            yield from model_faults(folder / name)
    if finished and not (folder / DISCRIMINATOR).is_dir():
        yield f"{folder / DISCRIMINATOR} is missing"


def _metrics_faults(path: Path, finished: bool) -> Iterator[str]:
    """Lines that are not records; the last may be incomplete while the run is in progress."""
    from elektron.pretraining.run import as_line

    if unread := list(_fault(path, read_text)):
        yield from unread
        return
    lines = read_text(path).removesuffix("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        if as_line(line) is None and (finished or number < len(lines)):
            yield f"{path}, line {number}: not a record"


def checkpoint_faults(folder: Path) -> Iterator[str]:
    """A line for every file of a checkpoint that is missing or differs from its checksum."""
    from elektron.pretraining.checkpoint import faults, other_run

    try:
        lines = [f"{fault}: {CHECKPOINT_ADVICE}" for fault in faults(folder)]
    except ElektronError as error:
        lines = [str(error)]
    if lines:
        yield from lines
        return
    for path in sorted(folder.glob("*.safetensors")):
        yield from (f"{fault}: {CHECKPOINT_ADVICE}" for fault in _tensor_faults(path))
    with suppress(ElektronError):  # a fault of the run, which is reported with it
        if mismatch := other_run(folder):
            yield mismatch


def model_faults(folder: Path) -> Iterator[str]:
    """A line for every file of a model that is missing or damaged."""
    faults = checksum_faults(folder)
    weights = {folder / WEIGHTS}
    if (folder / SHARDS).is_file():
        try:
            index = read_json(folder / SHARDS)["weight_map"]
            weights = {folder / str(file) for file in index.values()}
        except (OSError, AttributeError, *MALFORMED):
            faults[folder / SHARDS] = f"{folder / SHARDS} is damaged (no weight_map)"
    if (folder / EXPORT_FILE).is_file():
        weights = set()  # those of an exported model have checksums
    for path in {folder / CONFIG, *weights} - faults.keys() - set(folder.iterdir()):
        faults[path] = f"{path} is missing: export the model again"
    yield from (faults[path] for path in sorted(faults))
    for path in sorted(set(folder.glob("*.safetensors")) - faults.keys()):
        yield from _tensor_faults(path)
    yield from _json_faults(folder, checked=faults.keys())


def _tensor_faults(path: Path) -> Iterator[str]:
    """A line if the header of a tensor file does not account for every byte.

    safetensors limits the size of the header, and nothing after it is read.
    """
    from safetensors import safe_open

    def read_header(path: Path) -> None:
        check_readable(path)
        with safe_open(path, framework="numpy") as file:
            file.keys()

    return _fault(path, read_header)


def _json_faults(folder: Path, pattern: str = "**/*.json", checked: Collection[Path] = ()) -> Iterator[str]:
    """A line for every file that is not JSON, except those that are `checked` already."""
    for path in sorted(set(folder.glob(pattern)).difference(checked)):
        yield from _fault(path, lambda path: json.loads(read_text(path)))


def _fault(path: Path, read: Callable[[Path], object]) -> Iterator[str]:
    """A line if `read` cannot read a file or folder."""
    from safetensors import SafetensorError

    try:
        read(path)
    except ElektronError as error:
        yield str(error)
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        yield str(unreadable(path, error, "restore it"))


KINDS: tuple[tuple[str, tuple[str, ...], Callable[[Path], Iterator[str]]], ...] = (
    ("a checkpoint", CHECKPOINT_FILES, checkpoint_faults),
    ("a model", (CONFIG, "model*.safetensors", EXPORT_FILE), model_faults),
    ("a comparison", ("comparison.json", "*/*/seed-*"), _comparison_faults),
    ("a run", ("config.yaml", "metrics.jsonl", "checkpoints/step-*"), run_faults),
    ("blocks", ("manifest.json", "train-*.arrow", "validation-*.arrow"), _block_faults),
    ("a tokenizer or metrics", ("tokenizer.json", "metrics.json", "blimp.json"), _json_faults),
)
"""Kinds of folders, in the order in which they are tried: name, patterns of which one match is enough, and check."""
