"""One run: what is done once, and what ends it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from elektron.compare.budgets import Budget
from elektron.compare.runs import RESULT, Run, execute
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.pretraining import loop
from elektron.pretraining.config import PretrainConfig


def make_run(folder: Path, *probes: str) -> Run:
    out = folder / "pretraining"
    probe = FinetuneConfig(task="regression", model="m", train=["t"], out=folder / "p")
    pretraining = PretrainConfig(out=out)
    return Run(
        folder, "v", {"lr": 9}, Budget("time", 60), 1, pretraining, dict.fromkeys(probes, probe)
    )


@pytest.fixture
def diverging(monkeypatch: pytest.MonkeyPatch) -> None:
    def pretrain(config: PretrainConfig) -> Any:
        config.out.mkdir(parents=True)
        (config.out / "config.yaml").write_text(yaml.safe_dump({"steps": 1}))
        alarm = {"kind": "alarm", "step": 3, "alarm": "not-finite", "message": "no number"}
        (config.out / "metrics.jsonl").write_text(json.dumps(alarm) + "\n")
        raise ElektronError("the loss was no longer finite")

    monkeypatch.setattr(loop, "pretrain", pretrain)


@pytest.mark.usefixtures("diverging")
def test_a_run_that_diverges_ends_the_comparison_unless_its_value_was_a_trial(
    tmp_path: Path,
) -> None:
    with pytest.raises(ElektronError, match="v · lr=9 · 1m · seed 1: the loss was no longer"):
        execute(make_run(tmp_path / "a", "p"))
    assert not (tmp_path / "a" / RESULT).exists()
    trial = make_run(tmp_path / "b", "p")
    assert execute(trial, may_diverge=True)["diverged"] == "the loss was no longer finite"
    assert trial.result() is not None


def test_a_trial_that_recovered_and_ends_otherwise_has_not_diverged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pretrain(config: PretrainConfig) -> Any:
        config.out.mkdir(parents=True)
        (config.out / "config.yaml").write_text(yaml.safe_dump({"steps": 1}))
        lines = [
            {"kind": "alarm", "step": 3, "alarm": "not-finite", "message": "went back to step 3"},
            {"kind": "train", "step": 4},
        ]
        (config.out / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
        raise ElektronError("no space left")

    monkeypatch.setattr(loop, "pretrain", pretrain)
    with pytest.raises(ElektronError, match="no space left"):
        execute(make_run(tmp_path / "a", "p"), may_diverge=True)


def test_any_other_error_ends_a_trial_too(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", "p")
    with pytest.raises(ElektronError, match="seed 1: give exactly one of"):
        execute(run, may_diverge=True)


def test_a_result_without_a_probe_is_not_whole(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text(json.dumps({"probes": {"p": {}}}))
    assert make_run(tmp_path).result() == make_run(tmp_path, "p").result() == {"probes": {"p": {}}}
    assert make_run(tmp_path, "p", "q").result() is None
    (tmp_path / RESULT).write_text("{")
    with pytest.raises(ElektronError, match="not valid JSON"):
        make_run(tmp_path).result()
