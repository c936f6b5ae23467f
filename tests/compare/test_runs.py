"""Runs of a comparison: stored results, execution on GPUs, and errors."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from elektron.compare.probes import Probe
from elektron.compare.runs import LOG, RESULT, Run, execute, execute_all, visible_gpus
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.pretraining.config import PretrainConfig
from elektron.reporting.variants_report import ProbeResult, VariantRun

COMMAND = "regression --train t"


def make_run(folder: Path, *probes: str) -> Run:
    config = FinetuneConfig(task="regression", model="m", train=["t"], out=folder / "p")
    pretraining = PretrainConfig(out=folder / "pretraining")
    its = [Probe(name, COMMAND, config) for name in probes]
    return Run(folder.parent, folder.name, "v", "1m", 1, pretraining, its)


def result_of(*probes: str, folder: str = "run", **changes: Any) -> VariantRun:
    probed = ProbeResult(COMMAND, "regression", "pearson", "eval", 9, 0.5, (0.4, 0.6), None)
    return VariantRun("v", "1m", 1, folder, probes=dict.fromkeys(probes, probed), **changes)


def write_result(folder: Path, result: VariantRun) -> None:
    folder.mkdir(exist_ok=True)
    (folder / RESULT).write_text(json.dumps(dataclasses.asdict(result)))


def test_pretraining_error_names_the_run(tmp_path: Path) -> None:
    with pytest.raises(ElektronError, match="a: give exactly one of"):
        execute(make_run(tmp_path / "a", "p"))
    assert not (tmp_path / "a" / RESULT).exists()


def test_stored_result_determines_remaining_probes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_result(run, result_of("p"))
    result = make_run(run, "p").result()
    assert result is not None and result.probes["p"].value == 0.5
    assert make_run(run).result() == result
    assert [probe.name for probe in make_run(run, "p", "q").remaining(result)] == ["q"]
    for text in ("{", '{"probes": {}}', '{"probes": {"p": 1}}', "[]"):
        (run / RESULT).write_text(text)
        with pytest.raises(ElektronError, match=r"result\.json is damaged"):
            make_run(run).result()


def test_different_probe_with_same_name_raises(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_result(run, result_of("p"))
    changed = dataclasses.replace(make_run(run, "p").probes[0], command=f"{COMMAND} --epochs 3")
    with pytest.raises(ElektronError, match=r"probe p was .* not .*--epochs 3"):
        dataclasses.replace(make_run(run), probes=[changed]).result()


def test_each_run_executes_once_on_a_free_gpu(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No GPU is needed, because the results of the runs are stored already."""
    caplog.set_level("INFO")
    runs = [make_run(tmp_path / name) for name in "abc"]
    for tokens, run in enumerate(runs):
        write_result(run.folder, result_of(tokens=tokens, folder=run.name))
    tokens = {result.folder: result.tokens for result in execute_all(runs, ["4", "GPU-7f"])}
    assert tokens == {"a": 0, "b": 1, "c": 2}
    begun = [record.getMessage().rpartition(" ")[2] for record in caplog.records]
    assert begun[:2] == ["4", "GPU-7f"] and len(begun) == 3
    assert (tmp_path / "a" / LOG).is_file()


def test_error_in_one_run_raises_with_one_line(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in "ab"]
    write_result(runs[0].folder, result_of())
    write_result(runs[1].folder, result_of())
    (runs[0].folder / RESULT).write_text("{")
    with pytest.raises(ElektronError, match=r"^[^\n]*a/result\.json is damaged[^\n]*$"):
        list(execute_all(runs, ["0"]))


class DyingRun(Run):
    """A run whose process ends in the middle of its work."""

    def result(self) -> VariantRun | None:
        os.write(1, f"on GPU {os.environ['CUDA_VISIBLE_DEVICES']}\n".encode())
        os.write(2, b"a kernel failed\n")
        os._exit(3)


def test_error_of_dead_process_points_to_its_log(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    dying = DyingRun(**vars(run))
    with pytest.raises(ElektronError, match=rf"^a: its process ended unexpectedly: see {run.folder / LOG}$"):
        list(execute_all([dying], ["GPU-7f"]))
    assert (run.folder / LOG).read_text() == "on GPU GPU-7f\na kernel failed\n"


def test_visible_gpus_follow_cuda_visible_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-7f")
    assert visible_gpus() == ["3", "GPU-7f"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
