"""A run that is killed at any file operation or at a random time, and then resumed, ends with the same bits.

`killing` compares weights, optimizer state, exported models and metrics with an uninterrupted run.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FEW = 5


def trials(number: int, processes: tuple[int, ...], blocks: Path, folder: Path) -> list[dict[str, Any]]:
    """Kill and resume runs, and return a record of the plan and the outcome of each."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.pretraining.killing", str(blocks), str(folder)),
            *map(str, (number, 1, *processes)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr
    lines = list(map(json.loads, done.stdout.splitlines()))
    for line in lines[:: number + 1]:
        points = " ".join(line["points"])
        for point in ("manifest.json", "os.rename /checkpoints", "dropped", "summary", "generator"):
            assert point in points, "the points are those of saves, rotations and ends"
    assert len(lines) == len(processes) * (number + 1)
    return [line for line in lines if "points" not in line]


@pytest.mark.parametrize(
    ("number", "processes"),
    [(FEW, (1, 2)), pytest.param(250, (1,), marks=pytest.mark.slow), pytest.param(25, (2,), marks=pytest.mark.slow)],
)
def test_killed_and_resumed_run_equals_uninterrupted_run(number, processes, blocks, tmp_path):
    records = trials(number, processes, blocks, tmp_path)
    assert [record for record in records if record["end"] or record["differs"]] == []
    # A kill after a random time may come after the end of the run.
    assert sum(record["killed"] > 0 for record in records) > len(records) / 2
