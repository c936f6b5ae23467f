"""K slots a row, never a special token, unused slots harmless."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from elektron.pretraining.masking import draws_in_row, mask_rows, slots_in_row

SPECIAL_IDS = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
NEVER_MASKED = [0, 1, 2, 3, 4]


def text_rows(rows: int, length: int, real: int) -> np.ndarray:
    """[CLS] text [SEP] and padding, `real` tokens in all."""
    ids = np.zeros((rows, length), np.int64)
    ids[:, :real] = 10 + np.arange(real)
    ids[:, 0], ids[:, real - 1] = 2, 3
    return ids


def mask(ids: np.ndarray, share: float = 0.15, keep: float = 0.15, seed: int = 0):
    draws = draws_in_row(ids.shape[1], share)
    uniforms = np.random.default_rng(seed).random((len(ids), draws))
    return mask_rows(ids, uniforms, SPECIAL_IDS, NEVER_MASKED, share, keep)


@settings(max_examples=60)
@given(
    length=st.integers(4, 80),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_whatever_the_row_slots_are_exact(length, share, seed, data):
    real = data.draw(st.integers(2, length))
    ids = text_rows(5, length, real)
    masks = mask(ids, share, seed=seed)
    slots = max(1, round(share * length))
    assert slots_in_row(length, share) == slots
    assert masks.positions.shape == masks.weights.shape == (5, slots)
    used = min(max(1, round(share * real)), slots, real - 2)
    assert (masks.weights.sum(1) == used).all()
    for row in range(5):
        assert len(set(masks.positions[row])) == slots
        chosen = masks.positions[row][masks.weights[row] > 0]
        assert not np.isin(ids[row, chosen], NEVER_MASKED).any()
        untouched = np.setdiff1d(np.arange(length), chosen)
        assert (masks.masked_ids[row, untouched] == ids[row, untouched]).all()


def test_a_row_of_nothing_but_special_tokens_masks_nothing():
    ids = np.array([[2, 3, 0, 0, 0, 0, 0, 0]])
    masks = mask(ids)
    assert masks.weights.sum() == 0
    assert (masks.masked_ids == ids).all()


def test_85_in_100_become_mask_and_the_rest_stay():
    ids = text_rows(4000, 64, 64)
    masks = mask(ids)
    chosen = np.take_along_axis(masks.masked_ids, masks.positions, 1)
    original = np.take_along_axis(ids, masks.positions, 1)
    became_mask = chosen == SPECIAL_IDS["mask"]
    assert abs(became_mask.mean() - 0.85) < 0.01
    assert (chosen[~became_mask] == original[~became_mask]).all()


def test_every_position_is_chosen_as_often():
    ids = text_rows(20_000, 12, 12)
    masks = mask(ids, share=0.25)
    counts = np.bincount(masks.positions.ravel(), minlength=12)
    assert counts[0] == counts[-1] == 0
    assert np.abs(counts[1:-1] / 20_000 - 0.3).max() < 0.02
