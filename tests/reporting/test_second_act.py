"""The second act claims no more than its seeds bear out."""

import pytest

from elektron.reporting.runs import SecondAct
from elektron.reporting.second_act import verdict
from elektron.reporting.worth import Spread


def act(pretrained: list[float], scratch: list[float]) -> SecondAct:
    sides = map(Spread, (pretrained, scratch))
    return SecondAct("task", ["a", "b"], 500, 2500, 0.5, *sides)


@pytest.mark.parametrize(
    ("pretrained", "scratch", "finding"),
    [
        ([0.66, 0.67, 0.68], [0.62, 0.63, 0.64], "Pre-training is ahead by 4.0 points"),
        ([0.62, 0.63, 0.64], [0.66, 0.67, 0.68], "Pre-training is behind by 4.0 points"),
        ([0.66, 0.67, 0.63], [0.62, 0.63, 0.64], "Not resolved, seeds overlap"),
        ([0.64, 0.64, 0.64], [0.64, 0.64, 0.64], "Not resolved"),
        ([0.67, 0.68], [0.62, 0.63], "Not resolved, fewer than 3 seeds: 67.5 % against 62.5 %"),
    ],
)
def test_verdict(pretrained: list[float], scratch: list[float], finding: str) -> None:
    assert verdict(act(pretrained, scratch)).startswith(finding)


@pytest.mark.parametrize(("accuracy", "learned"), [(0.51, False), (0.49, False), (0.53, True)])
def test_verdict_compares_with_the_commonest_class(accuracy: float, learned: bool) -> None:
    said = verdict(act([accuracy] * 3, [0.5] * 3))
    assert ("not clearly better than always predicting" in said) is not learned


def test_verdict_states_what_the_test_set_leaves_open() -> None:
    # sqrt(0.65 · 0.35 / 2500) = 0.0095
    said = verdict(act([0.65, 0.65, 0.65], [0.6, 0.6, 0.6]))
    assert "2,500 test documents" in said and "± 1.0 points" in said
