"""Sweeps: settings with several values each."""

from pathlib import Path

import pytest

from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.pretraining.config import PretrainConfig
from elektron.sweep import combinations, format_settings, parse_sweep, replace_settings


def test_parse_sweep_converts_values_to_field_types():
    found = parse_sweep(PretrainConfig, ["family=electra,elektron", "optimizer.learning_rate=1e-3,null"], ())
    assert found == {"family": ["electra", "elektron"], "optimizer.learning_rate": [1e-3, None]}
    assert len(combinations(found)) == 4
    assert combinations({}) == [{}]


def test_parse_sweep_accepts_hyphens_and_spaces():
    found = parse_sweep(FinetuneConfig, ["--layer-decay=0.7, 0.9"], ())
    assert found == {"layer_decay": [0.7, 0.9]}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["learning_rate"], "--sweep takes NAME=VALUE,VALUE …, got 'learning_rate'"),
        (["learning_rate="], "--sweep takes NAME=VALUE"),
        (["lerning_rate=1"], "did you mean learning_rate"),
        (["train=a,b"], "--sweep: train cannot be varied"),
        (["epochs=three"], "--sweep epochs must be a number, got 'three'"),
        (["epochs=1", "epochs=2"], "epochs is given twice"),
    ],
)
def test_invalid_sweep_raises(items, message):
    with pytest.raises(ElektronError, match=message):
        parse_sweep(FinetuneConfig, items, {"train"})


def test_replace_settings_changes_nested_settings():
    config = FinetuneConfig(task="translation", model="m", train=["t"], out=Path("o"))
    changed = replace_settings(config, {"learning_rate": 0.1, "decoding.beams": 7})
    assert (changed.learning_rate, changed.decoding.beams) == (0.1, 7)
    assert (config.learning_rate, config.decoding.beams) == (None, None)
    assert format_settings({"learning_rate": 0.1, "decoding.beams": 7}) == ("learning_rate 0.1, decoding.beams 7")
