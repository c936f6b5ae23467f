"""What counts as a spike, and what is remembered for it."""

import numpy as np
import pytest
import torch

from elektron.pretraining.recovery import NEW_LEVEL, SIGMAS, WINDOW, LossSpikes

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


def test_a_loss_is_a_spike_from_six_deviations_above_the_mean(filled, history):
    limits = history.mean(0) + SIGMAS * history.std(0)
    for network in (0, 1):
        for above, spike in ((1e-9, True), (-1e-9, False)):
            losses = history.mean(0)
            losses[network] = limits[network] + above
            assert filled.detect(pair_of(*losses), BOTH).tolist() == [spike and network == place for place in (0, 1)]
    assert not filled.detect(pair_of(0.1, 0.1), BOTH).any(), "a low loss is good news"


def test_only_a_network_that_learns_is_asked(filled):
    spike = pair_of(9.0, 3.0)
    assert filled.detect(spike, BOTH).any()
    assert not filled.detect(spike, torch.tensor([False, True])).any()


def test_nothing_is_a_spike_before_there_are_enough_losses(history):
    spikes = LossSpikes(CPU)
    for generator, discriminator in history[:-1]:
        spikes.add(pair_of(generator, discriminator), BOTH, YES, NO)
    assert not spikes.detect(pair_of(100.0, 100.0), BOTH).any()
    spikes.add(pair_of(3.0, 3.0), BOTH, YES, NO)
    assert spikes.detect(pair_of(100.0, 100.0), BOTH).any()
    spikes.reset()
    assert not spikes.detect(pair_of(100.0, 100.0), BOTH).any()


def test_only_finite_losses_of_steps_that_moved_something_are_remembered(filled):
    before = filled.state()
    filled.add(pair_of(9.0, 9.0), BOTH, NO, NO)
    filled.add(pair_of(float("nan"), float("inf")), BOTH, YES, NO)
    assert torch.equal(filled.state(), before)
    filled.add(pair_of(9.0, 9.0), torch.tensor([True, False]), YES, NO)
    assert filled.counts[0] == WINDOW + 1
    assert (filled.losses == 9.0).sum() == 1
    assert torch.equal(filled.state()[1], before[1])


def test_spikes_that_do_not_end_are_a_new_level(filled):
    high = pair_of(9.0, 9.0)
    for number in range(NEW_LEVEL):
        assert filled.detect(high, BOTH).any(), number
        filled.add(high, BOTH, NO, YES)
    assert not filled.detect(high, BOTH).any()


def test_a_network_comes_to_a_new_level_by_its_own_turns(filled):
    """Those of the other, in between, neither end nor prolong its spikes."""
    generator, discriminator = torch.tensor([True, False]), torch.tensor([False, True])
    for _ in range(NEW_LEVEL):
        spikes = filled.detect(pair_of(3.0, 9.0), discriminator)
        assert spikes.tolist() == [False, True]
        filled.add(pair_of(3.0, 9.0), discriminator, NO, spikes)
        filled.add(pair_of(3.0, 9.0), generator, YES, filled.detect(pair_of(3.0, 9.0), generator))
    assert not filled.detect(pair_of(3.0, 9.0), discriminator).any()
    assert filled.detect(pair_of(9.0, 9.0), generator).any(), "the generator's losses are as known"


def test_what_is_forgotten_leaves_no_spikes_behind(filled):
    filled.add(pair_of(9.0, 9.0), BOTH, NO, BOTH)
    filled.reset()
    assert (filled.state()[:, :2] == 0).all()


def test_spikes_with_others_between_them_stay_spikes(filled):
    for _ in range(NEW_LEVEL):
        filled.add(pair_of(9.0, 9.0), BOTH, NO, YES)
        filled.add(pair_of(3.0, 3.0), BOTH, YES, NO)
        assert filled.detect(pair_of(9.0, 9.0), BOTH).any()


def test_the_oldest_loss_goes_first(filled, history):
    filled.add(pair_of(7.0, 8.0), BOTH, YES, NO)
    assert filled.losses[0, 0] == 7.0
    assert filled.losses[0, 1] == history[1, 0]


def test_a_state_is_taken_over(filled):
    other = LossSpikes(CPU)
    other.load_state(filled.state())
    assert torch.equal(other.state(), filled.state())
    assert other.detect(pair_of(9.0, 3.0), BOTH).any()
