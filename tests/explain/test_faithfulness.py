"""Comprehensiveness and sufficiency against hand-computed values."""

import numpy as np
import pytest
import torch
from torch import nn

from elektron.explain.faithfulness import Faithfulness, ProbabilityDrop, faithfulness, strengths_without, summarize
from elektron.explain.reading import Answer, Reading, Word, log_odds

MASK = 0


class Sum(nn.Module):
    """A single logit: the sum of the token ids; [MASK] is 0."""

    def forward(self, input_ids):
        return input_ids.float().sum(1, keepdim=True)


def reading_of(ids):
    words = [Word(0, place, place + 1, (place,)) for place in range(len(ids))]
    return Reading({"input_ids": torch.tensor([ids])}, ("x" * len(ids),), words, False, {}, [])


NUMBER = Answer("number", (log_odds(lambda output: output),), is_number=True)
LABEL = Answer("label", (log_odds(lambda output: output),))


def test_strengths_without_masked_words():
    masked = [np.array([], dtype=int), np.array([1]), np.array([0, 2])]
    found = strengths_without(Sum(), reading_of([1, 2, 4]), NUMBER, masked, MASK)
    assert found.tolist() == [7, 5, 2]


def test_exact_importance_of_ten_words_matches_hand_computed_values():
    """1 %, 5 %, 10 % and 20 % of ten words are 1, 1, 1 and 2 of them, 50 % are 5."""
    ids = [1, 1, 1, 1, 1, 1, 1, 2, 3, 4]
    found = faithfulness(Sum(), reading_of(ids), NUMBER, ids, MASK, seed=0)
    assert found.ours.comprehensiveness == pytest.approx((3 * 4 + 7 + 11) / 5)
    assert found.ours.sufficiency == pytest.approx((3 * 12 + 9 + 5) / 5)
    assert found.random.comprehensiveness < found.ours.comprehensiveness
    assert found.random.sufficiency > found.ours.sufficiency


def test_label_faithfulness_is_drop_of_probability():
    ids = [2, -1]
    found = faithfulness(Sum(), reading_of(ids), LABEL, ids, MASK, seed=0)
    p = torch.tensor([1.0, -1.0, 2.0]).sigmoid().tolist()
    assert found.ours == pytest.approx((p[0] - p[1], p[0] - p[2]), abs=1e-6)


def test_number_faithfulness_counts_changes_in_both_directions():
    ids = [5, -9, 1]
    found = faithfulness(Sum(), reading_of(ids), NUMBER, ids, MASK, seed=0)
    assert found.ours.comprehensiveness == pytest.approx((4 * 9 + 4) / 5)


def test_equal_words_are_as_faithful_as_random_order():
    ids = [3] * 8
    found = faithfulness(Sum(), reading_of(ids), NUMBER, ids, MASK, seed=0)
    assert found.ours == pytest.approx(found.random)


def test_summary_weights_and_resamples_texts_equally():
    one, two = (
        Faithfulness(ProbabilityDrop(more, less), ProbabilityDrop(0.1, 0.4)) for more, less in ((0.5, 0.1), (0.3, 0.3))
    )
    summary = summarize([[one, one, one], [two]])
    assert summary["texts"] == 2
    assert summary["comprehensiveness"]["value"] == pytest.approx(0.4)
    assert summary["comprehensiveness"]["difference"] == pytest.approx(0.3)
    assert summary["sufficiency"]["difference"] == pytest.approx(-0.2)
    assert summary["comprehensiveness"]["interval"] is summary["better_than_random"] is None
    low, high = summarize([[one], [two]] * 10)["comprehensiveness"]["interval"]
    assert 0.2 < low < 0.3 < high < 0.4


@pytest.mark.parametrize(
    ("more", "less", "better"), [(0.2, 0.0, True), (0.0, -0.2, True), (0.0, 0.0, False), (0.2, 0.2, False)]
)
def test_better_than_random(more, less, better):
    noise = np.random.default_rng(0).normal(scale=0.01, size=(40, 2))
    texts = [
        [Faithfulness(ProbabilityDrop(0.5 + more + a, 0.5 + less + b), ProbabilityDrop(0.5, 0.5))] for a, b in noise
    ]
    assert summarize(texts)["better_than_random"] is better
