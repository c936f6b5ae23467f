"""A small comparison from end to end: its files, reuse of finished work, and rejected settings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elektron.compare.compare import compare
from elektron.compare.runs import RESULT
from elektron.errors import ElektronError
from elektron.finetuning import finetune as finetuning
from elektron.pretraining import pretrain as entry
from tests.compare.conftest import MakeConfig


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that pre-training and fine-tuning were called for, in order."""
    made: list[Path] = []

    def noted(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def call(config: Any) -> Any:
            made.append(config.out)
            return function(config)

        return call

    monkeypatch.setattr(entry, "pretrain", noted(entry.pretrain))
    monkeypatch.setattr(finetuning, "finetune", noted(finetuning.finetune))
    return made


def test_variants_are_trained_and_reported_and_finished_work_is_reused(
    make_config: MakeConfig, calls: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config()
    compare(config)
    printed = capsys.readouterr().out
    assert "optimizer.learning_rate=0.001" in printed and "not resolved: fewer than 3 seeds" in printed
    assert len(printed.split("- Recipe")) == 2, "nothing but the table, and not fine-tuning's words"
    assert (config.out / "comparison.md").read_text() == printed.removesuffix("\n")
    run = config.out / "optimizer.learning_rate=0.01" / "2e8flops" / "seed-1"
    probe = next(path.parent for path in run.glob("*/task.json"))
    assert {path.name for path in run.iterdir()} == {
        "pretraining", probe.name, "result.json",
    }  # fmt: skip
    assert not (run / "pretraining" / "checkpoints").exists()
    assert (run / "pretraining" / "discriminator" / "model.safetensors").is_file()
    assert (run / "pretraining" / "report.html").is_file() and (probe / "report.html").is_file()

    figures = json.loads((config.out / "comparison.json").read_text())
    assert [variant["name"] for variant in figures["variants"]] == [
        "optimizer.learning_rate=0.001", "optimizer.learning_rate=0.01",
    ]  # fmt: skip
    for each in figures["runs"]:
        assert each["flops"] >= 2e8 and each["tokens"] > 0
        assert 0 <= each["probes"][probe.name]["value"] <= 1
    page = (config.out / "comparison.html").read_text()
    assert f"./optimizer.learning_rate%3D0.01/2e8flops/seed-1/{probe.name}/report.html" in page

    # With a second probe, finished work is not repeated.
    before = (run / "pretraining" / "summary.json").stat().st_mtime_ns
    calls.clear()
    more = make_config(probe=[*config.probe, f"more={config.probe[0]}".replace("--epochs 1", "--epochs 2")])
    compare(more)
    assert (run / "pretraining" / "summary.json").stat().st_mtime_ns == before
    assert [path.name for path in calls] == ["more", "more"]
    calls.clear()
    compare(more)
    fewer = compare(config)
    assert calls == [] and list(fewer.runs[0].probes) == [probe.name]

    content = json.loads((run / "result.json").read_text())
    for wrong, complaint in (
        ({"variant": "x"}, "is the result of another run"),
        ({"seed": 9}, "is the result of another run"),
        ({"flops": -1.0}, r"is damaged \(flops must be positive"),
    ):
        (run / "result.json").write_text(json.dumps(content | wrong))
        with pytest.raises(ElektronError, match=rf"result\.json {complaint}"):
            compare(more)


def test_interrupted_comparison_resumes_without_repeating_work(
    make_config: MakeConfig, calls: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    noted = finetuning.finetune

    def interrupted(probe: Any) -> Any:
        if "learning_rate=0.01" in str(probe.out):
            raise KeyboardInterrupt
        return noted(probe)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(finetuning, "finetune", interrupted)
        compare(config)
    first, second = sorted(config.out.glob(f"**/{RESULT}"))
    assert json.loads(first.read_text())["probes"] and not json.loads(second.read_text())["probes"]
    before, calls[:] = first.stat().st_mtime_ns, []
    compare(config)
    assert first.stat().st_mtime_ns == before
    (left,) = calls
    assert left.parent == second.parent and left.name != "pretraining"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "--seeds must be from 1 to 1000, got 0"),
        ({"seeds": 1001}, "--seeds must be from 1 to 1000"),
        ({"seeds": 10**20}, "--seeds must be below 2^63"),
        ({"budget": ["soon"]}, "--budget must be a time"),
        ({"sweep": ["optimizer.learning_rate=1e-3,-1"]}, "--sweep optimizer.learning_rate must be above 0"),
        ({"probe": ["classification --train nowhere.tsv"]}, "nowhere.tsv: no such file"),
        ({"data": Path("nowhere")}, "nowhere holds no blocks"),
        (
            {"sweep": ["network.num_attention_heads=2,3"]},
            "network.num_attention_heads=3: the discriminator cannot split",
        ),
        ({"sweep": ["network.max_position_embeddings=64,8"]}, "network.max_position_embeddings=8: rows of 32 tokens"),
        (
            {"sweep": ["masking.unit=whole_word", "masking.segmenter=nope:cut,nope:other"]},
            "masking.segmenter=nope-cut: --masking.segmenter nope:cut: No module",
        ),
    ],
)
def test_invalid_settings_raise_before_any_training(
    make_config: MakeConfig, calls: list[Path], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ElektronError) as refused:
        compare(make_config(**changes))
    assert message in str(refused.value)
    assert calls == [] and not make_config().out.exists()


def test_error_names_the_run(make_config: MakeConfig, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.tsv"
    wrong.write_text("sentence\tlabel\nthe cat\n")
    probe = f"classification --train {wrong} --eval {wrong}"
    with pytest.raises(
        ElektronError, match=r"^optimizer.learning_rate=0.001/2e8flops/seed-1: .*wrong.tsv, line 2: no label"
    ):
        compare(make_config(probe=[probe]))


def test_folder_with_other_runs_or_foreign_files_raises(
    make_config: MakeConfig, tiny_recipe: Path, paper_blocks: Path, tmp_path: Path
) -> None:
    config = make_config(sweep=[])
    compare(config)
    with pytest.raises(ElektronError, match="other blocks"):
        compare(make_config(sweep=[], data=paper_blocks))
    with pytest.raises(ElektronError, match=r"holds another run \(batch_size 8 there, 4 here\)"):
        compare(make_config(sweep=["batch_size=4"]))
    with pytest.raises(ElektronError, match="--max-train 16"):
        compare(make_config(sweep=[], probe=[config.probe[0].replace("32", "16")]))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "something").touch()
    with pytest.raises(ElektronError, match="exists and is not the folder of a comparison"):
        compare(make_config(out=foreign))
