"""Metrics and examples of held-out rows, with hand-computed values."""

import numpy as np
import pytest

from elektron.pretraining.evaluation import example_spans, precision_and_recall

PROBABILITIES = np.array([0.9, 0.6, 0.4, 0.2])
REPLACED = np.array([True, False, True, False])


@pytest.mark.parametrize(
    ("threshold", "precision", "recall"), [(0.5, 1 / 2, 1 / 2), (0.3, 2 / 3, 1.0), (0.7, 1.0, 1 / 2), (0.95, None, 0.0)]
)
def test_precision_and_recall(threshold, precision, recall):
    assert precision_and_recall(PROBABILITIES, REPLACED, threshold) == (precision, recall)


def test_recall_is_undefined_where_nothing_was_replaced():
    assert precision_and_recall(PROBABILITIES, REPLACED & False, 0.5) == (0.0, None)


@pytest.mark.parametrize(
    ("tokens", "spans"),
    [
        (["a"] * 60, [(0, 60)]),
        (["a"] * 10, [(0, 10)]),
        ([], []),
        # Longer texts are split at the last sentence end, else between words, else anywhere.
        (["a"] * 29 + ["."] + ["a"] * 40, [(0, 30), (30, 70)]),
        (["a"] * 59 + ["##b"] * 4, [(0, 58)]),
        (["##b"] * 130, [(0, 60), (60, 120)]),
        (["a"] * 3 + ["."] + ["a"] * 76, [(0, 60), (60, 80)]),
    ],
)
def test_example_spans_split_long_texts(tokens, spans):
    assert example_spans(tokens) == spans
