"""Whose folder it is."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from elektron.compare.compare import SETTINGS
from elektron.compare.compare import open_folder as open_folder_of
from elektron.compare.probes import Probe
from elektron.compare.runs import Run
from elektron.compare.variants import Budget
from elektron.corpus.blocks import BlockStore
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


def open_folder(
    out: Path,
    blocks: Path,
    variants: dict[str, PretrainConfig],
    probes: dict[str, FinetuneConfig],
    tuned: Sequence[str] = (),
) -> None:
    budget = Budget("1m", "time", 60)
    open_folder_of(
        out,
        BlockStore.open(blocks),
        [Run(out, out, name, {}, budget, 1, config, {}) for name, config in variants.items()],
        [Probe(name, "", config) for name, config in probes.items()],
        tuned,
    )


def test_the_same_command_and_one_with_more_are_let_in(out: Path, blocks: Path) -> None:
    open_folder(out, blocks, {"a": PretrainConfig(minutes=1)}, {"p": probe()})
    open_folder(out, blocks, {"a": PretrainConfig(minutes=9, seed=2)}, {"p": probe(seed=2)})
    open_folder(
        out,
        blocks,
        {"b": PretrainConfig(batch_size=3), "a": PretrainConfig()},
        {"q": probe(epochs=3)},
    )
    kept = json.loads((out / SETTINGS).read_text())
    assert set(kept["variants"]) == {"a", "b"} and set(kept["probes"]) == {"p", "q"}
    assert kept["variants"]["b"]["batch_size"] == "3"


def test_what_changed_is_named(out: Path, blocks: Path) -> None:
    open_folder(out, blocks, {"a": PretrainConfig()}, {"p": probe()})
    with pytest.raises(ElektronError, match=r"another variant a \(batch_size 128 there, 64 here\)"):
        open_folder(out, blocks, {"a": PretrainConfig(batch_size=64)}, {"p": probe()})
    with pytest.raises(ElektronError, match=r"another probe p \(epochs null there, 3.0 here\)"):
        open_folder(out, blocks, {"a": PretrainConfig()}, {"p": probe(epochs=3)})


def test_what_is_tuned_may_change(out: Path, blocks: Path) -> None:
    open_folder(out, blocks, {"a": PretrainConfig()}, {})
    open_folder(out, blocks, {"a": PretrainConfig(batch_size=64)}, {}, tuned=["batch_size"])
    with pytest.raises(ElektronError, match="batch_size 128 there"):
        open_folder(out, blocks, {"a": PretrainConfig(batch_size=64)}, {})


def test_other_blocks_and_other_folders_are_refused(
    out: Path, blocks: Path, paper_blocks: Path
) -> None:
    open_folder(out, blocks, {"a": PretrainConfig()}, {})
    with pytest.raises(ElektronError, match="a comparison on other blocks"):
        open_folder(out, paper_blocks, {"a": PretrainConfig()}, {})
    (out / SETTINGS).unlink()
    (out / "something").touch()
    with pytest.raises(ElektronError, match="exists and is not a comparison's folder"):
        open_folder(out, blocks, {"a": PretrainConfig()}, {})
