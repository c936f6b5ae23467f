"""No training step waits for the device; operations that would wait for a GPU are detected on any device."""

from pathlib import Path
from typing import Any

import pytest

from elektron.models.families import FAMILIES
from elektron.pretraining.config import NetworkConfig, OptimizerConfig
from elektron.pretraining.objectives import OBJECTIVES
from elektron.pretraining.pretrain import pretrain
from tests.host_sync import HostSyncError, NoHostSync
from tests.pretraining.conftest import TINY, steps_inside, tiny_config

SHALLOW = NetworkConfig(**(TINY | {"embedding_size": 32, "generator_width": 1.0}))


@pytest.mark.parametrize(
    "changes",
    [
        *({"family": family, "network": SHALLOW} for family in FAMILIES if family != "deberta-v2"),
        pytest.param(
            {"family": "deberta-v2", "network": SHALLOW},
            marks=pytest.mark.xfail(raises=HostSyncError, strict=True, reason="transformers' relative positions"),
        ),
        *({"objective": objective} for objective in OBJECTIVES),
        {"plan": "alternating"},
        {"plan": "adversarial"},
        {"sharing": "gdes"},
        {"micro_batch_size": 4},
        {"optimizer": OptimizerConfig(name="adamw")},
        {"optimizer": OptimizerConfig(skip_spikes=True)},
    ],
    ids=str,
)
def test_training_step_does_not_synchronize_with_device(
    changes: dict[str, Any], blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(blocks, tmp_path / "run", steps=3, compile=False, **changes)
    with steps_inside(NoHostSync, monkeypatch) as taken:
        pretrain(config)
    assert taken == [0, 1, 2]
