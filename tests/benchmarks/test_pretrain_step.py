"""The benchmark of a step, in small."""

import importlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, without the compiled side, which would take longer than all the rest."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    module = importlib.import_module("pretrain_step")
    monkeypatch.delitem(module.SIDES, "elektron, compiled")
    return module


def test_every_side_is_measured_and_compared(
    benchmark: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class SideInThisProcess:
        """Importing torch in a process for each side would take ten times as long as the steps."""

        def __init__(self, name: str, shape: object) -> None:
            self.step = benchmark.make_step(name, shape, tmp_path / name)
            self.first_step_seconds = self.seconds(1)

        def seconds(self, steps: int) -> float:
            return benchmark.time_steps(self.step, steps)

        def close(self) -> None:
            """Nothing to end."""

    out = tmp_path / "results" / "step.json"
    sizes = "--layers 1 --rows 2 --length 16 --repetitions 2 --steps 1 --json"
    monkeypatch.setattr(sys, "argv", ["pretrain_step.py", *sizes.split(), str(out)])
    monkeypatch.setattr(benchmark, "Side", SideInThisProcess)
    benchmark.main()

    result = json.loads(out.read_text(encoding="utf-8"))
    sides = {"elektron", "loop", "loop, few samples"}
    sides |= {"electra-pytorch"} if find_spec("electra_pytorch") else set()
    speeds = result["tokens_per_second"]
    assert speeds.keys() == sides
    assert all(len(every) == 2 and min(every) > 0 for every in speeds.values())
    assert result["shape"] == {"layers": 1, "rows": 2, "length": 16, "vocab_size": 30_522}
    assert {"torch", "transformers", "elektron"} <= result["versions"].keys()
    ratios = sorted(
        ours / loop for ours, loop in zip(speeds["elektron"], speeds["loop"], strict=True)
    )
    assert result["speedup"].keys() == sides - {"elektron"}
    assert result["speedup"]["loop"] == pytest.approx(
        {"median": sum(ratios) / 2, "min": ratios[0], "max": ratios[1]}
    )
    printed = capsys.readouterr().out
    assert all(side in printed for side in sides)


def test_a_side_takes_its_turns_in_a_process_of_its_own(benchmark: ModuleType) -> None:
    side = benchmark.Side("loop", benchmark.Shape(layers=1, rows=2, length=16))
    assert side.first_step_seconds > 0
    assert side.seconds(1) > 0
    assert side.seconds(2) > 0
    side.close()
    assert side.process.exitcode == 0


def test_sides_train_the_same_networks(benchmark: ModuleType, tmp_path: Path) -> None:
    shape = benchmark.Shape(layers=2, rows=2, length=16)
    config = shape.config(tmp_path / "run")
    pair = benchmark.networks(config, benchmark.random_blocks(shape, tmp_path / "blocks"))
    discriminator = pair.discriminator.config
    assert discriminator.model_type == "electra"
    assert discriminator.num_hidden_layers == 2
    assert discriminator.hidden_dropout_prob == discriminator.attention_probs_dropout_prob == 0.1
    assert pair.generator.config.hidden_size * 4 == discriminator.hidden_size == 256
    embedding = pair.discriminator.get_input_embeddings().weight
    assert pair.generator.generator_lm_head.weight is embedding
