"""`elektron verify`: whether what lies on the disk is what was written there.

Blocks are compared with their manifest byte by byte. Checkpoints, runs and models are looked at as
far as their formats let one; docs/safety.md says what that finds and what it cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from elektron.bounded import object_in, read_text
from elektron.configuration import Checked, Positional
from elektron.errors import ElektronError
from elektron.progress import quantity
from elektron.terminal import say

Faults = Callable[[Path], Iterator[str]]


@dataclass
class VerifyConfig(Checked):
    """Check folders of blocks, checkpoints, runs and models: one line for every fault."""

    folders: Positional[list[Path]]
    """Folders that `elektron prepare`, `pretrain` or `finetune` wrote, or a single checkpoint."""


def verify(config: VerifyConfig) -> None:
    """Print a line on stdout for every fault, or one for a folder that is whole.

    Raises:
        ElektronError: there are faults, or a folder is of no kind that can be checked.
    """
    kinds = {folder: kind_of(folder) for folder in config.folders}
    faults = 0
    for folder, (kind, check) in kinds.items():
        before = faults
        for fault in check(folder):
            say(fault)
            faults += 1
        if faults == before:
            say(f"{folder}: whole ({kind}, {_size(folder)})")
    if faults:
        where = ", ".join(map(str, config.folders))
        raise ElektronError(f"{faults} fault{'s' * (faults > 1)} found in {where}")


def kind_of(folder: Path) -> tuple[str, Faults]:
    """What a folder holds, and what finds its faults.

    One file of a kind is enough, since the others may be what is missing.

    Raises:
        ElektronError: it holds nothing of ours.
    """
    if not folder.is_dir():
        raise ElektronError(f"{folder}: no such folder")

    def holds(*patterns: str) -> bool:
        return any(any(folder.glob(pattern)) for pattern in patterns)

    of_checkpoints = ("progress.json", "weights.safetensors", "optimizer.safetensors")
    if holds(*of_checkpoints) or _names_files(folder / "manifest.json", of_checkpoints):
        return "a checkpoint", _checkpoint_faults
    if holds("config.json", "model*.safetensors"):
        return "a model", _model_faults
    if holds("settings.json", "comparison.json"):
        return "a comparison", _comparison_faults
    if holds("config.yaml", "metrics.jsonl", "checkpoints/step-*"):
        return "a run", _run_faults
    if holds("manifest.json", "train-*.arrow", "validation-*.arrow"):
        return "blocks", _block_faults
    if holds("tokenizer.json", "metrics.json", "blimp.json"):
        return "a tokenizer or figures", _json_faults
    raise ElektronError(f"{folder}: neither blocks nor a checkpoint, a run, a model or figures")


def _names_files(manifest: Path, names: tuple[str, ...]) -> bool:
    """Whether a manifest is one of files of such names, of which none may be left."""
    try:
        listed = object_in(read_text(manifest)).get("files")
    except (OSError, ValueError, ElektronError):
        return False
    return isinstance(listed, dict) and not listed.keys().isdisjoint(names)


def _block_faults(folder: Path) -> Iterator[str]:
    from elektron.corpus.blocks import BlockStore
    from elektron.corpus.manifest import MANIFEST, Manifest

    try:
        store = BlockStore(folder, Manifest.load(folder / MANIFEST))
    except ElektronError as error:
        yield str(error)
        return
    yield from store.faults()


def _checkpoint_faults(folder: Path) -> Iterator[str]:
    from elektron.pretraining.verification import checkpoint_faults

    yield from checkpoint_faults(folder)


def _run_faults(folder: Path) -> Iterator[str]:
    from elektron.pretraining.verification import run_faults

    yield from run_faults(folder)


def _model_faults(folder: Path) -> Iterator[str]:
    from elektron.models.verification import model_faults

    yield from model_faults(folder)


def _comparison_faults(folder: Path) -> Iterator[str]:
    """Its own files, and all the runs and models within."""
    from elektron.models.verification import json_faults

    for path in sorted(folder.glob("*.json")):
        yield from json_faults(path)
    within = {path.parent for name in ("config.yaml", "config.json") for path in folder.rglob(name)}
    for path in sorted(within):
        if not within.intersection(path.parents):  # a run's models are looked at with it
            yield from kind_of(path)[1](path)


def _json_faults(folder: Path) -> Iterator[str]:
    from elektron.models.verification import json_faults

    for path in sorted(folder.rglob("*.json")):
        yield from json_faults(path)


def _size(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return f"{len(files)} files, {quantity(sum(path.stat().st_size for path in files), 'bytes')}"
