"""Which of the tried values is taken."""

import pytest

from elektron.compare.compare import choose, mean_ranks
from elektron.errors import ElektronError
from elektron.reporting.variants_report import ProbeResult, VariantResult, VariantRun


def trial(rate: float, diverged: str | None = None, **figures: float) -> VariantRun:
    probes = {
        # What is reported says the opposite of what choices go by.
        name: ProbeResult("", "regression", "pearson", "test", 9, -value, None, value, None)
        for name, value in figures.items()
    }
    return VariantRun("v", {"lr": rate}, "1m", 1, "f", diverged=diverged, probes=probes)


def test_the_best_mean_rank_by_the_rows_that_choices_go_by() -> None:
    tried = [trial(1, a=0.6, b=0.9), trial(2, a=0.8, b=0.8), trial(3, a=0.7, b=0.1)]
    ranks = mean_ranks(tried, ["a", "b"])
    assert ranks == [2, 1.5, 2.5]
    assert choose(VariantResult("v", {}), tried, ["a", "b"]).chosen == {"lr": 2}


def test_equals_share_the_mean_of_their_places_and_the_first_is_taken() -> None:
    tried = [trial(1, a=0.7), trial(2, a=0.8), trial(3, a=0.8)]
    ranks = mean_ranks(tried, ["a"])
    assert ranks == [3, 1.5, 1.5]
    assert choose(VariantResult("v", {}), tried, ["a"]).chosen == {"lr": 2}


def test_a_value_that_diverges_is_last_and_no_choice() -> None:
    tried = [trial(1, a=-0.3), trial(9, diverged="no longer finite")]
    ranks = mean_ranks(tried, ["a"])
    assert ranks == [1, 2]
    assert choose(VariantResult("v", {}), tried, ["a"]).chosen == {"lr": 1}
    with pytest.raises(ElektronError, match=r"variant v: .*--tune"):
        choose(VariantResult("v", {}), tried[1:], ["a"])
