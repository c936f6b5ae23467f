"""A folder is locked by one run at a time."""

import pytest

from elektron.errors import ElektronError
from elektron.io import folders
from elektron.io.folders import LOCK_FILE, folder_lock
from elektron.pretraining.pretrain import pretrain
from tests.pretraining.conftest import killed_before, metrics, tiny_config


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(folders, "LOCK_TIMEOUT_SECONDS", 0.2)


def test_second_run_in_locked_folder_raises_and_changes_nothing(blocks, tmp_path, monkeypatch, impatient):
    config = tiny_config(blocks, tmp_path / "run")
    with killed_before(9, monkeypatch):
        pretrain(config)
    (partial := config.out / "checkpoints/.step-00000009.partial-x").mkdir()
    before = (config.out / "metrics.jsonl").read_bytes()
    with folder_lock(config.out, config.out), pytest.raises(ElektronError, match="another process is writing"):
        pretrain(config)
    assert partial.exists()
    assert (config.out / "metrics.jsonl").read_bytes() == before
    assert pretrain(config)["steps"] == 12
    assert [line["step"] for line in metrics(config.out, "train")] == [4, 8, 12]
    with folder_lock(config.out, config.out):
        assert pretrain(config)["steps"] == 12, "a finished run is only read"


def without_locks(*arguments):
    raise OSError(95, "Operation not supported")


def test_missing_lock_support_is_logged(blocks, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(folders, "flock", without_locks)
    config = tiny_config(blocks, tmp_path / "run", steps=2)
    assert pretrain(config)["steps"] == 2
    assert "cannot be locked" in caplog.text


def test_no_lock_file_is_left_in_folder_without_run(blocks, tmp_path):
    (tmp_path / "precious").touch()
    with pytest.raises(ElektronError, match="is not the folder of a run"):
        pretrain(tiny_config(blocks, tmp_path))
    assert not (tmp_path / LOCK_FILE).exists()
