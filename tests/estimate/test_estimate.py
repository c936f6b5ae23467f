"""Estimates before a run, compared with the run."""

import json
from pathlib import Path
from typing import get_args

import pytest
import torch

from elektron.cli import main
from elektron.errors import ElektronError
from elektron.estimate import step as steps
from elektron.estimate.estimate import HEADROOM, Estimator, estimate, read_size
from elektron.models.families import FAMILIES
from elektron.models.sharing import Sharing
from elektron.pretraining.compatibility import SHALLOWER_GENERATOR
from elektron.pretraining.config import (
    CheckpointConfig,
    CurriculumConfig,
    EvaluationConfig,
    MaskingConfig,
    NetworkConfig,
    PlanOptions,
)
from elektron.pretraining.pretrain import pretrain
from elektron.pretraining.setup import pair_for
from tests.estimate.conftest import SHALLOW, estimate_of, tiny
from tests.pretraining.conftest import TINY, tiny_config


@pytest.mark.parametrize("sharing", get_args(Sharing))
@pytest.mark.parametrize("family", list(FAMILIES))
def test_parameter_counts_equal_the_pair(family, sharing):
    network = TINY if family not in SHALLOWER_GENERATOR else SHALLOW
    if sharing == "all":
        network = network | {"generator_width": 1.0, "generator_layers": network["num_hidden_layers"]}
    run = Estimator(tiny(family=family, sharing=sharing, network=NetworkConfig(**network)))
    pair = pair_for(run.config, run.manifest)
    assert {p.device.type for p in run.pair.parameters()} == {"meta"}
    parameters = run.estimate().parameters
    total = sum(p.numel() for p in pair.parameters())
    assert parameters == pair.parameter_counts() | {"total": total}
    networks = parameters["discriminator"] + parameters["generator"]
    assert (total < networks) == (sharing in ("tokens", "embeddings", "all"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"steps": None, "tokens": 3000},
        {"plan": "two_stage", "steps": 13},
        {"plan": "two_stage", "plan_options": PlanOptions(generator_steps=5)},
        {"plan": "two_stage", "steps": None, "flops": 3e8},
        {"plan": "alternating"},
        {"plan": "alternating", "plan_options": PlanOptions(generator_turn=3, discriminator_turn=2, similarity=1.0)},
        {"plan": "alternating", "steps": None, "flops": 3e8},
        {"plan": "adversarial"},
        {"objective": "mlm"},
        {"objective": "all_tokens_mlm", "micro_batch_size": 3},
        {"objective": "corrective"},
        {"curriculum": CurriculumConfig(first_length=8, first_batch_size=2)},
        {"curriculum": CurriculumConfig(first_length=8, length_fraction=0.8), "plan": "alternating", "steps": 11},
        {"masking": MaskingConfig(mask_probability=0.4, final_mask_probability=0.15)},
    ],
    ids=str,
)
def test_steps_tokens_and_flops_equal_the_run(changes, blocks, tmp_path):
    config = tiny_config(blocks, tmp_path / "run", **changes)
    summary = pretrain(config)
    run = Estimator(estimate_of(config))
    length = run.length()
    assert (length.steps, length.tokens, length.flops) == (summary["steps"], summary["tokens"], summary["flops"])
    assert run.pair.parameter_counts(run.objective.detects) == summary["parameters"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"family": "electra"},
        {"objective": "replace_mlm"},
        {"objective": "mlm"},
        {"plan": "adversarial"},
        {"sharing": "gdes"},
        {"checkpoint": CheckpointConfig(every=2, keep=1)},
    ],
    ids=str,
)
def test_disk_usage_matches_the_run(changes, blocks, tmp_path):
    network = NetworkConfig(**(TINY | {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 2}))
    config = tiny_config(blocks, tmp_path / "run", **({"network": network} | changes))
    pretrain(config)
    disk = estimate(estimate_of(config)).disk
    checkpoints = sorted((config.out / "checkpoints").iterdir())
    assert disk.checkpoints in (len(checkpoints), len(checkpoints) + 1)  # the best may be the last
    assert disk.checkpoint == pytest.approx(bytes_in(checkpoints[-1]), rel=0.05)
    models = sum(path.stat().st_size for path in config.out.glob("*/model.safetensors"))
    assert disk.models == pytest.approx(models, rel=0.02)
    assert disk.total == disk.checkpoints * disk.checkpoint + disk.models


@pytest.mark.parametrize(
    ("steps", "changes"),
    [
        (15, {"every": 10}),
        (5, {"every": 10}),
        (12, {"every": 4, "keep": 9}),
        (12, {"every": 2, "keep": 1, "keep_every": 3}),
        (13, {"every": 2, "keep": 3, "keep_every": 4}),
        (8, {"every": 1, "keep": 1, "keep_every": 1}),
    ],
)
def test_number_of_checkpoints_equals_the_run(steps, changes, blocks, tmp_path):
    """The only evaluation is at the end, so that the best checkpoint is the last one."""
    config = tiny_config(
        blocks, tmp_path / "run", steps=steps, checkpoint=CheckpointConfig(**changes),
        evaluation=EvaluationConfig(every=steps, rows=16),
    )  # fmt: skip
    pretrain(config)
    left = len(list((config.out / "checkpoints").iterdir()))
    assert Estimator(estimate_of(config)).checkpoints(steps) == left


def test_number_of_checkpoints_includes_an_older_best_one():
    kept = {"every": 2, "keep": 2, "keep_every": 4}
    config = tiny(checkpoint=CheckpointConfig(**kept), evaluation=EvaluationConfig(every=2))
    # The newest two are 10 and 12, every fourth step 4 and 8, and the best may be 2 or 6.
    assert Estimator(config).checkpoints(12) == 5


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_passes_over_the_corpus(blocks):
    run = Estimator(tiny(data=blocks, vocab_size=None, seq_len=None))
    assert run.estimate().length.passes == pytest.approx(12 * 8 / len(run.store.rows("train")))
    assert Estimator(tiny()).estimate().length.passes is None


def test_throughput_determines_time_steps_and_disk():
    result = Estimator(tiny(throughput=100.0)).estimate()
    assert result.length.seconds == pytest.approx(12 * 8 * 32 / 100)
    assert Estimator(tiny()).estimate().length.seconds is None
    by_clock = {"steps": None, "minutes": 1.0}
    assert Estimator(tiny(**by_clock)).estimate().length.steps is None
    assert Estimator(tiny(**by_clock)).estimate().disk.total is None
    known = Estimator(tiny(**by_clock, throughput=256.0)).estimate()
    assert (known.length.steps, known.length.tokens) == (60, 60 * 256)
    assert known.length.flops == 5 * Estimator(tiny()).estimate().length.flops


def test_devices_share_the_rows():
    one, four = Estimator(tiny(throughput=64.0)), Estimator(tiny(throughput=64.0, devices=4))
    alone, shared = one.estimate(), four.estimate()
    assert shared.length.seconds == alone.length.seconds / 4
    assert shared.rows_at_once == 2
    assert shared.memory.activations < alone.memory.activations / 3
    assert shared.memory.weights == alone.memory.weights
    assert Estimator(tiny(nproc=2)).estimate().rows_at_once == 4
    with pytest.raises(ElektronError, match="9 processes cannot share 8 rows"):
        Estimator(tiny(devices=9))


def in_kilobytes(size: float) -> str:
    return f"{size / (1 - HEADROOM) / 1000 + 1:.0f}kB"


def test_fits_compares_memory_with_device_memory():
    needed = Estimator(tiny()).estimate()
    assert needed.fits is None
    assert Estimator(tiny(memory_per_device=in_kilobytes(needed.memory.total))).estimate().fits
    too_small = in_kilobytes(needed.memory.total * 0.99)
    assert Estimator(tiny(memory_per_device=too_small)).estimate().fits is False
    assert Estimator(tiny(memory_per_device=too_small, micro_batch_size=4)).estimate().fits


def test_fsdp_shards_weights_gradients_and_optimizer_state():
    network = NetworkConfig(**(TINY | {"num_hidden_layers": 12}))
    settings = {"network": network, "devices": 4, "micro_batch_size": 1}
    copies, sharded = (Estimator(tiny(**settings, parallel=parallel)).estimate() for parallel in ("ddp", "fsdp"))
    assert sharded.memory.total < copies.memory.total
    for name in ("weights", "gradients", "optimizer"):
        whole, shard = getattr(copies.memory, name), getattr(sharded.memory, name)
        assert whole / 4 <= shard < whole / 3
    assert sharded.disk.checkpoint == copies.disk.checkpoint > 2 * copies.memory.weights


@pytest.mark.parametrize("with_blocks", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"plan": "two_stage"},
        {"curriculum": CurriculumConfig(first_length=16)},
        {"masking": MaskingConfig(unit="whole_word")},
        {"steps": None, "minutes": 2.0},
    ],
    ids=str,
)
def test_probe_measures_speed_and_memory(changes, with_blocks, blocks, monkeypatch):
    monkeypatch.setattr(steps, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(steps, "resident_peak", iter([1_000_000, 5_000_000]).__next__)
    data = {"data": blocks, "vocab_size": None, "seq_len": None} if with_blocks else {}
    result = Estimator(tiny(probe=True, **data, **changes)).estimate()
    assert result.measured is not None
    assert result.measured.flops_per_second > 0
    assert 0 < result.measured.seconds_per_update < result.length.seconds
    assert result.length.seconds > 0
    assert result.length.tokens_per_second > 0
    if torch.cuda.is_available():
        assert result.measured.memory > result.memory.weights
    else:
        assert result.measured.memory == 4_000_000  # the growth of the process
    if "minutes" in changes:
        assert result.length.seconds == pytest.approx(120, rel=0.1)


@pytest.mark.slow
def test_probe_predicts_speed_of_run(blocks, tmp_path, monkeypatch):
    """The tolerance is a factor of two, because the machine may be busy."""
    monkeypatch.setattr(steps, "PROBE_SECONDS", 10.0)
    network = NetworkConfig(**(TINY | {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 6}))
    config = tiny_config(
        blocks, tmp_path / "run", network=network, batch_size=32, steps=40,
        evaluation=EvaluationConfig(every=40, rows=16), checkpoint=CheckpointConfig(every=40),
    )  # fmt: skip
    foretold = Estimator(estimate_of(config, probe=True)).estimate().length.tokens_per_second
    assert 0.5 < foretold / pretrain(config)["tokens_per_second"] < 2


def test_flops_with_frozen_or_released_networks_equal_the_run(blocks, tmp_path):
    pretrain(tiny_config(blocks, tmp_path / "first", steps=2))
    options = PlanOptions(generator=str(tmp_path / "first"))
    config = tiny_config(blocks, tmp_path / "run", plan="frozen_generator", plan_options=options)
    summary = pretrain(config)
    result = estimate(estimate_of(config))
    assert result.length.flops == summary["flops"]
    trained = result.parameters["total"] - result.parameters["generator"]
    assert result.memory.gradients == 4 * trained
    released = f"{tmp_path / 'first/discriminator'},{tmp_path / 'first/generator'}"
    more = tiny_config(blocks, tmp_path / "more", init_from=released, steps=2)
    assert estimate(estimate_of(more)).length.flops == pretrain(more)["flops"]


def test_large_run_is_estimated_without_counting_every_step():
    """Counting a million steps one by one would take minutes, and real weights would take gigabytes."""
    network = NetworkConfig(
        num_hidden_layers=24, hidden_size=1024, intermediate_size=4096, num_attention_heads=16, embedding_size=1024
    )
    config = tiny(steps=1_000_000, batch_size=2048, seq_len=512, vocab_size=30522, network=network, family="electra")
    result = Estimator(config).estimate()
    assert result.parameters["discriminator"] == pytest.approx(335e6, rel=0.01)
    assert result.length.steps == 1_000_000


def test_table_and_json_output(capsys):
    argv = ["estimate", "--config", "electra-small", "--vocab-size", "30522", "--seq-len", "128"]
    assert main([*argv, "--memory-per-device", "1 GB"]) == 0
    out = capsys.readouterr().out
    for text in ("13,549,057", "1,000,000", "not known", "does not fit into 1 GB"):
        assert text in out
    assert main([*argv, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["parameters"]["discriminator"] == 13_549_057
    assert content["length"]["seconds"] is None
    assert content["memory"]["total"] == sum(value for name, value in content["memory"].items() if name != "total")


def test_figures_unknown_without_throughput_are_listed_in_one_line(capsys):
    assert main(["estimate", *BLOCKLESS, "--minutes", "6"]) == 0
    out = capsys.readouterr().out
    assert out.count("--throughput") == 1 and "None" not in out
    assert "steps, tokens, FLOPs, time, tokens per second, total on disk" in out


BLOCKLESS = ("--vocab-size", "100", "--seq-len", "32")


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        ((), "give --data, a folder of blocks, or --vocab-size and --seq-len"),
        (("--vocab-size", "100"), "give --data, a folder of blocks, or --vocab-size and --seq-len"),
        (("--data", ".", *BLOCKLESS), "--vocab-size and --seq-len are those of the blocks"),
        (("--data", "."), ". holds no blocks"),
        (("--data", "nowhere"), "nowhere: no such folder"),
        (("--vocab-size", "5", "--seq-len", "32"), "--vocab-size must be above 5 and at most 16777216, got 5"),
        (("--vocab-size", "100", "--seq-len", "2"), "--seq-len must be above 2 and at most 1048576, got 2"),
        ((*BLOCKLESS, "--throughput", "0"), "--throughput must be above 0, got 0"),
        ((*BLOCKLESS, "--throughput", "1", "--probe", "true"), "cannot be used together"),
        (
            (*BLOCKLESS, "--memory-per-device", "16 apples"),
            "--memory-per-device must be a size such as 16GB or 80GiB, got '16 apples'",
        ),
        ((*BLOCKLESS, "--memory-per-device", "0GB"), "--memory-per-device must be a size"),
        ((*BLOCKLESS, "--devices", "0"), "--devices must be from 1 to 1048576, got 0"),
        ((*BLOCKLESS, "--batch-size", "0"), "--batch-size must be from 1 to 1048576, got 0"),
        ((*BLOCKLESS, "--network.num-attention-heads", "7"), "cannot split a width of 128 over 7 heads"),
        (
            (*BLOCKLESS, "--masking.unit", "whole_word", "--masking.segmenter", "nope:f"),
            "--masking.segmenter nope:f: No module named 'nope'",
        ),
        (("--vocab-size", "100", "--seq-len", "1024"), "longer than the 512 positions"),
    ],
    ids=str,
)
def test_invalid_input_is_rejected_in_one_line(argv, answer, capsys):
    assert main(["estimate", "--config", "quickstart", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert answer in err
    assert err.startswith("elektron: ")
    assert err.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for what is not here")
def test_probe_of_missing_gpu_raises():
    with pytest.raises(ElektronError, match="measures this machine's CPU: remove --target gpu"):
        Estimator(tiny(probe=True, target="gpu"))


def test_read_size():
    assert read_size("16GB") == 16e9
    assert read_size("80 GiB") == 80 * 2**30
    assert read_size("1.5tb") == 1.5e12
