"""Settings with several values each."""

from pathlib import Path

import pytest

from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.pretraining.config import PretrainConfig
from elektron.sweep import combinations, format_settings, parse_sweep, replace_settings


def test_values_have_the_types_of_their_fields():
    found = parse_sweep(PretrainConfig, ["family=electra,elektron", "optimizer.learning_rate=1e-3,null"], ())
    assert found == {"family": ["electra", "elektron"], "optimizer.learning_rate": [1e-3, None]}
    assert len(combinations(found)) == 4
    assert combinations({}) == [{}]


def test_hyphens_and_spaces_will_do():
    found = parse_sweep(FinetuneConfig, ["--layer-decay=0.7, 0.9"], ())
    assert found == {"layer_decay": [0.7, 0.9]}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["learning_rate"], "--tune takes NAME=VALUE,VALUE …, got 'learning_rate'"),
        (["learning_rate="], "--tune takes NAME=VALUE"),
        (["lerning_rate=1"], "did you mean learning_rate"),
        (["train=a,b"], "--tune: train cannot be varied"),
        (["epochs=three"], "--tune epochs must be a number, got 'three'"),
        (["epochs=1", "epochs=2"], "epochs is named twice"),
    ],
)
def test_what_cannot_be_varied_is_refused(items, message):
    with pytest.raises(ElektronError, match=message):
        parse_sweep(FinetuneConfig, items, {"train"}, "--tune")


def test_settings_are_replaced_also_inside_groups():
    config = FinetuneConfig(task="translation", model="m", train=["t"], out=Path("o"))
    changed = replace_settings(config, {"learning_rate": 0.1, "decoding.beams": 7})
    assert (changed.learning_rate, changed.decoding.beams) == (0.1, 7)
    assert (config.learning_rate, config.decoding.beams) == (None, None)
    assert format_settings({"learning_rate": 0.1, "decoding.beams": 7}) == ("learning_rate 0.1, decoding.beams 7")
