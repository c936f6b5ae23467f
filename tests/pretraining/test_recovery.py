"""Detection of loss spikes, and the window of losses for it."""

import numpy as np
import pytest
import torch

from elektron.pretraining.recovery import MAX_CONSECUTIVE_SPIKES, SIGMAS, WINDOW, LossSpikes

CPU = torch.device("cpu")
BOTH = torch.tensor([True, True])
YES, NO = torch.tensor(True), torch.tensor(False)


def pair_of(generator: float, discriminator: float) -> torch.Tensor:
    return torch.tensor([generator, discriminator], dtype=torch.float64)


@pytest.fixture
def history() -> np.ndarray:
    return np.random.default_rng(1).normal(3.0, 0.1, size=(WINDOW, 2))


@pytest.fixture
def filled(history) -> LossSpikes:
    spikes = LossSpikes(CPU)
    for generator, discriminator in history:
        spikes.add(pair_of(generator, discriminator), BOTH, YES, NO)
    return spikes


def test_spikes_start_at_six_deviations_above_mean(filled, history):
    limits = history.mean(0) + SIGMAS * history.std(0)
    for network in (0, 1):
        for above, spike in ((1e-9, True), (-1e-9, False)):
            losses = history.mean(0)
            losses[network] = limits[network] + above
            assert filled.detect(pair_of(*losses), BOTH).tolist() == [spike and network == place for place in (0, 1)]
    assert not filled.detect(pair_of(0.1, 0.1), BOTH).any(), "a low loss is good news"


def test_spikes_are_detected_only_for_trained_networks(filled):
    spike = pair_of(9.0, 3.0)
    assert filled.detect(spike, BOTH).any()
    assert not filled.detect(spike, torch.tensor([False, True])).any()


def test_no_spikes_are_detected_before_window_is_filled(history):
    spikes = LossSpikes(CPU)
    for generator, discriminator in history[:-1]:
        spikes.add(pair_of(generator, discriminator), BOTH, YES, NO)
    assert not spikes.detect(pair_of(100.0, 100.0), BOTH).any()
    spikes.add(pair_of(3.0, 3.0), BOTH, YES, NO)
    assert spikes.detect(pair_of(100.0, 100.0), BOTH).any()
    spikes.reset()
    assert not spikes.detect(pair_of(100.0, 100.0), BOTH).any()


def test_only_finite_losses_of_updating_steps_enter_window(filled):
    before = filled.state()
    filled.add(pair_of(9.0, 9.0), BOTH, NO, NO)
    filled.add(pair_of(float("nan"), float("inf")), BOTH, YES, NO)
    assert torch.equal(filled.state(), before)
    filled.add(pair_of(9.0, 9.0), torch.tensor([True, False]), YES, NO)
    assert filled.counts[0] == WINDOW + 1
    assert (filled.losses == 9.0).sum() == 1
    assert torch.equal(filled.state()[1], before[1])


def test_consecutive_spikes_become_new_level(filled):
    high = pair_of(9.0, 9.0)
    for number in range(MAX_CONSECUTIVE_SPIKES):
        assert filled.detect(high, BOTH).any(), number
        filled.add(high, BOTH, NO, YES)
    assert not filled.detect(high, BOTH).any()


def test_new_level_counts_only_steps_that_train_the_network(filled):
    """Steps of the other network in between neither end nor continue its spikes."""
    generator, discriminator = torch.tensor([True, False]), torch.tensor([False, True])
    for _ in range(MAX_CONSECUTIVE_SPIKES):
        spikes = filled.detect(pair_of(3.0, 9.0), discriminator)
        assert spikes.tolist() == [False, True]
        filled.add(pair_of(3.0, 9.0), discriminator, NO, spikes)
        filled.add(pair_of(3.0, 9.0), generator, YES, filled.detect(pair_of(3.0, 9.0), generator))
    assert not filled.detect(pair_of(3.0, 9.0), discriminator).any()
    assert filled.detect(pair_of(9.0, 9.0), generator).any(), "the generator's losses are as known"


def test_reset_clears_counts(filled):
    filled.add(pair_of(9.0, 9.0), BOTH, NO, BOTH)
    filled.reset()
    assert (filled.state()[:, :2] == 0).all()


def test_spikes_that_are_not_consecutive_remain_spikes(filled):
    for _ in range(MAX_CONSECUTIVE_SPIKES):
        filled.add(pair_of(9.0, 9.0), BOTH, NO, YES)
        filled.add(pair_of(3.0, 3.0), BOTH, YES, NO)
        assert filled.detect(pair_of(9.0, 9.0), BOTH).any()


def test_oldest_loss_is_dropped_first(filled, history):
    filled.add(pair_of(7.0, 8.0), BOTH, YES, NO)
    assert filled.losses[0, 0] == 7.0
    assert filled.losses[0, 1] == history[1, 0]


def test_state_round_trip(filled):
    other = LossSpikes(CPU)
    other.load_state(filled.state())
    assert torch.equal(other.state(), filled.state())
    assert other.detect(pair_of(9.0, 3.0), BOTH).any()
