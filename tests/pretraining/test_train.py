"""Small complete runs: outputs, stopping and resuming, rejected settings."""

import json
import os
import shutil
import signal
import threading
import time

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer, ElectraForPreTraining

from elektron import progress
from elektron.corpus.blocks import BlockStore
from elektron.errors import ElektronError
from elektron.pretraining import checkpoint, recovery
from elektron.pretraining.batches import BatchMaker
from elektron.pretraining.config import (
    CheckpointConfig,
    CurriculumConfig,
    EvaluationConfig,
    NetworkConfig,
    OptimizerConfig,
    resolve,
)
from elektron.pretraining.objectives.base import packed_positions
from elektron.pretraining.pretrain import pretrain
from elektron.pretraining.setup import pair_for
from elektron.pretraining.train import Trainer
from elektron.reporting.pretraining_run import read_run
from elektron.terminal import output_enabled
from tests.pretraining.conftest import TINY, killed_before, logged, metrics, same_weights, tiny_config, weights

SUMMARY_FIGURES = (
    "generator_loss",
    "generator_accuracy",
    "discriminator_loss",
    "discriminator_auc",
    "discriminator_precision",
    "discriminator_recall",
    "unigram_entropy",
    "steps",
    "tokens",
    "seconds",
    "tokens_per_second",
    "flops",
)


@pytest.fixture(scope="module")
def run(blocks, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    pretrain(tiny_config(blocks, out))
    return out


def test_run_writes_summary_metrics_config_and_models(run):
    summary = json.loads((run / "summary.json").read_text())
    assert set(SUMMARY_FIGURES) <= set(summary)
    assert summary["steps"] == 12
    assert summary["tokens"] == 12 * 8 * 32
    assert summary["flops"] > 0
    assert summary["unigram_entropy"] == json.loads((run / "corpus.json").read_text())["unigram_entropy"]
    assert [line["step"] for line in metrics(run, "train")] == [4, 8, 12]
    assert [line["step"] for line in metrics(run, "evaluation")] == [6, 12]
    assert (run / "config.yaml").is_file()
    examples = json.loads((run / "examples.json").read_text())
    for example in examples:
        assert len({len(example[key]) for key in example}) == 1
    for name in ("generator", "discriminator"):
        assert AutoTokenizer.from_pretrained(run / name)("the cat", "a dog")["token_type_ids"]
    assert AutoModelForMaskedLM.from_pretrained(run / "generator").config.hidden_size == 16


def test_final_output_shows_metrics_and_next_commands(blocks, tmp_path, capsys):
    summary = pretrain(tiny_config(blocks, tmp_path / "run", steps=2))
    said = capsys.readouterr().out
    assert f"AUC {summary['discriminator_auc']:.3f}" in said and "2 steps" in said
    assert f"elektron finetune TASK --model {tmp_path}/run/discriminator" in said
    assert f"elektron report {tmp_path}/run" in said


def test_progress_is_shown_before_first_metrics_are_logged(blocks, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    with output_enabled():
        pretrain(tiny_config(blocks, tmp_path / "run", steps=4, log_every=3))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("pre-training: ")]
    assert [line.split(":")[1].split()[0] for line in lines[:3]] == ["1", "2", "3"]
    assert "generator" not in lines[1] and "generator" in lines[2]
    assert [line["step"] for line in metrics(tmp_path / "run", "train")] == [3, 4]


def test_generator_loss_decreases(blocks, tmp_path):
    optimizer = OptimizerConfig(warmup=0.1)
    network = NetworkConfig(**(TINY | {"generator_width": 1.0, "embedding_size": 32}))
    config = tiny_config(blocks, tmp_path / "run", steps=200, batch_size=16, optimizer=optimizer, network=network)
    summary = pretrain(config)
    first = metrics(tmp_path / "run", "train")[0]
    assert summary["generator_loss"] < first["generator_loss"] - 1.0
    assert summary["generator_accuracy"] > 0.3


def test_same_seed_gives_same_bits_and_other_seed_differs(run, blocks, tmp_path):
    pretrain(tiny_config(blocks, tmp_path / "again"))
    assert same_weights(run, tmp_path / "again")
    pretrain(tiny_config(blocks, tmp_path / "other", seed=2))
    assert not same_weights(run, tmp_path / "other")


def test_micro_batches_equal_full_batch(run, blocks, tmp_path):
    pretrain(tiny_config(blocks, tmp_path / "micro", micro_batch_size=3))
    whole, parts = (metrics(out, "train")[0] for out in (run, tmp_path / "micro"))
    for name in ("generator_loss", "discriminator_loss", "replaced_share"):
        assert parts[name] == pytest.approx(whole[name], rel=2e-3)


def test_finished_run_is_logged_and_unchanged(run, blocks, caplog):
    before = (run / "summary.json").read_bytes()
    with caplog.at_level("INFO", "elektron"):
        pretrain(tiny_config(blocks, run))
    assert "is finished" in caplog.text
    assert (run / "summary.json").read_bytes() == before


def stop_after(step, monkeypatch):
    """Send SIGTERM to this process while it takes the given step."""
    take_step = Trainer.train_step

    def step_and_signal(self, batch, share, rate):
        take_step(self, batch, share, rate)
        if self.progress.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "train_step", step_and_signal)


@pytest.mark.parametrize("step", [5, 8])
def test_interrupted_and_resumed_run_equals_uninterrupted_run(step, run, blocks, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        stop_after(step, patched)
        with pytest.raises(SystemExit) as stopped:
            pretrain(tiny_config(blocks, out))
    assert stopped.value.code == 128 + signal.SIGTERM
    assert not (out / "summary.json").exists()
    pretrain(tiny_config(blocks, out))
    assert same_weights(run, out)
    assert logged(out) == logged(run)


def test_killed_run_resumes_from_checkpoint(run, blocks, tmp_path, monkeypatch):
    out = tmp_path / "run"

    with killed_before(9, monkeypatch):
        pretrain(tiny_config(blocks, out))
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    pretrain(tiny_config(blocks, out))
    assert same_weights(run, out)
    assert [line["step"] for line in metrics(out, "train")] == [4, 8, 12]
    assert [line["step"] for line in metrics(out, "resumed")] == [6]


@pytest.mark.parametrize("file", ["weights", "optimizer", "progress", "manifest"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_checkpoint_is_set_aside_and_previous_one_used(
    file, damage, run, blocks, tmp_path, monkeypatch, caplog
):
    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        stop_after(7, patched)
        with pytest.raises(SystemExit):
            pretrain(tiny_config(blocks, out))
    newest = checkpoint.checkpoints(out)[-1]
    assert newest.name == "step-00000007"
    (path,) = newest.glob(f"{file}.*")
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content if damage == "flip" else content[:-1])
    with caplog.at_level("WARNING", "elektron"):
        pretrain(tiny_config(blocks, out))
    assert f"step-00000007/{path.name}" in caplog.text
    aside = out / "checkpoints/broken-step-00000007"
    assert aside.is_dir(), "never deleted"
    assert [line["step"] for line in metrics(out, "resumed")] == [6]
    assert same_weights(run, out)


def test_training_continues_when_checkpoint_cannot_be_written(run, blocks, tmp_path, monkeypatch, caplog):
    write, writes = checkpoint.save_file, []

    def full_disk(tensors, path):
        writes.append(path)
        if len(writes) == 2:  # the optimizer's state at step 6
            raise OSError(28, "No space left on device")
        write(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with caplog.at_level("WARNING", "elektron"):
        pretrain(tiny_config(blocks, tmp_path / "run"))
    assert "No space left on device" in caplog.text
    assert "training continues" in caplog.text
    assert [path.name for path in checkpoint.checkpoints(tmp_path / "run")] == ["step-00000012"]
    assert not list((tmp_path / "run/checkpoints").glob(".*")), "nothing half-written is left"
    assert same_weights(run, tmp_path / "run")


def test_interrupted_run_that_cannot_be_saved_raises(blocks, tmp_path, monkeypatch):
    def full_disk(tensors, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    stop_after(3, monkeypatch)
    with pytest.raises(ElektronError, match=r"cannot be written .*No space left"):
        pretrain(tiny_config(blocks, tmp_path / "run"))


def test_rotate_keeps_newest_and_best_checkpoints(tmp_path):
    for step, loss in ((1, 5.0), (2, 3.0), (3, 4.0), (4, None), (5, 4.5)):
        folder = tmp_path / "checkpoints" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        progress = {"step": step, "seconds": 1.0, "flops": 1.0, "held_out_loss": loss}
        (folder / "progress.json").write_text(json.dumps(progress))
    checkpoint.rotate(tmp_path, keep=2, keep_every=3)
    assert [path.name[-1] for path in checkpoint.checkpoints(tmp_path)] == ["2", "3", "4", "5"]
    checkpoint.rotate(tmp_path, keep=2, keep_every=None)
    assert [path.name[-1] for path in checkpoint.checkpoints(tmp_path)] == ["2", "4", "5"]
    (tmp_path / "checkpoints/step-00000002/progress.json").write_text("{")
    checkpoint.rotate(tmp_path, keep=1, keep_every=None)
    assert [path.name[-1] for path in checkpoint.checkpoints(tmp_path)] == ["2", "5"]


def poisoned(monkeypatch, steps, rows=None):
    """Make the gradients of some steps NaN: always, or only while a step sees the rows that it saw first."""
    take_step = Trainer.train_step

    def step(self, batch, share, rate):
        seen = int(batch.micro_batches[0].input_ids.sum())
        if self.progress.step in steps and (rows is None or rows.setdefault(self.progress.step, seen) == seen):
            hook = next(self.pair.discriminator.prediction.parameters()).register_hook(
                lambda gradient: gradient * float("nan")
            )
            take_step(self, batch, share, rate)
            hook.remove()
        else:
            take_step(self, batch, share, rate)

    monkeypatch.setattr(Trainer, "train_step", step)


def test_steps_with_non_finite_gradients_are_skipped_and_counted(blocks, tmp_path, monkeypatch):
    poisoned(monkeypatch, {5, 6})
    summary = pretrain(tiny_config(blocks, tmp_path / "run"))
    assert summary["steps"] == 12
    assert [line["skipped_steps"] for line in metrics(tmp_path / "run", "train")] == [0, 2, 0]
    assert all(torch.isfinite(weight).all() for weight in weights(tmp_path / "run").values())
    assert summary["generator_loss"] > 0


def test_run_that_skipped_all_steps_resumes_from_checkpoint(blocks, tmp_path, monkeypatch):
    out = tmp_path / "run"
    poisoned(monkeypatch, set(range(6)))
    with killed_before(9, monkeypatch):
        pretrain(tiny_config(blocks, out))
    assert pretrain(tiny_config(blocks, out))["steps"] == 12
    assert [line["step"] for line in metrics(out, "resumed")] == [6]


def test_rollback_skips_rows_since_checkpoint(blocks, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(recovery, "MAX_SKIPPED_STEPS", 1)
    poisoned(monkeypatch, {6, 7}, rows={})
    config = tiny_config(blocks, tmp_path / "run")
    with caplog.at_level("WARNING", "elektron"):
        assert pretrain(config)["steps"] == 12
    assert "rolling back to step 6 and skipping the 16 rows since" in caplog.text
    assert [line["skipped_rows"] for line in metrics(tmp_path / "run", "rolled_back")] == [16]
    progress = checkpoint.read_progress(checkpoint.checkpoints(tmp_path / "run")[-1])
    assert progress.skipped_rows == [(6, 16)]
    assert [line["step"] for line in metrics(tmp_path / "run", "train")] == [4, 8, 12]


def test_rollbacks_are_not_counted_beyond_next_checkpoint(blocks, tmp_path, monkeypatch):
    monkeypatch.setattr(recovery, "MAX_SKIPPED_STEPS", 1)
    poisoned(monkeypatch, {6, 7, 18, 19, 30, 31}, rows={})
    assert pretrain(tiny_config(blocks, tmp_path / "run", steps=40))["steps"] == 40
    progress = checkpoint.read_progress(checkpoint.checkpoints(tmp_path / "run")[-1])
    assert len(progress.skipped_rows) == 3 and not progress.rollbacks


def test_run_that_does_not_recover_raises_and_keeps_good_checkpoint(blocks, tmp_path, monkeypatch):
    monkeypatch.setattr(recovery, "MAX_SKIPPED_STEPS", 1)
    poisoned(monkeypatch, {6, 7})
    out = tmp_path / "run"
    with pytest.raises(ElektronError, match=r"skipping rows 2 times has not helped: .*lower --opt"):
        pretrain(tiny_config(blocks, out))
    kept = load_file(checkpoint.checkpoints(out)[-1] / "weights.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    assert not (out / "summary.json").exists()
    poisoned(monkeypatch, {0, 1, 2, 3})
    with pytest.raises(ElektronError, match="no checkpoint to roll back to"):
        pretrain(tiny_config(blocks, tmp_path / "early"))


def test_folder_of_another_run_is_rejected_and_unchanged(run, blocks, paper_blocks, tmp_path):
    before = sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*"))
    with pytest.raises(ElektronError, match=r"another run \(steps 12 there, 14 here\)"):
        pretrain(tiny_config(blocks, run, steps=14))
    with pytest.raises(ElektronError, match="on other blocks"):
        pretrain(tiny_config(paper_blocks, run))
    assert sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*")) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ElektronError, match="not the folder of a run"):
        pretrain(tiny_config(blocks, tmp_path))


def test_run_resumes_with_moved_blocks_and_other_log_interval(run, blocks, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with killed_before(9, monkeypatch):
        pretrain(tiny_config(blocks, out))
    shutil.copytree(blocks, tmp_path / "moved")
    assert pretrain(tiny_config(tmp_path / "moved", out, log_every=1))["steps"] == 12
    assert [line["step"] for line in metrics(out, "resumed")] == [6]
    assert [line["step"] for line in metrics(out, "train")] == [4, *range(7, 13)]
    assert same_weights(run, out)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": NetworkConfig(**(TINY | {"num_attention_heads": 3}))}, "heads divide the width"),
        ({"network": NetworkConfig(**(TINY | {"max_position_embeddings": 16}))}, "--network.max-position-embeddings"),
        ({"data": None}, "--data is missing"),
    ],
)
def test_invalid_configs_raise_and_create_no_folder(changes, message, blocks, tmp_path):
    config = tiny_config(blocks, tmp_path / "run")
    for name, value in changes.items():
        setattr(config, name, value)
    with pytest.raises(ElektronError, match=message):
        pretrain(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [("flip", r"damaged \(its checksum"), ("cut", r"damaged \([\d,]+ bytes instead of"), ("remove", "missing")],
)
def test_damaged_blocks_raise_before_anything_is_written(damage, complaint, blocks, tmp_path):
    copy = tmp_path / "blocks"
    shutil.copytree(blocks, copy)
    file = copy / "train-00000.arrow"
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-100])
    else:
        file.unlink()
    with pytest.raises(ElektronError, match=rf"train-00000\.arrow is {complaint}"):
        pretrain(tiny_config(copy, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_electra_with_paper_packing_loads_in_transformers(paper_blocks, tmp_path):
    pretrain(tiny_config(paper_blocks, tmp_path / "run", family="electra", steps=6))
    model = ElectraForPreTraining.from_pretrained(tmp_path / "run/discriminator")
    assert model.config.embedding_size == 16


def test_paper_rows_with_two_separators_have_two_segments(paper_blocks, tmp_path):
    store = BlockStore.open(paper_blocks)
    config = resolve(tiny_config(paper_blocks, tmp_path, family="electra"))
    batch = BatchMaker(store, config, torch.device("cpu")).training(0).micro_batches[0]
    separators = (batch.input_ids == store.manifest.special_ids["sep"]).sum(1)
    two_segments = batch.token_type_ids.max(1).values == 1
    assert torch.equal(two_segments, separators == 2)
    assert two_segments.any() and not two_segments.all()
    # Both networks read the segments.
    pair = pair_for(config, store.manifest).eval()
    one_segment = batch._replace(token_type_ids=torch.zeros_like(batch.token_type_ids))
    for states in (pair.discriminator_states, pair.generator_states):
        with torch.no_grad():
            first, second = (states(batch.input_ids, packed_positions(its)) for its in (batch, one_segment))
        assert torch.equal((first != second).flatten(1).any(1), two_segments)


def test_init_from_pair_keeps_evaluation_metrics(run, blocks, tmp_path):
    halves = f"{run / 'discriminator'},{run / 'generator'}"
    config = tiny_config(blocks, tmp_path / "more", init_from=halves, steps=6)
    config.optimizer.learning_rate = 1e-9
    config.optimizer.muon_learning_rate = 1e-9
    pretrain(config)
    before = metrics(run, "evaluation")[-1]
    after = metrics(tmp_path / "more", "evaluation")[-1]
    assert after["generator_loss"] == pytest.approx(before["generator_loss"], abs=1e-3)
    assert after["discriminator_auc"] == pytest.approx(before["discriminator_auc"], abs=1e-3)


def test_init_from_pair_sets_family(paper_blocks, tmp_path, caplog):
    pretrain(tiny_config(paper_blocks, tmp_path / "run", family="electra", steps=2))
    halves = f"{tmp_path / 'run/discriminator'},{tmp_path / 'run/generator'}"
    with caplog.at_level("INFO", "elektron"):
        pretrain(tiny_config(paper_blocks, tmp_path / "more", init_from=halves, steps=2))
    assert "is of family electra" in caplog.text
    config = (tmp_path / "more/config.yaml").read_text()
    assert "family: electra" in config
    assert "name: adamw" in config


def test_run_ends_at_time_budget_and_decays_learning_rate(blocks, tmp_path):
    began = time.monotonic()
    summary = pretrain(tiny_config(blocks, tmp_path / "run", steps=None, minutes=0.03))
    assert time.monotonic() - began < 30
    assert 1.8 <= summary["seconds"] < 10
    rates = [line["learning_rate"] for line in metrics(tmp_path / "run", "train")]
    assert rates[-1] < rates[0]


def test_token_budget_is_converted_to_steps(blocks, tmp_path):
    summary = pretrain(tiny_config(blocks, tmp_path / "run", steps=None, tokens=1000))
    assert summary["steps"] == 4  # of 8 × 32 tokens


def test_warmup_longer_than_run_is_shortened_and_logged(blocks, tmp_path, caplog):
    config = tiny_config(blocks, tmp_path / "run", optimizer=OptimizerConfig(warmup=10_000))
    pretrain(config)
    assert "does not fit" in caplog.text
    assert max(line["learning_rate"] for line in metrics(tmp_path / "run", "train")) > 1e-3


def test_evaluation_does_not_depend_on_the_seed_of_the_run(blocks, tmp_path):
    store = BlockStore.open(blocks)
    rows = [
        next(iter(BatchMaker(store, resolve(tiny_config(blocks, tmp_path, seed=s)), torch.device("cpu")).evaluation()))
        for s in (1, 2)
    ]
    for first, second in zip(*(batch.micro_batches[0] for batch in rows), strict=True):
        assert torch.equal(first, second)


def test_a_batch_is_a_pure_function_of_seed_and_step(blocks, tmp_path):
    store = BlockStore.open(blocks)
    maker = BatchMaker(store, resolve(tiny_config(blocks, tmp_path)), torch.device("cpu"))
    maker.training(7)
    again = BatchMaker(store, resolve(tiny_config(blocks, tmp_path)), torch.device("cpu"))
    batch = maker.training(3).micro_batches[0]
    for first, second in zip(batch, again.training(3).micro_batches[0], strict=True):
        assert torch.equal(first, second)
    of_other_seed = BatchMaker(store, resolve(tiny_config(blocks, tmp_path, seed=2)), torch.device("cpu"))
    for other in (maker.training(4), of_other_seed.training(3)):
        for name in ("input_ids", "masked_positions", "uniforms"):
            assert not torch.equal(getattr(batch, name), getattr(other.micro_batches[0], name)), name


def test_run_outside_main_thread_finishes(blocks, tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(pretrain(tiny_config(blocks, tmp_path / "run", steps=4))))
    thread.start()
    thread.join()
    assert results[0]["steps"] == 4


@pytest.fixture
def short_window(monkeypatch):
    """Detect spikes after 20 steps instead of 100."""
    monkeypatch.setattr(recovery, "WINDOW", 20)


def shaken(monkeypatch, steps):
    """Multiply the discriminator's loss by 100 in some steps."""
    take_step = Trainer.train_step

    def step(self, batch, share, rate):
        shaken = self.progress.step in steps
        with monkeypatch.context() as patched:
            if shaken:
                real = type(self.objective).discriminator_loss
                patched.setattr(type(self.objective), "discriminator_loss", lambda *given: real(*given) * 100)
            take_step(self, batch, share, rate)

    monkeypatch.setattr(Trainer, "train_step", step)


@pytest.mark.usefixtures("short_window")
@pytest.mark.parametrize("skip", [False, True])
def test_loss_spike_is_logged_and_skipped_if_configured(skip, blocks, tmp_path, monkeypatch, caplog):
    shaken(monkeypatch, {31})
    out = tmp_path / "run"
    long = {"steps": 36, "evaluation": EvaluationConfig(every=200, rows=16)}
    long |= {"checkpoint": CheckpointConfig(every=30)}
    config = tiny_config(blocks, out, optimizer=OptimizerConfig(skip_spikes=skip), **long)
    with caplog.at_level("WARNING", "elektron"):
        with killed_before(33, monkeypatch):
            pretrain(config)
        pretrain(config)  # from step 30, whose checkpoint has the losses before it
    lines = {line["step"]: line for line in metrics(out, "train")}
    assert [step for step, line in lines.items() if line["loss_spikes"]] == [32]
    assert lines[32]["loss_spikes"] == 1
    assert lines[32]["skipped_steps"] == skip
    assert "step 32: loss spikes in 1 of the last" in caplog.text
    assert ("which were skipped" in caplog.text) is skip


def test_run_that_skips_all_last_steps_raises(blocks, tmp_path, monkeypatch):
    """The last steps are checked even if metrics are rarely logged, and rollbacks among them do not help."""
    out = tmp_path / "run"
    poisoned(monkeypatch, set(range(1, 30)))
    often = CheckpointConfig(every=10)
    config = tiny_config(blocks, out, steps=30, log_every=1000, checkpoint=often)
    with pytest.raises(ElektronError, match="skipping rows 2 times has not helped"):
        pretrain(config)
    assert not (out / "summary.json").exists()
    assert not (out / "discriminator").exists()
    assert [line["skipped_steps"] for line in metrics(out, "train")] == [10]
    poisoned(monkeypatch, {0})
    short = tiny_config(blocks, tmp_path / "short", steps=5, log_every=1000)
    with pytest.raises(ElektronError, match=r"5 steps .*no checkpoint to roll back to"):
        pretrain(short)


def test_run_with_skipped_last_step_finishes(blocks, tmp_path, monkeypatch):
    poisoned(monkeypatch, {12})
    assert pretrain(tiny_config(blocks, tmp_path / "run", steps=13))["steps"] == 13
    assert [line["skipped_steps"] for line in metrics(tmp_path / "run", "train")] == [0, 0, 0, 1]


def test_skipped_steps_are_counted_once(blocks, tmp_path, monkeypatch, caplog):
    """The run rolls back to a checkpoint among the skipped steps, which only an alarm then reports."""
    monkeypatch.setattr(recovery, "MAX_SKIPPED_STEPS", 3)
    out = tmp_path / "run"
    poisoned(monkeypatch, {4, 5, 6, 7}, rows={})
    with caplog.at_level("WARNING", "elektron"):
        assert pretrain(tiny_config(blocks, out, steps=16))["steps"] == 16
    lines = {line["step"]: line["skipped_steps"] for line in metrics(out, "train")}
    assert lines == {4: 0, 8: 0, 12: 0, 16: 0}
    assert caplog.text.count("rolling back") == 1
    (alarm,) = metrics(out, "alarm")
    assert (alarm["step"], alarm["alarm"]) == (6, "not-finite")
    assert alarm["message"].startswith("4 steps before step 8 were skipped")
    assert [each["alarm"] for each in read_run(out).metrics.alarm] == ["not-finite"]


LONG = {"log_every": 20, "evaluation": EvaluationConfig(every=300, rows=16), "checkpoint": CheckpointConfig(every=15)}


@pytest.mark.usefixtures("short_window")
@pytest.mark.parametrize(
    ("curriculum", "spikes"), [(CurriculumConfig(), 5), (CurriculumConfig(first_length=16), 0)], ids=str
)
def test_lasting_change_of_loss_does_not_stop_run(curriculum, spikes, blocks, tmp_path, monkeypatch):
    """Losses change at step 30: this is no spike where rows get longer at this step, and 5 spikes otherwise."""
    shaken(monkeypatch, range(30, 60))
    skips = OptimizerConfig(skip_spikes=True)
    config = tiny_config(
        blocks, tmp_path / "run", steps=60, batch_size=4, curriculum=curriculum, optimizer=skips, **LONG
    )
    assert pretrain(config)["steps"] == 60
    lines = metrics(tmp_path / "run", "train")
    assert sum(line["loss_spikes"] for line in lines) == spikes
    assert sum(line["skipped_steps"] for line in lines) == spikes
    assert metrics(tmp_path / "run", "rolled_back") == []


@pytest.mark.usefixtures("short_window")
def test_spikes_are_counted_since_last_log_line(blocks, tmp_path, monkeypatch, caplog):
    """Spikes before a checkpoint count too when a run resumes from it between two log lines."""
    shaken(monkeypatch, {25, 27})
    long = {"steps": 36, "log_every": 10, "evaluation": EvaluationConfig(every=200, rows=16)}
    config = tiny_config(blocks, tmp_path / "run", checkpoint=CheckpointConfig(every=28), **long)
    config.optimizer.skip_spikes = True
    with caplog.at_level("WARNING", "elektron"):
        with killed_before(29, monkeypatch):
            pretrain(config)
        pretrain(config)
    assert "step 30: loss spikes in 2 of the last 10 steps" in caplog.text
