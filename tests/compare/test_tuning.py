"""Which of the tried values is taken."""

from typing import Any

import pytest

from elektron.compare.tuning import best, ranks, trials
from elektron.errors import ElektronError


def result(rate: float, diverged: bool = False, **figures: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "tuned": {"lr": rate},
        # What is reported says the opposite of what choices go by.
        "probes": {name: {"eval": value, "value": -value} for name, value in figures.items()},
    }
    return found | ({"diverged": "no longer finite"} if diverged else {})


def test_ranks() -> None:
    assert ranks([0.7, 0.9, 0.8]) == [3, 1, 2]
    assert ranks([0.7, 0.7, 0.8, None]) == [2.5, 2.5, 1, 4]


def test_the_best_mean_rank_by_the_rows_that_choices_go_by() -> None:
    found = trials(
        [result(1, a=0.6, b=0.9), result(2, a=0.8, b=0.8), result(3, a=0.7, b=0.1)], ["a", "b"]
    )
    assert [trial.mean_rank for trial in found] == [2, 1.5, 2.5]
    assert best("v", found).settings == {"lr": 2}


def test_a_value_that_diverges_is_last_and_no_choice() -> None:
    found = trials([result(1, a=-0.3), result(9, diverged=True)], ["a"])
    assert [trial.mean_rank for trial in found] == [1, 2]
    assert best("v", found).settings == {"lr": 1}
    with pytest.raises(ElektronError, match="variant v: the loss was not finite with any"):
        best("v", found[1:])
