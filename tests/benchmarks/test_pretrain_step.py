"""The benchmark of a training step, with tiny networks."""

import importlib
import json
import multiprocessing
import sys
from pathlib import Path
from statistics import median
from types import ModuleType

import pytest
import torch

from elektron.pretraining.config import PretrainConfig

ELEKTRON_SIDES = {"elektron-small", "elektron-small, eager"}


@pytest.fixture(autouse=True)
def eager(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure without compilation, which would take longer than the tests."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setitem(benchmark.SIDES, "elektron", benchmark.SIDES["elektron, eager"])
    monkeypatch.setitem(benchmark.SIDES, "elektron-small", benchmark.SIDES["elektron-small, eager"])


@pytest.fixture
def sides(benchmark: ModuleType) -> ModuleType:
    return importlib.import_module("pretrain_sides")


def test_every_side_is_measured_and_compared(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class SideInThisProcess:
        """A side without its own process, because importing torch takes ten times as long as the steps."""

        def __init__(self, make: object, name: str, shape: object, folder: Path) -> None:
            self.training = benchmark.make_training(name, shape, folder)
            self.run(0)
            self.ready = self.training.facts()

        def run(self, seconds: float) -> float:
            return benchmark.step_seconds(self.training.step, 1)

        def close(self) -> None:
            """Nothing to end."""

    out = tmp_path / "results" / "step.json"
    sizes = "--layers 1 --rows 2 --length 16 --rounds 2 --seconds 0 --json"
    monkeypatch.setattr(sys, "argv", ["pretrain_step.py", *sizes.split(), str(out)])
    monkeypatch.setattr(benchmark, "Side", SideInThisProcess)
    monkeypatch.setitem(benchmark.PACKAGES, "txtai", "no_such_package.models")
    benchmark.main()

    printed = capsys.readouterr().out
    assert "no_such_package.models cannot be imported" in printed
    result = json.loads(out.read_text(encoding="utf-8"))
    sides = result["sides"]
    packages = set(benchmark.PACKAGES)
    assert sides.keys() - packages == benchmark.SIDES.keys() - packages
    assert "txtai" not in sides
    speeds = {name: side["tokens_per_second"] for name, side in sides.items()}
    assert all(len(every) == 2 and min(every) > 0 for every in speeds.values())
    assert result["shape"] == {"layers": 1, "rows": 2, "length": 16, "vocab_size": 30_522}
    assert {"torch", "transformers", "elektron"} <= result["versions"].keys()
    ratios = [ours / loop for ours, loop in zip(speeds["elektron"], speeds["loop"], strict=True)]
    assert result["speedup"].keys() == sides.keys() - ELEKTRON_SIDES - {"elektron"}
    assert result["speedup"]["loop"] == pytest.approx(
        {"median": median(ratios), "min": min(ratios), "max": max(ratios)}
    )
    side = sides["elektron-small"]
    per_token = side["flops"] / 32
    peak = max(s["peak_flops"] for s in sides.values() if s["precision"] == side["precision"])
    assert result["mfu"].keys() == {"elektron", "elektron, eager"} | ELEKTRON_SIDES
    assert result["mfu"]["elektron-small"]["max"] == pytest.approx(per_token * max(side["tokens_per_second"]) / peak)
    assert all(side in printed for side in sides)


def test_a_side_is_measured_in_its_own_process(benchmark: ModuleType, tmp_path: Path) -> None:
    shape = benchmark.Shape(layers=1, rows=2, length=16)
    side = benchmark.Side(benchmark.start, "loop", shape, tmp_path / "loop")
    assert side.ready["first_step_seconds"] > 0
    assert side.run(0) > 0
    assert side.run(0.01) > 0
    side.close()
    assert not multiprocessing.active_children()


def test_recipe_at_full_size_is_compiled(tmp_path: Path, sides: ModuleType) -> None:
    shape = sides.Shape(layers=12, rows=16, length=128)
    config: PretrainConfig = shape.config("electra-small", tmp_path / "run")
    store = sides.random_blocks(shape, tmp_path / "blocks")
    assert sides.elektron(shape, config, store).compiled


def test_networks_match_electra_small(sides: ModuleType, tmp_path: Path) -> None:
    shape = sides.Shape(layers=2, rows=2, length=16)
    config = shape.config("electra-small", tmp_path / "run")
    pair = sides.pair_for(config, sides.random_blocks(shape, tmp_path / "blocks").manifest)
    discriminator = pair.discriminator.config
    assert discriminator.model_type == "electra"
    assert discriminator.num_hidden_layers == 2
    assert discriminator.hidden_dropout_prob == discriminator.attention_probs_dropout_prob == 0.1
    assert pair.generator.config.hidden_size * 4 == discriminator.hidden_size == 256
    embedding = pair.discriminator.get_input_embeddings().weight
    assert pair.generator.generator_lm_head.weight is embedding


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_our_trainer_and_other_sides_train_equal_networks(sides: ModuleType, tmp_path: Path, attention: str) -> None:
    """Names, sizes and sharing of parameters are equal; the attention implementation is the requested one."""
    shape = sides.Shape(layers=2, rows=2, length=16)
    config = shape.config("electra-small", tmp_path / "run")
    store = sides.random_blocks(shape, tmp_path / "blocks")
    trained = sides.new_trainer(config, store).pair
    ours = torch.nn.ModuleList([trained.generator, trained.discriminator])
    theirs = torch.nn.ModuleList(sides.transformers_networks(shape, config, store, attention=attention))
    assert [type(network) for network in ours] == [type(network) for network in theirs]
    for network in theirs:
        assert network.config._attn_implementation == attention
    sizes = [{name: value.shape for name, value in both.named_parameters()} for both in (ours, theirs)]
    assert sizes[0] == sizes[1]
    assert theirs[0].get_input_embeddings().weight is theirs[1].get_input_embeddings().weight
