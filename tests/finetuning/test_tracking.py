"""Each training of a fine-tuning is a run of the tracker, with the metrics of its epochs."""

import json

import pytest

from elektron.finetuning.finetune import Search, finetune
from tests.finetuning.test_finetune import animal_config
from tests.pretraining.test_tracking import scalars

pytestmark = pytest.mark.extras


def test_tracked_metrics_equal_epochs_after_interruption(encoders, animals, tmp_path, monkeypatch):
    config = animal_config(encoders, animals, tmp_path / "m", epochs=2.0, seeds=2)
    config.track = "tensorboard"
    fit = Search.train

    def interrupted(search, *arguments):
        fit(search, *arguments)
        if search.trials:
            raise KeyboardInterrupt  # after the second training, before it is saved
        return fit(search, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Search, "train", interrupted)
        finetune(config)
    finetune(config)
    runs = json.loads((tmp_path / "m" / "runs.json").read_text())
    folders = sorted((tmp_path / "m" / "tracking").iterdir())
    assert [folder.name for folder in folders] == [f"m-pretrained-seed-{seed}" for seed in (1, 2)]
    for run, folder in zip(runs, folders, strict=True):
        found = scalars(folder)
        losses = [epoch["train_loss"] for epoch in run["epochs"]]
        assert list(found["train/loss"].values()) == pytest.approx(losses)
        figures = [epoch["eval"] for epoch in run["epochs"]]
        assert list(found["eval/accuracy"].values()) == pytest.approx(figures)
        assert list(found["train/loss"]) == [13, 26]  # steps
    assert not (tmp_path / "m" / "trials").exists()


def test_failed_single_training_leaves_no_files(encoders, animals, tmp_path, monkeypatch):
    config = animal_config(encoders, animals, tmp_path / "m", epochs=1.0)
    config.track = "tensorboard"
    monkeypatch.setattr("elektron.finetuning.finetune.write_results", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        finetune(config)
    assert not list(tmp_path.iterdir())
