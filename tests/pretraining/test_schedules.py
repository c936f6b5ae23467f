"""Stages that double, each as long as the others, and rows that are taken one after another."""

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


def test_without_a_ramp_every_step_is_alike():
    curriculum = ramp_of()
    assert {curriculum.shape(step) for step in range(80)} == {curriculum.shape(0)}
    assert curriculum.rows_before(7) == 7 * 16
    assert curriculum.shape(0).tokens == 16 * 64


def test_lengths_double_and_tokens_stay():
    curriculum = ramp_of(first_length=16, length_fraction=0.5)
    lengths = [curriculum.shape(step).length for step in range(80)]
    assert lengths == [16] * 20 + [32] * 20 + [64] * 40
    assert {curriculum.shape(step).tokens for step in range(80)} == {16 * 64}
    assert curriculum.shape(0).rows == 64


def test_batches_double():
    curriculum = ramp_of(first_batch_size=4, batch_fraction=0.25)
    rows = [curriculum.shape(step).rows for step in range(80)]
    assert rows == [4] * 10 + [8] * 10 + [16] * 60


@given(
    first=st.sampled_from([1, 2, 4, 8, 16]),
    share=st.floats(0.01, 1.0),
    steps=st.integers(1, 300),
)
def test_no_row_is_passed_over_or_taken_twice(first, share, steps):
    curriculum = ramp_of(steps=steps, first_batch_size=first, batch_fraction=share)
    taken = 0
    for step in range(steps):
        assert curriculum.rows_before(step) == taken
        taken += curriculum.shape(step).store_rows


def test_tokens_become_steps_that_take_them():
    curriculum = ramp_of(tokens=1_000_000, first_batch_size=4, batch_fraction=0.5)
    assert curriculum.tokens_before(curriculum.steps) == pytest.approx(1_000_000, rel=0.01)


def test_the_share_of_masks_falls_to_its_end():
    curriculum = ramp_of(masking=MaskingConfig(mask_probability=0.3, final_mask_probability=0.15))
    shares = [curriculum.mask_probability(step) for step in range(80)]
    assert shares[0] == 0.3
    assert shares[-1] == pytest.approx(0.15)
    assert shares == sorted(shares, reverse=True)


def test_a_length_that_does_not_double_to_the_row_is_refused():
    with pytest.raises(ElektronError, match="does not double to 64"):
        ramp_of(first_length=24)
    assert doublings(3, 12) == [3, 6, 12]


def test_rows_are_cut_into_parts_of_the_same_text(blocks: Path, tmp_path: Path):
    store = BlockStore.open(blocks)
    device = torch.device("cpu")
    whole = BatchMaker(store, resolve(tiny_config(blocks, tmp_path)), device)
    cut = BatchMaker(
        store,
        resolve(tiny_config(blocks, tmp_path, curriculum=CurriculumConfig(first_length=8))),
        device,
    )
    rows, parts = whole.training(0), cut.training(0)
    (one,), (other,) = rows.micro_batches, parts.micro_batches
    assert other.input_ids.shape == (one.input_ids.shape[0] * 4, 8)
    assert torch.equal(other.input_ids.reshape(one.input_ids.shape), one.input_ids)
    assert parts.real_tokens == rows.real_tokens
    real = other.input_ids != store.manifest.special_ids["pad"]
    assert torch.equal(other.document_ids >= 0, real)
    assert (other.position_ids < 8).all()
    assert torch.equal(cut.training(11).micro_batches[0].input_ids, whole.training(11).micro_batches[0].input_ids)
    # What is held out is read whole, as ever.
    ours, theirs = next(iter(cut.evaluation())), next(iter(whole.evaluation()))
    assert torch.equal(ours.micro_batches[0].masked_ids, theirs.micro_batches[0].masked_ids)


def test_fewer_masks_use_fewer_of_the_same_slots(blocks: Path, tmp_path: Path):
    masking = MaskingConfig(mask_probability=0.5, final_mask_probability=0.1)
    maker = BatchMaker(
        BlockStore.open(blocks),
        resolve(tiny_config(blocks, tmp_path, masking=masking)),
        torch.device("cpu"),
    )
    first, last = maker.training(0), maker.training(11)
    assert first.micro_batches[0].weights.shape == last.micro_batches[0].weights.shape
    assert last.masked_tokens < 0.3 * first.masked_tokens
