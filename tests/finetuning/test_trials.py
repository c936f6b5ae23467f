"""Finished trainings saved to disk."""

import json
import math
from pathlib import Path
from typing import Any, cast

import pytest

from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.trials import FinishedTrials, Trained
from elektron.reporting.task_result import Epoch, TrainingRun


class Saved:
    """Stand-in for a predictor."""

    def save(self, folder: Path) -> None:
        (folder / "model.safetensors").touch()


def test_nan_metric_is_saved_as_null_and_ranked_below_all_others(tmp_path: Path) -> None:
    config = FinetuneConfig(task="classification", model="m", train=["t"], out=tmp_path)
    metrics = {"accuracy": math.nan, "f1": 0.5}
    trial = TrainingRun("scratch", 1, {}, [Epoch(1.0, 0.5, math.nan, None)], eval=metrics, test=dict(metrics))
    finished = FinishedTrials(tmp_path / "trials", "the same command")
    finished.save(Trained(0, trial, config, cast(Any, Saved())))
    written = json.loads((tmp_path / "trials/0/run.json").read_text(), parse_constant=pytest.fail)
    assert written["eval"] == written["test"] == {"accuracy": None, "f1": 0.5}
    finished.remove_model(0)
    found = finished.load(0, config, cast(Any, None))
    assert found is not None
    assert found.trial.value("f1") == 0.5
    assert found.trial.value("accuracy") == trial.value("accuracy") == -math.inf
    assert math.isnan(found.trial.test["accuracy"])


@pytest.mark.parametrize("content", ["[]", "{}", '{"eval": 1, "test": {}}', '{"eval": {"f1": "high"}, "test": {}}'])
def test_damaged_run_file_raises(tmp_path: Path, content: str) -> None:
    config = FinetuneConfig(task="classification", model="m", train=["t"], out=tmp_path)
    (tmp_path / "0").mkdir()
    (tmp_path / "0/run.json").write_text(content)
    (tmp_path / "identity").write_text("the same command")
    with pytest.raises(ElektronError, match=r"run\.json: damaged .*: remove"):
        FinishedTrials(tmp_path, "the same command").load(0, config, cast(Any, None))
