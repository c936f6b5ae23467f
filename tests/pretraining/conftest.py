from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from elektron.pretraining import loop
from elektron.pretraining.config import (
    CheckpointConfig,
    EvaluationConfig,
    NetworkConfig,
    PretrainConfig,
)

TINY = {
    "layers": 1,
    "hidden": 32,
    "feed_forward": 64,
    "heads": 2,
    "embedding": 16,
    "generator_width": 0.5,
    "max_positions": 64,
}


def tiny_config(data: Path, out: Path, **changes: Any) -> PretrainConfig:
    """A run of a second or two."""
    settings = {
        "steps": 12,
        "batch": 8,
        "log_every": 4,
        "network": NetworkConfig(**TINY),
        "evaluation": EvaluationConfig(every=6, rows=16),
        "checkpoint": CheckpointConfig(every=6, keep=2),
    } | changes
    return PretrainConfig(data=data, out=out, **settings)


@pytest.fixture(scope="session")
def finished(blocks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 steps that has come to its end; whoever changes it takes a copy."""
    out = tmp_path_factory.mktemp("finished") / "run"
    loop.pretrain(tiny_config(blocks, out))
    return out


class KilledError(Exception):
    """What stands for a signal that nothing can catch."""


@contextmanager
def killed_before(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs in the block die before they take the step, and are expected to."""
    take_step = loop.Trainer.step

    def step_or_die(self: loop.Trainer, *arguments: Any) -> None:
        if self.progress.step == step:
            raise KilledError
        take_step(self, *arguments)

    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(loop.Trainer, "step", step_or_die)
        yield


@contextmanager
def steps_inside(
    context: Callable[[], AbstractContextManager[Any]],
    monkeypatch: pytest.MonkeyPatch,
    first: int = 0,
) -> Iterator[list[int]]:
    """Runs in the block take the steps from `first` on inside a `context` each; their numbers."""
    take_step = loop.Trainer.step
    taken: list[int] = []

    def step_inside(self: loop.Trainer, *arguments: Any) -> None:
        step = self.progress.step
        if step < first:
            take_step(self, *arguments)
            return
        with context():
            take_step(self, *arguments)
        taken.append(step)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Trainer, "step", step_inside)
        yield taken
