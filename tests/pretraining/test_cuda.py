"""Training steps on a GPU: compiled in bf16, without synchronization, and resumed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from elektron.models.families import FAMILIES
from elektron.pretraining.config import NetworkConfig
from elektron.pretraining.objectives import OBJECTIVES
from elektron.pretraining.pretrain import pretrain
from tests.pretraining.conftest import TINY, killed_before, metrics, steps_inside, tiny_config

pytestmark = pytest.mark.cuda
NETWORK = NetworkConfig(**(TINY | {"embedding_size": 32, "generator_width": 1.0, "dropout": 0.0}))
LOSSES = ("generator_loss", "discriminator_loss", "lm_loss")


@pytest.fixture(autouse=True)
def compiled_anew() -> None:
    torch.compiler.reset()  # code compiled by earlier tests counts towards the recompilation limit


@contextmanager
def sync_is_an_error() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize(
    "changes",
    [
        *({"family": family} for family in FAMILIES),
        *({"objective": objective} for objective in OBJECTIVES if objective != "rtd"),
    ],
    ids=str,
)
def test_compiled_bf16_steps_are_close_to_eager_ones(changes: dict[str, Any], blocks: Path, tmp_path: Path) -> None:
    losses = []
    for compiled in (False, True):
        out = tmp_path / str(compiled)
        settings = {"network": NETWORK, "steps": 3, "log_every": 1, "precision": "bf16"} | changes
        summary = pretrain(tiny_config(blocks, out, compile=compiled, **settings))
        assert summary["compiled"] == compiled
        assert summary["precision"] == "bfloat16"
        lines = metrics(out, "train")
        assert [line["step"] for line in lines] == [1, 2, 3]
        assert not any(line["skipped_steps"] for line in lines)
        losses.append([line[name] for line in lines for name in LOSSES if line[name] is not None])
    assert len(losses[0]) >= 3
    assert losses[1] == pytest.approx(losses[0], rel=0.02)  # fails for NaN


@pytest.mark.parametrize(("family", "compiled"), [("elektron", True), ("elektron", False), ("electra", False)])
def test_training_step_does_not_synchronize_with_device(
    family: str, compiled: bool, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "steps": 6,
        "precision": "bf16",
        "batch_size": 128,
    }  # with few tokens, gradients of embeddings use another kernel
    config = tiny_config(blocks, tmp_path / "run", family=family, compile=compiled, **settings)
    with steps_inside(sync_is_an_error, monkeypatch, first=2) as taken:  # the first two steps compile
        pretrain(config)
    assert taken == [2, 3, 4, 5]


def test_resumed_run_agrees_with_uninterrupted_run(
    blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"compile": False, "precision": "fp32", "network": NETWORK}
    whole, out = tmp_path / "whole", tmp_path / "run"
    pretrain(tiny_config(blocks, whole, **settings))
    with killed_before(9, monkeypatch):
        pretrain(tiny_config(blocks, out, **settings))
    summary = pretrain(tiny_config(blocks, out, **settings))
    assert summary["steps"] == 12
    expected, found = (load_file(folder / "discriminator/model.safetensors") for folder in (whole, out))
    # Sums on a GPU have no fixed order; weights differ by far less than the update of a step.
    for name, weights in expected.items():
        assert (found[name] - weights).norm() <= 1e-3 * weights.norm(), name
