"""Runs side by side, each in a process that sees one device. No GPU is needed to see who does what."""

import json
from pathlib import Path

import pytest

from elektron.compare.budgets import Budget
from elektron.compare.pace import Pace
from elektron.compare.runs import LOG, RESULT, Run
from elektron.compare.workers import devices, finished
from elektron.errors import ElektronError
from elektron.pretraining.config import PretrainConfig


def run_in(folder: Path, variant: str = "v", seconds: float = 60) -> Run:
    out = folder / "pretraining"
    return Run(folder, variant, {}, Budget("time", seconds), 1, PretrainConfig(out=out), {})


def finished_run(folder: Path, text: str) -> Run:
    folder.mkdir()
    (folder / RESULT).write_text(text)
    return run_in(folder)


def test_every_run_is_done_once_on_a_device_that_is_free(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    runs = [finished_run(tmp_path / name, json.dumps({"probes": {}, "is": name})) for name in "abc"]
    found = {run.folder.name: result["is"] for run, result, _ in finished(runs, ["4", "GPU-7f"])}
    assert found == {"a": "a", "b": "b", "c": "c"}
    begun = [record.getMessage().rpartition(" ")[2] for record in caplog.records]
    assert begun[:2] == ["4", "GPU-7f"] and len(begun) == 3
    assert (tmp_path / "a" / LOG).is_file()


def test_an_error_in_one_ends_all_with_one_line(tmp_path: Path) -> None:
    runs = [finished_run(tmp_path / "a", "{"), finished_run(tmp_path / "b", '{"probes": {}}')]
    with pytest.raises(ElektronError, match=r"a/result\.json: not valid JSON"):
        list(finished(runs, ["0"]))


def test_a_process_that_dies_leaves_its_words_in_the_log(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a", json.dumps({"probes": {}}))
    (run.folder / LOG).mkdir()
    with pytest.raises(
        ElektronError, match=r"its process ended with status 1: .*log\.txt says why"
    ):
        list(finished([run], ["0"]))


def test_devices_are_those_that_this_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-7f")
    assert devices() == ["3", "GPU-7f"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices() == []


def test_the_time_left_is_that_of_runs_alike(tmp_path: Path) -> None:
    pace = Pace()
    short, other, long = (
        run_in(tmp_path, variant, seconds)
        for variant, seconds in (("a", 60), ("b", 60), ("a", 600))
    )
    counted = Run(tmp_path, "a", {}, Budget("flops", 1e9), 1, PretrainConfig(), {})
    assert pace.expected(short) == 60 and pace.expected(counted) is None
    assert pace.left([short, counted], 1) is None
    pace.took(short, 90, training=60)
    assert (pace.expected(short), pace.expected(other), pace.expected(long)) == (90, 90, 630)
    pace.took(other, 110, training=500)
    assert (pace.expected(short), pace.expected(other)) == (90, 110)
    assert pace.left([short, other], 2) == 100
    assert pace.left([], 2) == 0
