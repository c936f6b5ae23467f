"""What lies in a run's folder may be damaged in any way: one line, or the rest of the metrics."""

import json
import math
import shutil
from pathlib import Path

import pytest

from elektron.errors import ElektronError
from elektron.pretraining.pretrain import pretrain
from elektron.pretraining.run_folder import RunFolder
from elektron.verify import run_faults
from tests.pretraining.conftest import tiny_config
from tests.pretraining.test_train import metrics


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A run of 12 steps that is finished."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind": "train", "st',
        b"{}",
        b'{"kind": "train", "step": "1"}',
        b'{"kind": "train", "step": true}',
        b"[1]",
        b"\xff\xfe",
        b"[" * 100_000,
        b"",
    ],
)
def test_what_is_no_line_of_metrics_is_left_out(line: bytes, run: Path, blocks: Path) -> None:
    """At the end, as after a kill, and in the midst."""
    (run / "summary.json").unlink()
    path = run / "metrics.jsonl"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, line + b"\n", *rest, line]))
    pretrain(tiny_config(blocks, run))
    assert [entry["step"] for entry in metrics(run, "train")] == [4, 8, 12]
    assert len(metrics(run, "resumed")) == 1


def test_a_line_that_lacks_nothing_but_its_end_stays_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.log("alarm", {"step": 1, "message": "of two\u2028lines"})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text().removesuffix("\n"))
    folder.cut_metrics(1)
    folder.log("train", {"step": 2})
    assert [line["step"] for line in folder.lines()] == [1, 2]
    assert folder.lines()[0]["message"] == "of two\u2028lines"


@pytest.mark.parametrize("name", ["corpus.json", "summary.json"])
@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"[" * 100_000])
def test_a_small_file_that_is_damaged_is_one_line(
    name: str, content: bytes, run: Path, blocks: Path
) -> None:
    (run / name).write_bytes(content)
    with pytest.raises(ElektronError, match=rf"{name} is damaged .*: restore it"):
        pretrain(tiny_config(blocks, run))


def test_settings_without_any_are_no_settings(run: Path, blocks: Path) -> None:
    """Such as a loss of power may leave of them; they are not those that nobody changed."""
    for content in ("", "# nothing\n"):
        (run / "config.yaml").write_text(content)
        with pytest.raises(ElektronError, match=r"config.yaml has no settings"):
            pretrain(tiny_config(blocks, run))
        (fault,) = run_faults(run)
        assert "config.yaml has no settings" in fault


def test_numbers_that_json_has_no_word_for_are_null(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_json("summary.json", {"loss": math.inf, "more": {"of": [math.nan, 1.5]}})
    text = (tmp_path / "summary.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "loss": None,
        "more": {"of": [None, 1.5]},
    }
