"""The folder of a run: damaged files, and settings that may change on resume."""

import json
import math
import shutil
from pathlib import Path

import pytest

from elektron import accelerator as module
from elektron.errors import ElektronError
from elektron.pretraining import recovery
from elektron.pretraining.config import (
    CheckpointConfig,
    CurriculumConfig,
    EvaluationConfig,
    MaskingConfig,
    OptimizerConfig,
    ResumeConfig,
)
from elektron.pretraining.distributed import World
from elektron.pretraining.pretrain import pretrain
from elektron.pretraining.run import RunFolder
from elektron.pretraining.schedules import Progress, RunLength
from elektron.pretraining.train import Trainer
from elektron.verify import run_faults
from tests.conftest import prepare_blocks
from tests.pretraining.conftest import killed_before, logged, metrics, tiny_config


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run of 12 steps."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind": "train", "st',
        b"{}",
        b'{"kind": "train", "step": "1"}',
        b'{"kind": "train", "step": true}',
        b"[1]",
        b"\xff\xfe",
        b"[" * 100_000,
        b"",
    ],
)
def test_invalid_lines_of_metrics_are_dropped(line: bytes, run: Path, blocks: Path) -> None:
    """The line is at the end of the file, as after a kill, and in the middle."""
    (run / "summary.json").unlink()
    path = run / "metrics.jsonl"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, line + b"\n", *rest, line]))
    pretrain(tiny_config(blocks, run))
    assert [entry["step"] for entry in metrics(run, "train")] == [4, 8, 12]
    assert len(metrics(run, "resumed")) == 1


def test_metrics_line_without_newline_is_kept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.log("alarm", {"step": 1, "message": "of two\u2028lines"})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text().removesuffix("\n"))
    folder.cut_metrics(1)
    folder.log("train", {"step": 2})
    assert [line["step"] for line in folder.lines()] == [1, 2]
    assert folder.lines()[0]["message"] == "of two\u2028lines"


@pytest.mark.parametrize("name", ["corpus.json", "summary.json"])
@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"[" * 100_000])
def test_damaged_json_files_raise(name: str, content: bytes, run: Path, blocks: Path) -> None:
    (run / name).write_bytes(content)
    with pytest.raises(ElektronError, match=rf"{name} is damaged .*: restore it"):
        pretrain(tiny_config(blocks, run))


def test_config_yaml_without_settings_raises(run: Path, blocks: Path) -> None:
    """A power failure may leave an empty file, which does not mean default settings."""
    for content in ("", "# nothing\n"):
        (run / "config.yaml").write_text(content)
        with pytest.raises(ElektronError, match=r"config.yaml has no settings"):
            pretrain(tiny_config(blocks, run))
        (fault,) = run_faults(run)
        assert "config.yaml has no settings" in fault


def test_non_finite_numbers_are_written_as_null(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_json("summary.json", {"loss": math.inf, "more": {"of": [math.nan, 1.5]}})
    text = (tmp_path / "summary.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"loss": None, "more": {"of": [None, 1.5]}}


def allowing(*names: str) -> ResumeConfig:
    return ResumeConfig(allow=list(names))


def test_extended_run_restarts_schedule(finished, blocks, tmp_path, caplog):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    with caplog.at_level("INFO", "elektron"):
        summary = pretrain(tiny_config(blocks, out, steps=20, resume=allowing("steps")))
    assert summary["steps"] == 20
    assert "steps 12 there, 20 here" in caplog.text
    assert "its schedule restarts here" in caplog.text
    rates = {line["step"]: line["learning_rate"] for line in metrics(out, "train")}
    # Step 16 is the fourth of 8 added steps, the first of which has a schedule fraction of 0.
    assert rates[16] == pytest.approx(rates[4] * (1 - 3 / 8) / (1 - 3 / 12))
    assert rates[12] < rates[16]
    assert pretrain(tiny_config(blocks, out, steps=20)) == summary, "it is the same run from now on"


def test_allowed_settings_can_change_on_resume(blocks, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with killed_before(9, monkeypatch):
        pretrain(tiny_config(blocks, out))
    changed = {"optimizer": OptimizerConfig(learning_rate=1e-4), "masking": MaskingConfig(keep_probability=0.1)}
    with pytest.raises(ElektronError, match=r"--resume.allow masking.keep_probability optimizer.learning_rate"):
        pretrain(tiny_config(blocks, out, **changed))
    with pytest.raises(ElektronError, match=r"another run \(optimizer.learning_rate .*allow optimizer.learning_rate"):
        pretrain(tiny_config(blocks, out, **changed, resume=allowing("masking.keep_probability")))
    allow = allowing("optimizer.learning_rate", "masking.keep_probability")
    assert pretrain(tiny_config(blocks, out, **changed, resume=allow))["steps"] == 12
    assert [line["step"] for line in metrics(out, "resumed")] == [6]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("network.num_hidden_layers", "cannot change during a run"),
        ("optimizer.name", "cannot change during a run"),
        ("objective", "cannot change during a run"),
        ("batch_size", r"during a run \(it determines which rows the finished steps have used\)"),
        ("curriculum.first_batch_size", r"\(it determines which rows the finished steps have used\)"),
        ("steps,batch", "steps,batch: no such setting: separate names by blanks"),
        ("optimizer.learning_ratee", "no such setting: did you mean optimizer.learning_rate?"),
    ],
)
def test_invalid_resume_allow_raises(name, message, finished, blocks):
    with pytest.raises(ElektronError, match=message.replace("?", r"\?")):
        pretrain(tiny_config(blocks, finished, resume=allowing(name)))


def test_extending_two_stage_run_raises(blocks, tmp_path):
    config = tiny_config(blocks, tmp_path / "run", plan="two_stage")
    pretrain(config)
    with pytest.raises(ElektronError, match=r"steps: it cannot change"):
        pretrain(tiny_config(blocks, config.out, plan="two_stage", steps=20, resume=allowing("steps")))


def test_other_blocks_of_same_tokenizer_can_be_allowed(corpus_file, tokenizer_folder, blocks, tmp_path, monkeypatch):
    other = prepare_blocks(corpus_file, tokenizer_folder, tmp_path / "other", seed=5)
    out = tmp_path / "run"
    with killed_before(9, monkeypatch):
        pretrain(tiny_config(blocks, out))
    with pytest.raises(ElektronError, match=r"on other blocks .*--resume.allow data"):
        pretrain(tiny_config(other, out))
    allowed = tiny_config(other, out, resume=allowing("data"))
    assert pretrain(allowed)["steps"] == 12
    assert pretrain(tiny_config(other, out))["steps"] == 12, "these are its blocks now"


@pytest.mark.parametrize("changes", [{"minutes": 0.6}, {"flops": 1e12}, {"tokens": 10_000}], ids=str)
def test_changing_unit_of_run_length_raises(changes, finished, blocks):
    """A schedule that restarts at step 12 would be read as one that restarts after 12 seconds."""
    (unit,) = changes
    config = tiny_config(blocks, finished, steps=None, **changes, resume=allowing("steps", unit))
    with pytest.raises(ElektronError, match=f"length is given in steps, not in {unit}: give it in steps"):
        pretrain(config)


def test_config_yaml_without_run_length_raises(run: Path, blocks: Path) -> None:
    (run / "config.yaml").write_text("seed: 1")
    with pytest.raises(ElektronError, match="length is given in nothing, not in steps"):
        pretrain(tiny_config(blocks, run))


def test_learning_rate_of_extended_run_in_minutes_is_the_same_on_all_ranks(blocks, tmp_path, monkeypatch):
    """Each rank measures its own time, and all take the fraction of rank 0."""
    trainers: list[Trainer] = []
    monkeypatch.setattr(Trainer, "train", lambda self, interruption: trainers.append(self) or {})
    pretrain(tiny_config(blocks, tmp_path / "run", steps=None, minutes=1.0))
    (trainer,) = trainers
    trainer.progress.schedule_from, trainer.warmup = 30.0, 0.0
    monkeypatch.setattr(World, "broadcast_scalar", lambda self, number: 0.25)
    factors = set()
    for seconds in (40.0, 50.0):
        trainer.progress.seconds = seconds
        factors.add(trainer.scheduled_factor(trainer.fraction_done()))
    assert factors == {0.75}


def test_fractions_are_between_0_and_1():
    run_length = RunLength(20, "steps")
    for step, begins, share in ((12, 14, 0.0), (14, 14, 0.0), (17, 14, 0.5), (25, 14, 1.0)):
        assert run_length.fraction_done(Progress(step=step), since=begins) == share
    assert run_length.fraction_done(Progress(step=25)) == 1.0
    assert RunLength(60, "seconds").fraction_done(Progress(seconds=-1)) == 0.0


@pytest.mark.parametrize("curriculum", [{"first_batch_size": 2}, {"first_length": 8}], ids=str)
def test_extending_curriculum_run_raises(curriculum, blocks, tmp_path, monkeypatch):
    """In a longer run, earlier steps would have had other rows and other numbers of tokens."""
    config = tiny_config(blocks, tmp_path / "run", curriculum=CurriculumConfig(**curriculum))
    with killed_before(9, monkeypatch):
        pretrain(config)
    longer = tiny_config(blocks, config.out, curriculum=CurriculumConfig(**curriculum), steps=20)
    with pytest.raises(ElektronError, match=r"another run \(steps .*choose another --out$"):
        pretrain(longer)
    longer.resume = allowing("steps")
    with pytest.raises(ElektronError, match=r"steps: it cannot change .*shift the stages of the curriculum"):
        pretrain(longer)
    assert pretrain(config)["steps"] == 12


def test_other_batch_size_raises_without_suggesting_resume_allow(finished, blocks):
    with pytest.raises(ElektronError, match=r"batch_size 8 there, 4 here\): choose another --out$"):
        pretrain(tiny_config(blocks, finished, batch_size=4))


def test_blocks_of_longer_rows_raise(corpus_file, tokenizer_folder, finished, blocks, tmp_path):
    """The tokens of earlier steps would be counted with the new length."""
    other = prepare_blocks(corpus_file, tokenizer_folder, tmp_path / "other", seq_len=64)
    with pytest.raises(ElektronError, match=r"rows of 32 tokens, .* have 64"):
        pretrain(tiny_config(other, finished, steps=20, resume=allowing("data", "steps")))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"optimizer": OptimizerConfig(learning_rate=1e-5)}, "optimizer.learning_rate"),
        ({"steps": 8}, "steps"),
        ({"steps": 8, "optimizer": OptimizerConfig(learning_rate=1e-5)}, "optimizer.learning_rate"),
    ],
    ids=str,
)
def test_finished_run_rejects_changes_and_is_unchanged(changes, named, finished, blocks):
    before = {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    allow = allowing("optimizer.learning_rate", "steps")
    with pytest.raises(ElektronError, match=rf"is finished, so that changing .*{named}.* has no effect"):
        pretrain(tiny_config(blocks, finished, **changes, resume=allow))
    assert {path: path.read_bytes() for path in finished.iterdir() if path.is_file()} == before


def test_more_tokens_without_more_steps_do_not_extend_run(blocks, tmp_path):
    out = tmp_path / "run"
    pretrain(tiny_config(blocks, out, steps=None, tokens=1000))  # 4 steps of 8 × 32
    slow = {"optimizer": OptimizerConfig(learning_rate=1e-5), "resume": allowing("optimizer.learning_rate", "tokens")}
    with pytest.raises(ElektronError, match="make the run longer"):
        pretrain(tiny_config(blocks, out, steps=None, tokens=1001, **slow))
    assert pretrain(tiny_config(blocks, out, steps=None, tokens=1100, **slow))["steps"] == 5


def test_last_steps_are_logged_once_in_extended_run(blocks, tmp_path, monkeypatch):
    """Killed or not, a run logs a line at its end, and the lines of a longer run do not repeat it."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    pretrain(tiny_config(blocks, whole, log_every=5))
    with killed_before(11, monkeypatch):
        pretrain(tiny_config(blocks, out, log_every=5))
    pretrain(tiny_config(blocks, out, log_every=5))
    assert logged(out) == logged(whole)
    assert [line["step"] for line in metrics(out, "train")] == [5, 10, 12]
    pretrain(tiny_config(blocks, out, log_every=5, steps=18, resume=allowing("steps")))
    assert [line["step"] for line in metrics(out, "train")] == [5, 10, 12, 15, 18]


def test_resumed_run_keeps_measured_precision(blocks, tmp_path, monkeypatch):
    """A measurement under load may have another result."""
    config = tiny_config(blocks, tmp_path / "run", precision=None)
    monkeypatch.setattr(module, "cpu_is_fast_in_bf16", lambda: True)
    with killed_before(9, monkeypatch):
        pretrain(config)
    monkeypatch.setattr(module, "cpu_is_fast_in_bf16", lambda: False)
    assert pretrain(config)["precision"] == "bfloat16"
    assert pretrain(tiny_config(blocks, tmp_path / "new", precision=None))["precision"] == "float32"


def test_changed_settings_clear_window_of_losses(blocks, tmp_path, monkeypatch):
    """With three times the discriminator's weight, every step would otherwise be a spike."""
    monkeypatch.setattr(recovery, "WINDOW", 20)
    out, begun = tmp_path / "run", tmp_path / "begun"
    settings = {
        "steps": 50,
        "evaluation": EvaluationConfig(every=200, rows=16),
        "checkpoint": CheckpointConfig(every=30),
        "optimizer": OptimizerConfig(skip_spikes=True),
    }
    with killed_before(32, monkeypatch):
        pretrain(tiny_config(blocks, begun, **settings))
    shutil.copytree(begun, out)
    allow = {"discriminator_weight": 150, "resume": allowing("discriminator_weight")}
    with killed_before(35, monkeypatch):
        pretrain(tiny_config(blocks, out, **settings, **allow))
    # The changed run was killed before its first checkpoint; the existing one has losses of the old settings.
    pretrain(tiny_config(blocks, out, **settings, discriminator_weight=150))
    later = [line for line in metrics(out, "train") if line["step"] > 30]
    assert sum(line["loss_spikes"] for line in later) == 0
    assert sum(line["skipped_steps"] for line in later) == 0
