"""A full disk at any point of a run: training continues or ends with one error, and valid checkpoints are kept.

The folder of the run is on a small file system in memory.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from elektron.errors import ElektronError
from elektron.pretraining import checkpoint
from elektron.pretraining.config import CheckpointConfig
from elektron.pretraining.pretrain import pretrain
from elektron.pretraining.train import Trainer
from tests.pretraining.conftest import metrics, same_weights, tiny_config

MEGABYTE = 2**20
FOR_METRICS = 2**16


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount a file system of `size` bytes in memory; skips the test where mounting is not allowed."""
    folder.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not done or done.returncode:
        pytest.skip("a file system in memory needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, but: int = 0) -> None:
    """Fill the disk except for `but` bytes."""
    free = os.statvfs(disk)
    (disk / "ballast").write_bytes(b"\0" * (free.f_bavail * free.f_frsize - but))


def at_step(step: int, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Call `act` after a step, once all pending checkpoints are written."""
    take_step = Trainer.train_step

    def step_and_act(self: Trainer, *arguments: object) -> None:
        take_step(self, *arguments)
        if self.progress.step == step:
            self.writer.wait()
            act()

    monkeypatch.setattr(Trainer, "train_step", step_and_act)


@pytest.fixture(scope="module")
def undisturbed(blocks, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    pretrain(tiny_config(blocks, out, checkpoint=CheckpointConfig(every=3, keep=1), log_every=12))
    return out


def test_failed_checkpoint_is_logged_and_last_good_one_is_kept(undisturbed, blocks, tmp_path, monkeypatch, caplog):
    """From step 4 to step 8 the disk has space for metrics only."""
    with small_disk(tmp_path / "disk", 8 * MEGABYTE) as disk:
        out = disk / "run"
        at_step(4, lambda: fill(disk, but=FOR_METRICS), monkeypatch)
        there: list[str] = []

        def look_and_empty() -> None:
            there.extend(path.name for path in (out / "checkpoints").iterdir())
            (disk / "ballast").unlink()

        at_step(8, look_and_empty, monkeypatch)
        config = tiny_config(blocks, out, checkpoint=CheckpointConfig(every=3, keep=1), log_every=12)
        with caplog.at_level("WARNING", "elektron"):
            pretrain(config)
        assert there == ["step-00000003"], "nothing half written, and the good one"
        assert "step-00000006 cannot be written" in caplog.text
        assert "training continues" in caplog.text
        assert same_weights(out, undisturbed)


def test_unwritable_metrics_raise_and_run_resumes_later(undisturbed, blocks, tmp_path, monkeypatch):
    """The disk is full from step 4 on."""
    with small_disk(tmp_path / "disk", 8 * MEGABYTE) as disk:
        out = disk / "run"
        config = tiny_config(blocks, out, checkpoint=CheckpointConfig(every=3, keep=1), log_every=1)
        with monkeypatch.context() as patched:
            at_step(4, lambda: fill(disk), patched)
            with pytest.raises(ElektronError, match=r"metrics.jsonl cannot be written \(No space left"):
                pretrain(config)
        (disk / "ballast").unlink()
        (good,) = checkpoint.checkpoints(out)
        assert good.name == "step-00000003"
        assert not list(checkpoint.faults(good))
        pretrain(config)
        assert [line["step"] for line in metrics(out, "resumed")] == [3]
        assert [line["step"] for line in metrics(out, "train")] == list(range(1, 13))
        assert same_weights(out, undisturbed)


def test_models_that_did_not_fit_are_written_by_next_run(undisturbed, blocks, tmp_path, monkeypatch):
    with small_disk(tmp_path / "disk", 8 * MEGABYTE) as disk:
        out = disk / "run"
        config = tiny_config(blocks, out, checkpoint=CheckpointConfig(every=3, keep=1), log_every=20)
        export = Trainer.export

        def fill_and_export(self: Trainer) -> None:
            fill(disk)
            export(self)

        with monkeypatch.context() as patched:
            patched.setattr(Trainer, "export", fill_and_export)
            with pytest.raises(ElektronError, match="the models cannot be written into"):
                pretrain(config)
        (disk / "ballast").unlink()
        assert not (out / "summary.json").exists()
        pretrain(config)
        assert same_weights(out, undisturbed)


def test_run_folder_that_cannot_be_created_raises(blocks):
    with pytest.raises(ElektronError, match=r"/proc/run cannot be written .* another --out"):
        pretrain(tiny_config(blocks, Path("/proc/run")))
