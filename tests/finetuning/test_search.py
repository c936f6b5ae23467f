from pathlib import Path

import pytest

from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.search import combinations, in_words, with_settings


def test_all_combinations_with_the_types_of_the_settings():
    found = combinations(["learning_rate=1e-4,3e-4", "epochs=3", "decoding.beams=1,4"])
    assert len(found) == 4
    assert found[0] == {"learning_rate": 1e-4, "epochs": 3.0, "decoding.beams": 1}
    assert found[-1] == {"learning_rate": 3e-4, "epochs": 3.0, "decoding.beams": 4}


def test_nothing_to_search_is_one_run_as_configured():
    assert combinations([]) == [{}]


def test_hyphens_and_spaces_will_do():
    assert combinations(["--layer-decay=0.7, 0.9"]) == [{"layer_decay": 0.7}, {"layer_decay": 0.9}]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("learning_rate", "NAME=VALUE"),
        ("learning_rate=", "NAME=VALUE"),
        ("lerning_rate=1", "did you mean learning_rate"),
        ("train=a,b", "cannot be varied"),
        ("epochs=three", "a number"),
    ],
)
def test_what_cannot_be_searched_is_refused(item, message):
    with pytest.raises(ElektronError, match=message):
        combinations([item])


def test_settings_are_replaced_also_inside_groups():
    config = FinetuneConfig(task="translation", model="m", train=["t"], out=Path("o"))
    changed = with_settings(config, {"learning_rate": 0.1, "decoding.beams": 7})
    assert (changed.learning_rate, changed.decoding.beams) == (0.1, 7)
    assert (config.learning_rate, config.decoding.beams) == (None, None)
    assert in_words({"learning_rate": 0.1, "decoding.beams": 7}) == (
        "learning_rate 0.1, decoding.beams 7"
    )
