"""Order, masks and samples depend only on (seed, step, row)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elektron.pretraining.randomness import permute, row_uniforms, rows_from, step_seed


@given(size=st.integers(1, 3000), key=st.integers(0, 2**63))
def test_permute_is_a_permutation(size, key):
    permuted = permute(np.arange(size, dtype=np.uint64), size, key)
    assert sorted(permuted.tolist()) == list(range(size))


def test_permutations_differ_by_key_and_have_few_fixed_points():
    indices = np.arange(10_000, dtype=np.uint64)
    first, second = permute(indices, 10_000, 1), permute(indices, 10_000, 2)
    assert (first == second).sum() < 20
    assert (first == indices).sum() < 20
    # In a random order, neighbours differ by a third of the size on average.
    assert abs(np.abs(np.diff(first.astype(np.int64))).mean() - 3333) < 150


def test_every_row_occurs_once_per_epoch():
    taken = np.concatenate([rows_from(step * 8, 8, 20, seed=5) for step in range(5)])
    assert sorted(taken[:20].tolist()) == list(range(20))
    assert sorted(taken[20:].tolist()) == list(range(20))
    assert taken[:20].tolist() != taken[20:].tolist()


def test_a_batch_larger_than_the_corpus_repeats_epochs():
    assert np.bincount(rows_from(0, 12, 4, seed=1)).tolist() == [3, 3, 3, 3]


def test_order_depends_on_the_seed_alone():
    assert rows_from(24, 8, 100, 7).tolist() == rows_from(24, 8, 100, 7).tolist()
    assert rows_from(24, 8, 100, 7).tolist() != rows_from(24, 8, 100, 8).tolist()


@given(first=st.integers(0, 50), rows=st.integers(1, 20), draws=st.integers(1, 30))
def test_uniforms_of_row_do_not_depend_on_drawn_range(first, rows, draws):
    whole = row_uniforms(11, 4, 0, first + rows, draws)
    part = row_uniforms(11, 4, first, rows, draws)
    assert np.array_equal(whole[first:], part)


def test_uniforms_differ_by_seed_step_and_stream():
    draw = row_uniforms(1, 1, 0, 4, 8)
    for other in (
        row_uniforms(2, 1, 0, 4, 8),
        row_uniforms(1, 2, 0, 4, 8),
        row_uniforms(1, 1, 0, 4, 8, stream="evaluation"),
    ):
        assert not np.isin(draw, other).any()


def test_uniforms_are_uniform():
    numbers = row_uniforms(1, 0, 0, 500, 100)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert numbers.mean() == pytest.approx(0.5, abs=0.01)
    assert numbers.var() == pytest.approx(1 / 12, abs=0.002)


def test_dropout_seeds_differ():
    seeds = {step_seed(s, step, micro) for s in range(3) for step in range(50) for micro in range(4)}
    assert len(seeds) == 600
