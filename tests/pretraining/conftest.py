import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from elektron.pretraining import pretrain as entry
from elektron.pretraining.config import (
    CheckpointConfig,
    EvaluationConfig,
    NetworkConfig,
    OptimizerConfig,
    PretrainConfig,
)
from elektron.pretraining.train import Trainer

TINY = {
    "num_hidden_layers": 1,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "embedding_size": 16,
    "generator_width": 0.5,
    "max_position_embeddings": 64,
}
ADAMW = {"name": "adamw", "learning_rate": 1e-3, "warmup": 0}
VOLATILE = {"seconds", "tokens_per_second", "flops_per_second", "mfu", "data_wait_share"}


def tiny_config(data: Path, out: Path, **changes: Any) -> PretrainConfig:
    """The configuration of a run that takes a second or two."""
    settings = {
        "steps": 12,
        "batch_size": 8,
        "log_every": 4,
        "precision": "fp32",  # otherwise it is measured, and the result may vary under load
        "network": NetworkConfig(**TINY),
        "evaluation": EvaluationConfig(every=6, rows=16),
        "checkpoint": CheckpointConfig(every=6, keep=2),
    } | changes
    return PretrainConfig(data=data, out=out, **settings)


def seven_rows_config(data: Path, out: Path, **changes: Any) -> PretrainConfig:
    """20 steps of 7 rows, which neither 2 nor 4 processes divide evenly, in micro-batches of 2."""
    settings = {
        "steps": 20,
        "batch_size": 7,
        "micro_batch_size": 2,
        "optimizer": OptimizerConfig(**ADAMW),
        "evaluation": EvaluationConfig(every=10, rows=16),
        "checkpoint": CheckpointConfig(every=5, keep=9),
    }
    return tiny_config(data, out, **(settings | changes))


def weights(out: Path) -> dict[str, Tensor]:
    """The weights of a run's discriminator."""
    return load_file(out / "discriminator" / "model.safetensors")


def same_weights(first: Path, second: Path) -> bool:
    """Whether the discriminators of two runs have the same bits."""
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def metrics(out: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind in `metrics.jsonl`."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def logged(out: Path) -> list[dict[str, Any]]:
    """All lines of `metrics.jsonl` except those about resuming, without values that depend on time."""
    path = out / "metrics.jsonl"
    lines = [json.loads(line) for line in (path.read_text().splitlines() if path.exists() else [])]
    return [
        {name: value for name, value in line.items() if name not in VOLATILE}
        for line in lines
        if line["kind"] != "resumed"
    ]


@pytest.fixture(scope="session")
def finished(blocks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 12 steps; tests that change it must copy it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    entry.pretrain(tiny_config(blocks, out))
    return out


class KilledError(Exception):
    """Stands for SIGKILL, which cannot be caught."""


@contextmanager
def killed_before(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let runs in the block die before the given step, and fail if none does."""
    take_step = Trainer.train_step

    def step_or_die(self: Trainer, *arguments: Any) -> None:
        if self.progress.step == step:
            raise KilledError
        take_step(self, *arguments)

    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(Trainer, "train_step", step_or_die)
        yield


@contextmanager
def steps_inside(
    context: Callable[[], AbstractContextManager[Any]], monkeypatch: pytest.MonkeyPatch, first: int = 0
) -> Iterator[list[int]]:
    """Take each step from `first` on inside a `context`, and yield the list of these steps."""
    take_step = Trainer.train_step
    taken: list[int] = []

    def step_inside(self: Trainer, *arguments: Any) -> None:
        step = self.progress.step
        if step < first:
            take_step(self, *arguments)
            return
        with context():
            take_step(self, *arguments)
        taken.append(step)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train_step", step_inside)
        yield taken
