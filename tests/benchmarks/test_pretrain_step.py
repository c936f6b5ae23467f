"""The benchmark of a step, in small."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "pretrain_step.py"


def test_every_side_is_measured_and_compared(tmp_path: Path) -> None:
    out = tmp_path / "results" / "step.json"
    sizes = ["--layers", "1", "--rows", "2", "--length", "16", "--repetitions", "2", "--steps", "1"]
    # Without a compiler in the PATH nothing is compiled, which would take longer than the rest.
    run = subprocess.run(
        [sys.executable, SCRIPT, *sizes, "--json", out],
        env=os.environ | {"PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    result = json.loads(out.read_text(encoding="utf-8"))
    sides = {"elektron", "elektron, eager", "loop", "loop, few samples"}
    sides |= {"electra-pytorch"} if find_spec("electra_pytorch") else set()
    speeds = result["tokens_per_second"]
    assert speeds.keys() == sides
    assert all(len(every) == 2 and min(every) > 0 for every in speeds.values())
    assert result["shape"] == {"layers": 1, "rows": 2, "length": 16, "vocab_size": 30_522}
    assert result["threads"] == 1
    assert {"torch", "transformers", "elektron"} <= result["versions"].keys()

    ratios = sorted(
        ours / loop for ours, loop in zip(speeds["elektron"], speeds["loop"], strict=True)
    )
    assert result["speedup"].keys() == sides - {"elektron"}
    assert result["speedup"]["loop"] == pytest.approx(
        {"median": sum(ratios) / 2, "min": ratios[0], "max": ratios[1]}
    )
    for side in sides:
        assert side in run.stdout
