"""What a run can come back to: weights and optimizer state in safetensors, counters in JSON.

A checkpoint is a folder that appears in one motion (`new_folder`). Random streams and data order are functions of the
step, so a step number is all they need. The newest `keep` checkpoints stay, and the best one.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from elektron.errors import ElektronError
from elektron.folders import new_folder
from elektron.models.pair import Pair
from elektron.pretraining.optimizers import PairOptimizer

FOLDER = "checkpoints"


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
    skipped: int = 0
    """Steps skipped for gradients that were no finite numbers, since a line of metrics without any."""
    passed_over: list[list[int]] = field(default_factory=list)
    """`[step, rows]`: from this step on, so many more rows of the order are left out."""


def save(
    out: Path, pair: Pair, optimizer: PairOptimizer, window: Tensor, progress: Progress, keep: int
) -> Path:
    """Write a checkpoint and drop those that are no longer kept.

    Args:
        out: the run's folder.
        pair: the networks.
        optimizer: their optimizers.
        window: the training metrics summed up since they were last logged.
        progress: how far the run has come.
        keep: how many of the newest stay.
    """
    folder = out / FOLDER / f"step-{progress.step:08d}"
    if folder.exists():  # the same step of the same run has the same bits
        return folder
    weights = {name: parameter.detach() for name, parameter in pair.named_parameters()}
    state = optimizer.state_tensors() | {"window": window}
    with new_folder(folder) as partial:
        save_file(weights, partial / "weights.safetensors")
        save_file(state, partial / "optimizer.safetensors")
        (partial / "progress.json").write_text(json.dumps(asdict(progress)), encoding="utf-8")
    rotate(out, keep)
    return folder


def checkpoints(out: Path) -> list[Path]:
    """The run's checkpoints, oldest first."""
    return sorted((out / FOLDER).glob("step-????????"))


def read_progress(checkpoint: Path) -> Progress:
    """How far the run had come."""
    try:
        return Progress(**json.loads((checkpoint / "progress.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise damaged(checkpoint, error) from error


def rotate(out: Path, keep: int) -> None:
    """Drop all but the newest `keep` checkpoints and the best one."""
    found = checkpoints(out)
    losses = {path: read_progress(path).held_out_loss for path in found}
    judged = [path for path in found if losses[path] is not None]
    best = min(judged, key=lambda path: losses[path] or 0.0) if judged else None
    for path in found[:-keep]:
        if path != best:
            shutil.rmtree(path)


def load(checkpoint: Path, pair: Pair, optimizer: PairOptimizer) -> tuple[Progress, Tensor]:
    """Put pair and optimizer back to a checkpoint; its progress and metrics window.

    Raises:
        ElektronError: the checkpoint is damaged or belongs to other networks.
    """
    progress = read_progress(checkpoint)
    try:
        weights = load_file(checkpoint / "weights.safetensors")
        state = load_file(checkpoint / "optimizer.safetensors")
    except (OSError, SafetensorError) as error:
        raise damaged(checkpoint, error) from error
    parameters = dict(pair.named_parameters())
    if {n: p.shape for n, p in parameters.items()} != {n: w.shape for n, w in weights.items()}:
        raise ElektronError(f"{checkpoint} holds other networks than this run's configuration")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    window = state.pop("window")
    optimizer.load_state_tensors(state)
    return progress, window


def damaged(checkpoint: Path, error: Exception) -> ElektronError:
    """One line about a checkpoint that cannot be read."""
    return ElektronError(
        f"checkpoint {checkpoint} is damaged ({error}): move it away and run again "
        "to go on from the one before it"
    )
