"""TensorBoard events of a run equal its metrics, also after an interruption."""

import json
import math
from pathlib import Path

import pytest

from elektron.pretraining import pretrain as entry
from tests.pretraining.conftest import killed_before, tiny_config

pytestmark = pytest.mark.extras


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """The value of each step, by metric."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == sorted(set(steps)), tag
        found[tag] = {event.step: event.value for event in events.Scalars(tag)}
    return found


@pytest.mark.parametrize("interrupted", [False, True])
def test_tensorboard_events_equal_metrics(
    interrupted: bool, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(blocks, tmp_path / "run", track="tensorboard")
    if interrupted:
        with killed_before(9, monkeypatch):
            entry.pretrain(config)
    entry.pretrain(config)
    lines = map(json.loads, (config.out / "metrics.jsonl").read_text().splitlines())
    expected: dict[str, dict[int, float]] = {}
    for line in lines:
        for name, value in line.items():
            if isinstance(value, int | float) and name != "step" and line["kind"] != "resumed":
                expected.setdefault(f"{line['kind']}/{name}", {})[line["step"]] = value
    found = scalars(config.out / "tracking")
    assert found.keys() == expected.keys() and {4, 8, 12} == set(found["train/generator_loss"])
    for name, values in expected.items():
        assert found[name].keys() == values.keys(), name
        for step, value in values.items():
            assert math.isclose(found[name][step], value, rel_tol=1e-5, abs_tol=1e-6), name
    (settings,) = (config.out / "tracking").glob("*/hparams.yml")  # written once, not again on resume
    assert str(tmp_path) not in settings.read_text() and "steps: 12" in settings.read_text()


def test_enabling_tracking_keeps_run(blocks: Path, tmp_path: Path) -> None:
    summary = entry.pretrain(tiny_config(blocks, tmp_path / "run"))
    assert not (tmp_path / "run" / "tracking").exists()
    assert entry.pretrain(tiny_config(blocks, tmp_path / "run", track="tensorboard")) == summary
