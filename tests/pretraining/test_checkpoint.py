"""Checkpoints are bound to their step and run, validated before use, and replaced when outdated or damaged."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from elektron.errors import ElektronError
from elektron.io.files import PARTIAL
from elektron.pretraining import checkpoint
from elektron.pretraining.checkpoint import COUNTERS, FOLDER, MANIFEST, OPTIMIZER, WEIGHTS, Progress, write_manifest
from elektron.pretraining.config import CheckpointConfig, OptimizerConfig, ResumeConfig
from elektron.pretraining.pretrain import pretrain
from elektron.pretraining.train import Trainer
from elektron.verify import checkpoint_faults, run_faults
from tests.pretraining.conftest import killed_before, tiny_config

KEEP_ALL = CheckpointConfig(every=6, keep=9)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """An unfinished run with checkpoints of steps 6 and 12."""
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    return tmp_path / "run"


def of_step(out: Path, step: int) -> Path:
    return out / FOLDER / f"step-{step:08d}"


def write(out: Path, step: int, config: CheckpointConfig = KEEP_ALL, **progress: Any) -> Path:
    weights, state = {"w": torch.ones(2)}, {"s": torch.ones(2)}
    checkpoint.write_checkpoint(out, weights, state, Progress(step, **progress), config)
    return of_step(out, step)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_damaged_checkpoints_are_set_aside_under_unique_names(tmp_path: Path) -> None:
    whole = write(tmp_path, 6)
    for _ in range(3):
        damage(write(tmp_path, 12) / WEIGHTS)
        assert checkpoint.newest_valid(tmp_path) == whole
    aside = sorted(path.name for path in (tmp_path / FOLDER).iterdir())
    assert aside == [*(f"broken-step-00000012{n}" for n in ("", "-2", "-3")), whole.name]


def loop_of_links(path: Path) -> None:
    """Replace a file by a link to itself, which no user can open."""
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize("file", [WEIGHTS, OPTIMIZER, COUNTERS, MANIFEST])
def test_unreadable_checkpoint_raises_and_is_kept(run: Path, blocks: Path, file: str) -> None:
    loop_of_links(of_step(run, 12) / file)
    before = sorted(run.rglob("*"))
    with pytest.raises(ElektronError, match=rf"{file} cannot be read \(Too many levels"):
        pretrain(tiny_config(blocks, run))
    assert sorted(run.rglob("*")) == before
    assert ["cannot be read" in fault for fault in run_faults(run)] == [True]


def test_unreadable_checkpoint_folder_raises(run: Path, blocks: Path) -> None:
    (run / FOLDER).rename(run / "elsewhere")
    (run / FOLDER).symlink_to(run / FOLDER)
    with pytest.raises(ElektronError, match=rf"{FOLDER} cannot be read"):
        pretrain(tiny_config(blocks, run))


def test_run_with_only_damaged_checkpoints_raises(run: Path, blocks: Path) -> None:
    for step in (6, 12):
        damage(of_step(run, step) / WEIGHTS)
    with pytest.raises(ElektronError, match=r"none of the 2 checkpoints .* is valid"):
        pretrain(tiny_config(blocks, run))
    assert [path.name for path in checkpoint.checkpoints(run)] == ["step-00000006", "step-00000012"]
    (run / FOLDER).rename(run / "aside")
    assert pretrain(tiny_config(blocks, run))["steps"] == 12


def test_saving_same_step_replaces_damaged_checkpoint(tmp_path: Path) -> None:
    damage(write(tmp_path, 6) / WEIGHTS)
    assert not list(checkpoint.faults(write(tmp_path, 6)))
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["step-00000006"]


def test_saving_same_step_replaces_checkpoint_with_other_schedule(tmp_path: Path) -> None:
    write(tmp_path, 6)
    assert checkpoint.read_progress(write(tmp_path, 6, schedule_from=6.0)).schedule_from == 6.0
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["step-00000006"]


def test_kill_while_replacing_checkpoint_keeps_old_one(tmp_path: Path) -> None:
    there = write(tmp_path, 6)
    there.rename(there.with_name(".replaced-step-00000006"))
    checkpoint.remove_leftovers(tmp_path)
    assert checkpoint.newest_valid(tmp_path) == there
    shutil.copytree(there, there.with_name(".replaced-step-00000006"))
    checkpoint.remove_leftovers(tmp_path)
    assert list((tmp_path / FOLDER).iterdir()) == [there]


def test_failure_while_replacing_checkpoint_keeps_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = write(tmp_path, 6)
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if target == there and path.name.endswith(PARTIAL):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ElektronError, match="cannot be written"):
        write(tmp_path, 6, schedule_from=6.0)
    assert list((tmp_path / FOLDER).iterdir()) == [there]
    assert checkpoint.read_progress(there).schedule_from == 0.0


def test_saving_same_step_again_rotates_old_checkpoints(tmp_path: Path) -> None:
    write(tmp_path, 6)
    write(tmp_path, 12)
    write(tmp_path, 12, CheckpointConfig(every=6, keep=1))
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["step-00000012"]


def test_io_error_while_checking_checkpoint_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise OSError(5, "Input/output error")

    there = write(tmp_path, 6)
    monkeypatch.setattr(checkpoint, "file_sha256", refuse)
    with pytest.raises(ElektronError, match=r"cannot be read \(Input/output error\)"):
        next(checkpoint.faults(there))
    assert there.is_dir()


def test_swapped_checkpoint_folders_are_detected(run: Path, blocks: Path, caplog: Any) -> None:
    first, second = of_step(run, 6), of_step(run, 12)
    first.rename(run / "aside")
    second.rename(first)
    (run / "aside").rename(second)
    found = list(run_faults(run))
    assert len(found) == 2 and "contains the checkpoint of step 12" in found[0]
    with pytest.raises(ElektronError, match=r"none of the 2 checkpoints .* contains the checkpoint of step"):
        checkpoint.newest_valid(run)


def test_checkpoint_of_another_run_raises_and_is_kept(
    run: Path, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run differs only in its learning rate."""
    other = tiny_config(blocks, tmp_path / "other", optimizer=OptimizerConfig(learning_rate=1e-4))
    with killed_before(9, monkeypatch):
        pretrain(other)
    shutil.rmtree(of_step(run, 12))
    shutil.rmtree(of_step(run, 6))
    foreign = of_step(other.out, 6).rename(of_step(run, 6))
    assert list(run_faults(run)) == [f"{foreign} belongs to another run than {run}: move it away"]
    with pytest.raises(ElektronError, match="belongs to another run"):
        pretrain(tiny_config(blocks, run))
    assert foreign.is_dir()
    (run / "run.json").unlink()
    assert not list(checkpoint_faults(foreign)), "as of runs that earlier versions began"


def test_allowed_changes_keep_checkpoints_valid(run: Path, blocks: Path) -> None:
    shutil.rmtree(of_step(run, 12))
    changed = {"optimizer": OptimizerConfig(learning_rate=1e-4), "steps": 10}
    allow = ResumeConfig(allow=["optimizer.learning_rate", "steps"])
    pretrain(tiny_config(blocks, run, **changed, resume=allow))
    pretrain(tiny_config(blocks, run, **changed, resume=allow))
    (run / "summary.json").unlink()
    pretrain(tiny_config(blocks, run, **changed))
    assert not list(run_faults(run))


def test_run_resumes_from_checkpoint_of_earlier_version(run: Path, blocks: Path, caplog: Any) -> None:
    shutil.rmtree(of_step(run, 12))
    write_manifest(of_step(run, 6))
    with caplog.at_level("INFO", "elektron"):
        pretrain(tiny_config(blocks, run))
    assert "resuming from step 6" in caplog.text


def test_damaged_run_json_raises(run: Path, blocks: Path) -> None:
    for content in ("", "[1]", "{}", "[" * 100_000):
        (run / "run.json").write_text(content)
        assert ["run.json is damaged" in line for line in run_faults(run)] == [True]
        with pytest.raises(ElektronError, match=r"run.json is damaged"):
            pretrain(tiny_config(blocks, run))


def test_changed_text_of_manifest_is_detected(tmp_path: Path) -> None:
    """Even if only whitespace differs."""
    path = write(tmp_path, 6) / MANIFEST
    path.write_text(path.read_text().replace("\n ", "\n\t", 1))
    assert "its checksum does not match" in next(checkpoint_faults(path.parent))


@pytest.mark.parametrize(
    "counters",
    [
        '{"step": "x"}',
        '{"step": -1}',
        '{"step": 6, "skipped_rows": [["a"]]}',
        '{"step": 6, "skipped_rows": [[1, 2, 3]]}',
        '{"step": 6, "skipped_rows": 5}',
        '{"step": 6, "skipped_rows": [["1", "2"]]}',
        '{"step": 6, "skipped_rows": [[1.5, 2]]}',
        '{"step": 6, "skipped_rows": {"ab": 1}}',
        '{"step": true}',
        '{"step": 6, "seconds": NaN}',
        '{"step": 6, "flops": "1"}',
        '{"step": 6, "held_out_loss": "x"}',
        '{"step": 6, "seconds": null}',
        '{"step": 6, "other": 1}',
        "[1]",
        "",
        "[" * 100_000,
    ],
)
def test_invalid_progress_json_is_reported_as_damaged(tmp_path: Path, counters: str) -> None:
    path = write(tmp_path, 6)
    (path / COUNTERS).write_text(counters)
    write_manifest(path)
    (fault,) = checkpoint_faults(path)
    assert "progress.json is damaged" in fault and "move it away" not in fault
    with pytest.raises(ElektronError, match="is damaged"):
        checkpoint.read_progress(path)


def test_deeply_nested_manifest_is_reported_as_damaged(tmp_path: Path) -> None:
    path = write(tmp_path, 6)
    (path / MANIFEST).write_text("[" * 100_000)
    assert "is damaged" in next(checkpoint_faults(path))


def first_moment(state: dict[str, Tensor]) -> str:
    return next(name for name in state if name.endswith("|exp_avg") and state[name].ndim == 1)


def of_another_shape(state: dict[str, Tensor]) -> None:
    state[first_moment(state)] = torch.zeros(3, 3, 3)


def of_another_type(state: dict[str, Tensor]) -> None:
    state[first_moment(state)] = state[first_moment(state)].double()


def without_one(state: dict[str, Tensor]) -> None:
    del state[first_moment(state)]


def without_any(state: dict[str, Tensor]) -> None:
    for name in [name for name in state if "|" in name]:
        del state[name]


def with_a_strange_name(state: dict[str, Tensor]) -> None:
    state["strange"] = torch.zeros(1)


def with_another_window(state: dict[str, Tensor]) -> None:
    state["metrics"] = torch.zeros(3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (of_another_shape, r"is torch.float32 \(3, 3, 3\) and should be"),
        (of_another_type, "is torch.float64"),
        (without_one, "is missing"),
        (without_any, "no state of the optimizers"),
        (with_a_strange_name, "strange belongs to another optimizer"),
        (with_another_window, r"metrics is torch.float64 \(3,\)"),
    ],
)
def test_invalid_optimizer_state_raises_before_first_step(
    run: Path,
    blocks: Path,
    change: Callable[[dict[str, Tensor]], None],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Trainer, "train_step", lambda *arguments: pytest.fail("a step was taken"))
    path = of_step(run, 6)
    shutil.rmtree(of_step(run, 12))
    state = load_file(path / OPTIMIZER)
    change(state)
    save_file(state, path / OPTIMIZER)
    write_manifest(path)
    with pytest.raises(ElektronError, match=complaint):
        pretrain(tiny_config(blocks, run))


def test_weights_of_another_dtype_raise(run: Path, blocks: Path) -> None:
    path = of_step(run, 12)
    weights = load_file(path / WEIGHTS)
    save_file({name: value.double() for name, value in weights.items()}, path / WEIGHTS)
    write_manifest(path)
    with pytest.raises(ElektronError, match=r"is torch.float64 .* should be torch.float32"):
        pretrain(tiny_config(blocks, run))


def test_checkpoint_with_non_finite_loss_is_never_best(tmp_path: Path) -> None:
    config = CheckpointConfig(every=6, keep=1)
    for step, loss in ((6, math.nan), (12, 3.0), (18, 4.0), (24, math.inf)):
        write(tmp_path, step, config, held_out_loss=loss)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == [*("step-00000012", "step-00000024")]


def test_undeletable_old_checkpoint_does_not_fail_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    config = CheckpointConfig(every=6, keep=1)
    write(tmp_path, 6, config)
    monkeypatch.setattr(shutil, "rmtree", refuse)
    assert not list(checkpoint.faults(write(tmp_path, 12, config)))
    assert "cannot be deleted" in caplog.text


def test_run_shortened_and_then_extended_restarts_schedule(run: Path, blocks: Path) -> None:
    """The shortened run ends at an existing checkpoint, which was written before the run was shortened."""
    shutil.rmtree(of_step(run, 12))
    for steps in (6, 10):
        config = dataclasses.replace(
            tiny_config(blocks, run, steps=steps),
            resume=dataclasses.replace(tiny_config(blocks, run).resume, allow=["steps"]),
        )
        pretrain(config)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rates = {line["step"]: line["learning_rate"] for line in lines if line["kind"] == "train"}
    assert checkpoint.read_progress(of_step(run, 6)).schedule_from == 6.0
    assert rates[8] > 0
