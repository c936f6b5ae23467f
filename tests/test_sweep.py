"""Settings with several values each."""

from pathlib import Path

import pytest

from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.pretraining.config import PretrainConfig
from elektron.sweep import combinations, in_words, values_to_try, with_settings


def test_values_have_the_types_of_their_fields():
    found = values_to_try(
        PretrainConfig, ["family=electra,elektron", "optimizer.learning_rate=1e-3,null"], ()
    )
    assert found == {"family": ["electra", "elektron"], "optimizer.learning_rate": [1e-3, None]}
    assert len(combinations(found)) == 4
    assert combinations({}) == [{}]


def test_hyphens_and_spaces_will_do():
    found = values_to_try(FinetuneConfig, ["--layer-decay=0.7, 0.9"], ())
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
        values_to_try(FinetuneConfig, items, {"train"}, "--tune")


def test_settings_are_replaced_also_inside_groups():
    config = FinetuneConfig(task="translation", model="m", train=["t"], out=Path("o"))
    changed = with_settings(config, {"learning_rate": 0.1, "decoding.beams": 7})
    assert (changed.learning_rate, changed.decoding.beams) == (0.1, 7)
    assert (config.learning_rate, config.decoding.beams) == (None, None)
    assert in_words({"learning_rate": 0.1, "decoding.beams": 7}) == (
        "learning_rate 0.1, decoding.beams 7"
    )
