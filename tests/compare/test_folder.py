"""Whose folder it is."""

import json
from pathlib import Path

import pytest

from elektron.compare.folder import SETTINGS, open_folder
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.pretraining.config import PretrainConfig


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "comparison"


def probe(**changes: object) -> FinetuneConfig:
    settings: dict[str, object] = {
        "task": "regression",
        "model": "m",
        "train": ["t"],
        "out": Path(),
    }
    return FinetuneConfig(**(settings | changes))  # type: ignore[arg-type]


def test_the_same_command_and_one_with_more_are_let_in(out: Path, blocks: Path) -> None:
    open_folder(out, blocks, {"a": PretrainConfig(minutes=1)}, {"p": probe()})
    open_folder(out, blocks, {"a": PretrainConfig(minutes=9, seed=2)}, {"p": probe(seed=2)})
    open_folder(
        out, blocks, {"b": PretrainConfig(batch=3), "a": PretrainConfig()}, {"q": probe(epochs=3)}
    )
    kept = json.loads((out / SETTINGS).read_text())
    assert set(kept["variants"]) == {"a", "b"} and set(kept["probes"]) == {"p", "q"}
    assert kept["variants"]["b"]["batch"] == "3"


def test_what_changed_is_named(out: Path, blocks: Path) -> None:
    open_folder(out, blocks, {"a": PretrainConfig()}, {"p": probe()})
    with pytest.raises(ElektronError, match=r"another variant a \(batch 128 there, 64 here\)"):
        open_folder(out, blocks, {"a": PretrainConfig(batch=64)}, {"p": probe()})
    with pytest.raises(ElektronError, match=r"another probe p \(epochs null there, 3.0 here\)"):
        open_folder(out, blocks, {"a": PretrainConfig()}, {"p": probe(epochs=3)})


def test_what_is_tuned_may_change(out: Path, blocks: Path) -> None:
    open_folder(out, blocks, {"a": PretrainConfig()}, {})
    open_folder(out, blocks, {"a": PretrainConfig(batch=64)}, {}, tuned=["batch"])
    with pytest.raises(ElektronError, match="batch 128 there"):
        open_folder(out, blocks, {"a": PretrainConfig(batch=64)}, {})


def test_other_blocks_and_other_folders_are_refused(
    out: Path, blocks: Path, paper_blocks: Path
) -> None:
    open_folder(out, blocks, {"a": PretrainConfig()}, {})
    with pytest.raises(ElektronError, match="on other blocks than"):
        open_folder(out, paper_blocks, {"a": PretrainConfig()}, {})
    (out / SETTINGS).unlink()
    (out / "something").touch()
    with pytest.raises(ElektronError, match="exists and is no comparison's folder"):
        open_folder(out, blocks, {"a": PretrainConfig()}, {})
    with pytest.raises(ElektronError, match="holds no blocks"):
        open_folder(out, out, {"a": PretrainConfig()}, {})
