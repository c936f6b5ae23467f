"""The goodput benchmark: steps trained, steps redone and time to start of killed runs."""

import argparse
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

# A stand-in run: it starts in 0.2 s, takes 10 ms per step, logs every fifth step and saves every tenth.
STAND_IN = """
import json, signal, sys, time
from pathlib import Path
out = Path(sys.argv[1])
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
time.sleep(0.2)
(out / "checkpoints").mkdir(parents=True, exist_ok=True)
step = max([int(p.name[5:]) for p in (out / "checkpoints").iterdir()], default=0)
path = out / "metrics.jsonl"
lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
lines = [line for line in lines if line["step"] <= step]
if step:
    lines.append({"kind": "resumed", "step": step})
path.write_text("".join(json.dumps(line) + "\\n" for line in lines))
while not stop:
    time.sleep(0.01)
    step += 1
    if step % 5 == 0:
        line = {"kind": "train", "step": step, "tokens": 7 * step, "tokens_per_second": 700.0}
        with path.open("a") as file:
            file.write(json.dumps(line) + "\\n")
    if step % 10 == 0 or stop:
        (out / "checkpoints" / f"step-{step:08d}").mkdir(exist_ok=True)
(out / "checkpoints" / f"step-{step:08d}").mkdir(exist_ok=True)
"""


def test_killed_run_is_restarted_and_accounted_for(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script, out = tmp_path / "run.py", tmp_path / "run"
    script.write_text(STAND_IN)
    options = argparse.Namespace(kills_per_hour=3600.0, minutes=4 / 60, seed=1)
    seen = benchmark.supervise([sys.executable, str(script), str(out)], out, options)
    assert seen.kills >= 1
    assert seen.seconds_of_a_step == pytest.approx(0.01)
    last = max(int(path.name[5:]) for path in (out / "checkpoints").iterdir())
    assert seen.steps == last > 0
    assert seen.goodput == pytest.approx(last * 0.01 / seen.seconds)
    assert seen.starting_seconds > 0.2 * seen.kills / 2
    assert 0 <= seen.steps_redone <= 10 * seen.kills
    benchmark.show(seen, 3600.0)
    assert f"goodput: {seen.goodput:.1%}" in capsys.readouterr().out


def test_incomplete_line_is_ignored(benchmark: ModuleType) -> None:
    line = {"kind": "train", "step": 5, "tokens": 50, "tokens_per_second": 100.0}
    found = benchmark.parsed([json.dumps(line), '{"kind": "tra'])
    assert [record["seconds_of_a_step"] for record in found] == [0.1]
