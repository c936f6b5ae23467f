"""The rule that decides whether one side of a comparison is ahead of the other."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elektron.reporting.seed_comparison import (
    MIN_SEEDS,
    Spread,
    compare_seeds,
    half_width,
    pretraining_gain_sentence,
    separation_odds,
)

NARROW = (0.49, 0.51)
WIDE = (0.3, 0.7)
VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("base", "other", "interval", "outcome"),
    [
        ([0.70, 0.71, 0.72], [0.80, 0.81, 0.82], NARROW, "ahead"),
        ([0.80, 0.81, 0.82], [0.70, 0.71, 0.72], NARROW, "behind"),
        ([0.70, 0.71, 0.80], [0.80, 0.81, 0.82], NARROW, "not resolved: seeds overlap"),
        ([0.70, 0.71, 0.72], [0.80, 0.81, 0.82], WIDE, "not resolved: within the interval"),
        ([0.70], [0.99], NARROW, "not resolved: fewer than 3 seeds"),
        ([0.70, 0.71, 0.72], [0.99, 0.98], NARROW, "not resolved: fewer than 3 seeds"),
        ([0.70, 0.71, 0.72], [0.80, 0.81, 0.82], None, "not resolved: within the interval"),
    ],
)
def test_outcome_requires_separated_seeds_and_gap_beyond_interval(base, other, interval, outcome):
    intervals = [interval] * (len(base) + len(other))
    assert str(compare_seeds(base, other, intervals)) == outcome


def test_less_is_better():
    assert str(compare_seeds([3.0, 3.1, 3.2], [2.0, 2.1, 2.2], [NARROW] * 6, less_is_better=True)) == "ahead"
    assert str(compare_seeds([2.0, 2.1, 2.2], [3.0, 3.1, 3.2], [NARROW] * 6, less_is_better=True)) == "behind"


def test_wider_of_two_intervals_decides():
    base, other = [0.70, 0.71, 0.72], [0.80, 0.81, 0.82]
    assert str(compare_seeds(base, other)) == "ahead"
    for intervals in ([NARROW] * 3 + [WIDE] * 3, [WIDE] * 3 + [NARROW] * 3):
        assert str(compare_seeds(base, other, intervals)) == "not resolved: within the interval"
    assert half_width([NARROW, WIDE, NARROW, None]) == pytest.approx(0.01)


@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_separation_odds_equal_enumeration(seeds):
    places = range(2 * seeds)
    apart = sum(
        max(side) < min(set(places) - set(side)) or min(side) > max(set(places) - set(side))
        for side in itertools.combinations(places, seeds)
    )
    every = len(list(itertools.combinations(places, seeds)))
    assert separation_odds(seeds) == every // apart


@given(VALUES, VALUES)
def test_gain_is_claimed_only_if_seeds_do_not_overlap(pretrained: list[float], scratch: list[float]) -> None:
    sentence = pretraining_gain_sentence(Spread(pretrained), Spread(scratch), format_value=str, format_difference=str)
    enough = min(len(pretrained), len(scratch)) >= MIN_SEEDS
    assert ("ahead" in sentence) == (enough and min(pretrained) > max(scratch))
    assert ("behind" in sentence) == (enough and max(pretrained) < min(scratch))
    assert ("Not resolved" in sentence) == ("ahead" not in sentence and "behind" not in sentence)


@pytest.mark.parametrize(
    ("pretrained", "scratch", "begins"),
    [
        ([0.66, 0.67, 0.68], [0.62, 0.63, 0.64], "Pre-training is ahead by 0.04 (0.67 against 0.63)"),
        ([0.62, 0.63, 0.64], [0.66, 0.67, 0.68], "Pre-training is behind by 0.04 (0.63 against 0.67)"),
        ([0.66, 0.67, 0.63], [0.62, 0.63, 0.64], "Not resolved, seeds overlap: 0.66 against 0.63"),
        ([0.67, 0.67], [0.62, 0.62], "Not resolved, fewer than 3 seeds: 0.67 against 0.62"),
    ],
)
def test_pretraining_gain_sentence(pretrained: list[float], scratch: list[float], begins: str) -> None:
    sentence = pretraining_gain_sentence(Spread(pretrained), Spread(scratch), *["{:.2f}".format] * 2)
    assert sentence.startswith(begins)
