"""The README's first command, in small: `elektron quickstart --steps 20`."""

import json
import subprocess
import sys


def test_the_whole_way_in_small(tmp_path):
    command = [sys.executable, "-m", "elektron", "quickstart", "--steps", "20", "--out", "quick"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "quick"
    stages = {"tokenizer", "blocks", "run", "labelled", "downstream", "report.html"}
    assert stages == {path.name for path in out.iterdir()}
    summary = json.loads((out / "run/summary.json").read_text())
    assert summary["steps"] == 20
    check = json.loads((out / "run/downstream.json").read_text())
    assert len(check["classes"]) == 7
    assert check["train_documents"] == 500
    for side in ("pretrained", "scratch"):
        assert len(check[side]["accuracies"]) == 3
    assert (out / "downstream/report.html").is_file()
    page = (out / "report.html").read_text()
    assert "Was pre-training worth it?" in page
    assert "Traceback" not in done.stderr
    assert "report.html" in done.stdout

    before = (out / "run/summary.json").read_bytes()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert (out / "run/summary.json").read_bytes() == before
