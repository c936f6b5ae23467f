"""Metrics of sentence embeddings against hand-computed values and scipy."""

import numpy as np
import pytest
from scipy import stats

from elektron.finetuning.metrics.embedding import ranks, retrieval, similarity


def test_retrieval_equals_hand_computed_values():
    measure = retrieval([1, 2, 4, 20])
    assert measure() == {"mrr": pytest.approx((1 + 0.5 + 0.25 + 0.05) / 4), "recall@1": 0.25, "recall@10": 0.75}
    assert measure.compute(np.array([0, 0]))["mrr"] == 1.0


def test_similarity_equals_scipy():
    truth, cosines = [0.0, 1.0, 2.5, 5.0, 4.0], [0.1, 0.0, 0.4, 0.9, 0.95]
    found = similarity(truth, cosines)()
    assert found["spearman"] == pytest.approx(stats.spearmanr(truth, cosines).statistic)
    assert found["pearson"] == pytest.approx(stats.pearsonr(truth, cosines).statistic)
    assert similarity(truth, [0.5] * 5)() == {"spearman": 0.0, "pearson": 0.0}


def test_ranks_merge_equal_texts_and_count_ties_against_model():
    first = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    second = np.array([[1, 0], [1, 0], [1, 0]], np.float32)
    assert ranks(first, second, ["a", "b", "a"]) == [2, 2, 2]
    assert ranks(first, np.array([[1, 0], [0, 1], [1, 0]], np.float32), ["a", "b", "a"]) == [1, 1, 1]
