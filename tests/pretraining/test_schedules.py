"""Curricula: stages of equal duration that double lengths or batch sizes, and the rows that each step takes."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elektron.corpus.blocks import BlockStore
from elektron.errors import ElektronError
from elektron.pretraining.batches import BatchMaker
from elektron.pretraining.config import CurriculumConfig, MaskingConfig, PretrainConfig, resolve
from elektron.pretraining.schedules import Curriculum, doublings
from tests.pretraining.conftest import tiny_config


def ramp_of(steps=80, batch=16, seq_len=64, masking=None, tokens=None, **curriculum):
    config = PretrainConfig(
        steps=None if tokens else steps,
        tokens=tokens,
        batch_size=batch,
        curriculum=CurriculumConfig(**curriculum),
        masking=masking or MaskingConfig(),
    )
    return Curriculum(config, seq_len)


def test_all_steps_have_same_shape_without_curriculum():
    curriculum = ramp_of()
    assert {curriculum.shape(step) for step in range(80)} == {curriculum.shape(0)}
    assert curriculum.rows_before(7) == 7 * 16
    assert curriculum.shape(0).tokens == 16 * 64


def test_length_doubles_at_constant_tokens_per_step():
    curriculum = ramp_of(first_length=16, length_fraction=0.5)
    lengths = [curriculum.shape(step).length for step in range(80)]
    assert lengths == [16] * 20 + [32] * 20 + [64] * 40
    assert {curriculum.shape(step).tokens for step in range(80)} == {16 * 64}
    assert curriculum.shape(0).rows == 64


def test_batch_size_doubles_in_stages():
    curriculum = ramp_of(first_batch_size=4, batch_fraction=0.25)
    rows = [curriculum.shape(step).rows for step in range(80)]
    assert rows == [4] * 10 + [8] * 10 + [16] * 60


@given(first=st.sampled_from([1, 2, 4, 8, 16]), share=st.floats(0.01, 1.0), steps=st.integers(1, 300))
def test_rows_before_equals_sum_of_rows_of_earlier_steps(first, share, steps):
    curriculum = ramp_of(steps=steps, first_batch_size=first, batch_fraction=share)
    taken = 0
    for step in range(steps):
        assert curriculum.rows_before(step) == taken
        taken += curriculum.shape(step).store_rows


def test_steps_of_token_budget_take_that_many_tokens():
    curriculum = ramp_of(tokens=1_000_000, first_batch_size=4, batch_fraction=0.5)
    assert curriculum.tokens_before(curriculum.steps) == pytest.approx(1_000_000, rel=0.01)


def test_mask_probability_decreases_to_final_value():
    curriculum = ramp_of(masking=MaskingConfig(mask_probability=0.3, final_mask_probability=0.15))
    shares = [curriculum.mask_probability(step) for step in range(80)]
    assert shares[0] == 0.3
    assert shares[-1] == pytest.approx(0.15)
    assert shares == sorted(shares, reverse=True)


def test_first_length_that_does_not_double_to_row_length_raises():
    with pytest.raises(ElektronError, match="does not double to 64"):
        ramp_of(first_length=24)
    assert doublings(3, 12) == [3, 6, 12]


def test_shorter_length_splits_rows_into_chunks_of_same_tokens(blocks: Path, tmp_path: Path):
    store = BlockStore.open(blocks)
    device = torch.device("cpu")
    whole = BatchMaker(store, resolve(tiny_config(blocks, tmp_path)), device)
    cut = BatchMaker(store, resolve(tiny_config(blocks, tmp_path, curriculum=CurriculumConfig(first_length=8))), device)
    rows, parts = whole.training(0), cut.training(0)
    (one,), (other,) = rows.micro_batches, parts.micro_batches
    assert other.input_ids.shape == (one.input_ids.shape[0] * 4, 8)
    assert torch.equal(other.input_ids.reshape(one.input_ids.shape), one.input_ids)
    assert parts.real_tokens == rows.real_tokens
    real = other.input_ids != store.manifest.special_ids["pad"]
    assert torch.equal(other.document_ids >= 0, real)
    assert (other.position_ids < 8).all()
    assert torch.equal(cut.training(11).micro_batches[0].input_ids, whole.training(11).micro_batches[0].input_ids)
    # Held-out rows keep their full length.
    ours, theirs = next(iter(cut.evaluation())), next(iter(whole.evaluation()))
    assert torch.equal(ours.micro_batches[0].masked_ids, theirs.micro_batches[0].masked_ids)


def test_lower_mask_probability_uses_fewer_of_same_slots(blocks: Path, tmp_path: Path):
    masking = MaskingConfig(mask_probability=0.5, final_mask_probability=0.1)
    maker = BatchMaker(
        BlockStore.open(blocks), resolve(tiny_config(blocks, tmp_path, masking=masking)), torch.device("cpu")
    )
    first, last = maker.training(0), maker.training(11)
    assert first.micro_batches[0].weights.shape == last.micro_batches[0].weights.shape
    assert last.masked_tokens < 0.3 * first.masked_tokens
