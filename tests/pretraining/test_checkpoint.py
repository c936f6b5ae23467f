"""What a run comes back to: bound to its step, checked before it is used, and replaced where it should be another."""

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
from elektron.pretraining.checkpoint import (
    COUNTERS,
    FOLDER,
    MANIFEST,
    OPTIMIZER,
    WEIGHTS,
    Progress,
    Snapshot,
    write_manifest,
)
from elektron.pretraining.config import CheckpointConfig, OptimizerConfig, ResumeConfig
from elektron.pretraining.pretrain import pretrain
from elektron.verify import checkpoint_faults, run_faults
from tests.pretraining.conftest import killed_before, tiny_config

KEEP_ALL = CheckpointConfig(every=6, keep=9)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A run that has yet to finish, with checkpoints of steps 6 and 12."""
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    return tmp_path / "run"


def of_step(out: Path, step: int) -> Path:
    return out / FOLDER / f"step-{step:08d}"


def write(out: Path, step: int, config: CheckpointConfig = KEEP_ALL, **progress: Any) -> Path:
    snapshot = Snapshot({"w": torch.ones(2)}, {"s": torch.ones(2)}, Progress(step, **progress))
    checkpoint.write_checkpoint(out, snapshot, config)
    return of_step(out, step)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_each_broken_one_gets_a_name_of_its_own(tmp_path: Path) -> None:
    whole = write(tmp_path, 6)
    for _ in range(3):
        damage(write(tmp_path, 12) / WEIGHTS)
        assert checkpoint.newest_valid(tmp_path) == whole
    aside = sorted(path.name for path in (tmp_path / FOLDER).iterdir())
    assert aside == [*(f"broken-step-00000012{n}" for n in ("", "-2", "-3")), whole.name]


def loop_of_links(path: Path) -> None:
    """A file that the system refuses to open, whoever asks."""
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize("file", [WEIGHTS, OPTIMIZER, COUNTERS, MANIFEST])
def test_one_that_the_system_does_not_let_us_read_stops_the_run_and_stays(run: Path, blocks: Path, file: str) -> None:
    loop_of_links(of_step(run, 12) / file)
    before = sorted(run.rglob("*"))
    with pytest.raises(ElektronError, match=rf"{file} cannot be read \(Too many levels"):
        pretrain(tiny_config(blocks, run))
    assert sorted(run.rglob("*")) == before
    assert ["cannot be read" in fault for fault in run_faults(run)] == [True]


def test_a_folder_of_checkpoints_that_cannot_be_listed_is_not_an_empty_one(run: Path, blocks: Path) -> None:
    (run / FOLDER).rename(run / "elsewhere")
    (run / FOLDER).symlink_to(run / FOLDER)
    with pytest.raises(ElektronError, match=rf"{FOLDER} cannot be read"):
        pretrain(tiny_config(blocks, run))


def test_a_run_whose_checkpoints_are_all_broken_does_not_begin_anew(run: Path, blocks: Path) -> None:
    for step in (6, 12):
        damage(of_step(run, step) / WEIGHTS)
    with pytest.raises(ElektronError, match=r"none of the 2 checkpoints .* is valid"):
        pretrain(tiny_config(blocks, run))
    assert [path.name for path in checkpoint.checkpoints(run)] == ["step-00000006", "step-00000012"]
    (run / FOLDER).rename(run / "aside")
    assert pretrain(tiny_config(blocks, run))["steps"] == 12


def test_a_damaged_one_is_replaced_when_its_step_is_saved_again(tmp_path: Path) -> None:
    damage(write(tmp_path, 6) / WEIGHTS)
    assert not list(checkpoint.faults(write(tmp_path, 6)))
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["step-00000006"]


def test_one_of_the_run_before_it_was_made_longer_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, 6)
    assert checkpoint.read_progress(write(tmp_path, 6, schedule_from=6.0)).schedule_from == 6.0
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["step-00000006"]


def test_a_kill_between_the_old_one_and_the_new_leaves_the_old(tmp_path: Path) -> None:
    there = write(tmp_path, 6)
    there.rename(there.with_name(".replaced-step-00000006"))
    checkpoint.remove_leftovers(tmp_path)
    assert checkpoint.newest_valid(tmp_path) == there
    shutil.copytree(there, there.with_name(".replaced-step-00000006"))
    checkpoint.remove_leftovers(tmp_path)
    assert list((tmp_path / FOLDER).iterdir()) == [there]


def test_a_new_one_that_cannot_take_the_place_of_the_old_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_what_was_killed_before_it_rotated_does_so_when_it_comes_to_the_same_step(
    tmp_path: Path,
) -> None:
    write(tmp_path, 6)
    write(tmp_path, 12)
    write(tmp_path, 12, CheckpointConfig(every=6, keep=1))
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["step-00000012"]


def test_one_that_cannot_be_looked_at_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise OSError(5, "Input/output error")

    there = write(tmp_path, 6)
    monkeypatch.setattr(checkpoint, "file_sha256", refuse)
    with pytest.raises(ElektronError, match=r"cannot be read \(Input/output error\)"):
        next(checkpoint.faults(there))
    assert there.is_dir()


def test_exchanged_folders_are_found(run: Path, blocks: Path, caplog: Any) -> None:
    first, second = of_step(run, 6), of_step(run, 12)
    first.rename(run / "aside")
    second.rename(first)
    (run / "aside").rename(second)
    found = list(run_faults(run))
    assert len(found) == 2 and "contains the checkpoint of step 12" in found[0]
    with pytest.raises(ElektronError, match=r"none of the 2 checkpoints .* contains the checkpoint of step"):
        checkpoint.newest_valid(run)


def test_one_of_another_run_is_refused_and_stays(
    run: Path, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one with the same networks, which only learns at another rate."""
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


def test_what_was_allowed_to_change_leaves_a_run_the_same(run: Path, blocks: Path) -> None:
    shutil.rmtree(of_step(run, 12))
    changed = {"optimizer": OptimizerConfig(learning_rate=1e-4), "steps": 10}
    allow = ResumeConfig(allow=["optimizer.learning_rate", "steps"])
    pretrain(tiny_config(blocks, run, **changed, resume=allow))
    pretrain(tiny_config(blocks, run, **changed, resume=allow))
    (run / "summary.json").unlink()
    pretrain(tiny_config(blocks, run, **changed))
    assert not list(run_faults(run))


def test_one_of_an_earlier_version_is_gone_on_from(run: Path, blocks: Path, caplog: Any) -> None:
    shutil.rmtree(of_step(run, 12))
    write_manifest(of_step(run, 6))
    with caplog.at_level("INFO", "elektron"):
        pretrain(tiny_config(blocks, run))
    assert "resuming from step 6" in caplog.text


def test_an_identity_that_is_none_is_said_in_one_line(run: Path, blocks: Path) -> None:
    for content in ("", "[1]", "{}", "[" * 100_000):
        (run / "run.json").write_text(content)
        assert ["run.json is damaged" in line for line in run_faults(run)] == [True]
        with pytest.raises(ElektronError, match=r"run.json is damaged"):
            pretrain(tiny_config(blocks, run))


def test_any_other_text_of_a_manifest_is_found(tmp_path: Path) -> None:
    """Also one that says the same."""
    path = write(tmp_path, 6) / MANIFEST
    path.write_text(path.read_text().replace("\n ", "\n\t", 1))
    assert "not what was written" in next(checkpoint_faults(path.parent))


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
def test_counters_that_are_none_are_a_fault(tmp_path: Path, counters: str) -> None:
    path = write(tmp_path, 6)
    (path / COUNTERS).write_text(counters)
    write_manifest(path)
    (fault,) = checkpoint_faults(path)
    assert "progress.json is damaged" in fault and "move it away" not in fault
    with pytest.raises(ElektronError, match="is damaged"):
        checkpoint.read_progress(path)


def test_a_bottomless_manifest_is_a_fault(tmp_path: Path) -> None:
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
def test_a_state_that_was_made_up_is_refused_before_a_step_uses_it(
    run: Path, blocks: Path, change: Callable[[dict[str, Tensor]], None], complaint: str
) -> None:
    path = of_step(run, 6)
    shutil.rmtree(of_step(run, 12))
    state = load_file(path / OPTIMIZER)
    change(state)
    save_file(state, path / OPTIMIZER)
    write_manifest(path)
    with pytest.raises(ElektronError, match=complaint):
        pretrain(tiny_config(blocks, run))


def test_weights_of_another_type_are_refused(run: Path, blocks: Path) -> None:
    path = of_step(run, 12)
    weights = load_file(path / WEIGHTS)
    save_file({name: value.double() for name, value in weights.items()}, path / WEIGHTS)
    write_manifest(path)
    with pytest.raises(ElektronError, match=r"is torch.float64 .* should be torch.float32"):
        pretrain(tiny_config(blocks, run))


def test_a_loss_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    config = CheckpointConfig(every=6, keep=1)
    for step, loss in ((6, math.nan), (12, 3.0), (18, 4.0), (24, math.inf)):
        write(tmp_path, step, config, held_out_loss=loss)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == [*("step-00000012", "step-00000024")]


def test_old_ones_that_cannot_be_dropped_do_not_make_the_new_one_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    config = CheckpointConfig(every=6, keep=1)
    write(tmp_path, 6, config)
    monkeypatch.setattr(checkpoint, "drop", refuse)
    assert not list(checkpoint.faults(write(tmp_path, 12, config)))
    assert "cannot be deleted" in caplog.text


def test_made_shorter_and_then_longer_the_schedule_begins_anew(run: Path, blocks: Path) -> None:
    """The checkpoint that the shortened run ends with was there before, and knew of no end."""
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
