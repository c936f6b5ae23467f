"""The second act claims no more than its seeds bear out."""

import math

import pytest

from elektron.evidence.runs import Arm, SecondAct
from elektron.evidence.second_act import verdict


def act(pretrained: list[float], scratch: list[float]) -> SecondAct:
    arms = [Arm(a, math.fsum(a) / len(a), max(a) - min(a)) for a in (pretrained, scratch)]
    return SecondAct("task", ["a", "b"], 500, 2500, 0.5, *arms)


@pytest.mark.parametrize(
    ("pretrained", "scratch", "finding"),
    [
        ([0.66, 0.67, 0.68], [0.62, 0.63, 0.64], "Pre-training is ahead by 4.0 points"),
        ([0.62, 0.63, 0.64], [0.66, 0.67, 0.68], "Pre-training is behind by 4.0 points"),
        ([0.66, 0.67, 0.63], [0.62, 0.63, 0.64], "Not resolved, seeds overlap"),
        ([0.64, 0.64, 0.64], [0.64, 0.64, 0.64], "Not resolved"),
        ([0.67, 0.68], [0.62, 0.63], "Not resolved, fewer than 3 seeds: 0.675 against 0.625"),
    ],
)
def test_verdict(pretrained: list[float], scratch: list[float], finding: str) -> None:
    assert verdict(act(pretrained, scratch)).startswith(finding)


def test_verdict_states_what_the_test_set_leaves_open() -> None:
    # sqrt(0.65 · 0.35 / 2500) = 0.0095
    said = verdict(act([0.65, 0.65, 0.65], [0.6, 0.6, 0.6]))
    assert "2,500 test documents" in said and "± 1.0 points" in said
