"""The GPU benchmark with tiny networks, which needs no GPU."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch


def test_recipes_are_measured_and_printed_as_table(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results" / "gpu.json"
    recipes = ["electra-small", "elektron-small"]
    arguments = ["gpu_check.py", "--tiny", "--recipes", *recipes, "--json", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    benchmark.main()
    result = json.loads(out.read_text(encoding="utf-8"))
    assert [row["recipe"] for row in result["rows"]] == recipes
    peak = result["product_flops_per_second"]
    for row in result["rows"]:
        assert (row["rows"], row["length"], row["micro_batch"]) == (2, 16, 2)
        assert row["tokens_per_second"] == pytest.approx(32 / row["step_seconds"])
        assert row["mfu"] == pytest.approx(row["flops_per_second"] / peak)
        assert row["mfu"] > 0
    assert {"torch", "transformers", "elektron"} <= result["versions"].keys()
    printed = capsys.readouterr().out
    table = printed[printed.index("MFU") :]
    assert all(recipe in table for recipe in recipes)


def test_micro_batches_are_halved_until_they_fit(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def timed_steps(recipe: str, config: Any, *_: object) -> int:
        tried.append(config.micro_batch_size)
        if config.micro_batch_size != 32:
            raise torch.OutOfMemoryError
        return config.micro_batch_size

    monkeypatch.setattr(benchmark, "timed_steps", timed_steps)
    assert benchmark.measure("electra-small", False, None, tiny=False) == 32
    assert tried == [None, 64, 32]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_exits_with_message(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_check.py"])
    with pytest.raises(SystemExit, match="no GPU"):
        benchmark.main()
