"""Trackers receive finite numbers, the id of their run and no local folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import accelerate.tracking
import pytest

from elektron.cli import main
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.pretraining.config import PretrainConfig
from elektron.tracking import Tracker, hyperparameters, require_tracker


class Fake:
    """Replaces a tracker of accelerate."""

    made: list[Fake]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.arguments, self.options = arguments, options
        self.logged: list[tuple[dict[str, Any], int]] = []
        self.configured: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.made.append(self)

    def start(self) -> None:
        pass

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.configured.append(values)

    def log(self, values: dict[str, Any], step: int) -> None:
        if self.error is not None:
            raise self.error
        self.logged.append((values, step))

    def finish(self) -> None:
        if self.error is not None:
            raise self.error
        self.logged.append(({}, -1))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    class Made(Fake):
        made: list[Fake] = []  # noqa: RUF012

    monkeypatch.setattr(accelerate.tracking, "TrackioTracker", Made)
    return Made


def test_resumed_training_continues_tracker_run(fake: type[Fake], tmp_path: Path) -> None:
    config = PretrainConfig(steps=3)
    for step in (0, 5):
        Tracker("trackio", tmp_path / "tracking", "mine", config, step).close()
    first, second = fake.made
    assert first.options == second.options and first.options["resume"] == "allow"
    assert first.options["name"].startswith("mine-") and len(first.options["name"]) > 10
    assert first.configured[0]["steps"] == 3 and not second.configured
    Tracker("trackio", tmp_path / "other", "mine", config).close()
    assert fake.made[2].options["name"] != first.options["name"]


def test_only_finite_numbers_are_logged(fake: type[Fake], tmp_path: Path) -> None:
    tracker = Tracker("trackio", tmp_path, "mine", PretrainConfig(steps=3))
    metrics = {"step": 7, "loss": 1.5, "none": None, "nan": float("nan"), "text": "a", "flag": True}
    tracker.log("train", metrics | {"count": 2}, 7)
    tracker.log("train", {"text": "a"}, 8)
    assert fake.made[0].logged == [({"train/loss": 1.5, "train/count": 2}, 7)]


def test_tracker_error_is_logged_and_not_raised(
    fake: type[Fake], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = Tracker("trackio", tmp_path, "mine", PretrainConfig(steps=3))
    fake.made[0].error = OSError("no space left")
    for step in (1, 2):
        tracker.log("train", {"loss": 1.0}, step)
    tracker.close()
    (record,) = caplog.records
    assert "no space left" in record.message
    tracker = Tracker("trackio", tmp_path, "mine", PretrainConfig(steps=3))
    fake.made[1].error = OSError("no server")
    tracker.close()
    assert "no server" in caplog.records[1].message


def test_different_tracker_starts_new_run(fake: type[Fake], tmp_path: Path) -> None:
    config = PretrainConfig(steps=3)
    (tmp_path / "tracking.json").write_text('{"tracker": "wandb", "run": "abcd"}')
    Tracker("trackio", tmp_path, "mine", config)
    assert "abcd" not in fake.made[0].options["name"] and fake.made[0].configured


def test_hyperparameters_contain_no_local_folders(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").touch()
    sent = hyperparameters(
        FinetuneConfig(
            task="classification",
            model=str(tmp_path / "run" / "discriminator"),
            train=[str(tmp_path / "a.tsv"), "hf:glue:sst2"],
            out=tmp_path / "model",
        )
    )
    assert (sent["model"], sent["out"], sent["train"]) == ("discriminator", "model", "a.tsv hf:glue:sst2")
    assert str(tmp_path) not in json.dumps(sent) and sent["seeds"] == 1
    both = PretrainConfig(steps=3, init_from=f"{tmp_path}/x,google/electra-small-generator")
    assert hyperparameters(both)["init_from"] == "x,google/electra-small-generator"
    assert "network.embedding_size" not in hyperparameters(both)  # null


def test_missing_tracker_package_raises_with_install_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("elektron.tracking.find_spec", lambda name: None)
    with pytest.raises(ElektronError, match="pip install mlflow"):
        require_tracker("mlflow")
    command = ["pretrain", "--data", str(tmp_path), "--steps", "1", "--track", "wandb"]
    assert main(command) == 2
    assert "pip install wandb" in capsys.readouterr().err.splitlines()[-1]
