"""What a run may be gone on with: what was allowed by name, and nothing else."""

import shutil

import pytest

from elektron.corpus.config import PrepareConfig
from elektron.corpus.prepare import prepare
from elektron.errors import ElektronError
from elektron.pretraining.config import MaskingConfig, OptimizerConfig, ResumeConfig
from elektron.pretraining.loop import pretrain
from tests.pretraining.conftest import killed_before, tiny_config
from tests.pretraining.test_loop import metrics


@pytest.fixture(scope="module")
def finished(blocks, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    pretrain(tiny_config(blocks, out))
    return out


def allowing(*names: str) -> ResumeConfig:
    return ResumeConfig(allow=list(names))


def test_a_longer_run_begins_its_schedule_anew(finished, blocks, tmp_path, caplog):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    with caplog.at_level("INFO", "elektron"):
        summary = pretrain(tiny_config(blocks, out, steps=20, resume=allowing("steps")))
    assert summary["steps"] == 20
    assert "goes on with other settings: steps 12 there, 20 here" in caplog.text
    assert "its schedule begins anew here" in caplog.text
    rates = {line["step"]: line["learning_rate"] for line in metrics(out, "train")}
    # 4 of the 8 steps that were added, the first of them at a share of 0.
    assert rates[16] == pytest.approx(rates[4] * (1 - 3 / 8) / (1 - 3 / 12))
    assert rates[12] < rates[16]
    assert pretrain(tiny_config(blocks, out, steps=20)) == summary, "it is the same run from now on"


def test_settings_change_in_the_midst_of_a_run_if_allowed(blocks, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with killed_before(9, monkeypatch):
        pretrain(tiny_config(blocks, out))
    changed = {"optimizer": OptimizerConfig(lr=1e-4), "masking": MaskingConfig(keep=0.1)}
    with pytest.raises(
        ElektronError, match=r"or go on .* by --resume.allow masking.keep optimizer.lr"
    ):
        pretrain(tiny_config(blocks, out, **changed))
    with pytest.raises(ElektronError, match=r"another run \(optimizer.lr .*allow optimizer.lr"):
        pretrain(tiny_config(blocks, out, **changed, resume=allowing("masking.keep")))
    allow = allowing("optimizer.lr", "masking.keep")
    assert pretrain(tiny_config(blocks, out, **changed, resume=allow))["steps"] == 12
    assert [line["step"] for line in metrics(out, "resumed")] == [6]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("network.layers", "cannot change in the midst of a run"),
        ("optimizer.name", "cannot change in the midst of a run"),
        ("objective", "cannot change in the midst of a run"),
        ("steps,batch", "steps,batch: no such setting: separate names by blanks"),
        ("optimizer.lrr", "no such setting: did you mean optimizer.lr?"),
    ],
)
def test_what_no_run_can_go_on_with_is_refused(name, message, finished, blocks):
    with pytest.raises(ElektronError, match=message.replace("?", r"\?")):
        pretrain(tiny_config(blocks, finished, resume=allowing(name)))


def test_the_stages_of_a_plan_do_not_move(blocks, tmp_path):
    config = tiny_config(blocks, tmp_path / "run", plan="two_stage")
    pretrain(config)
    with pytest.raises(ElektronError, match="steps: it cannot change"):
        pretrain(
            tiny_config(blocks, config.out, plan="two_stage", steps=20, resume=allowing("steps"))
        )


def test_other_blocks_of_the_same_tokenizer_if_allowed(blocks, tmp_path, monkeypatch):
    other = tmp_path / "other"
    prepare(PrepareConfig(["builtin:docs"], str(blocks / "tokenizer"), other, seq_len=32, seed=5))
    out = tmp_path / "run"
    with killed_before(9, monkeypatch):
        pretrain(tiny_config(blocks, out))
    with pytest.raises(ElektronError, match=r"on other blocks .*--resume.allow data"):
        pretrain(tiny_config(other, out))
    assert pretrain(tiny_config(other, out, resume=allowing("data")))["steps"] == 12
    assert pretrain(tiny_config(other, out))["steps"] == 12, "these are its blocks now"
