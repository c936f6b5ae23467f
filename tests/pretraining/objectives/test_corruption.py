"""Corruption of inputs by the generator, and sampling of its tokens."""

import numpy as np
import torch

from elektron.pretraining.objectives.base import packed_positions
from elektron.pretraining.objectives.corruption import at_positions, corrupt, sample_tokens
from tests.models.conftest import VOCABULARY, make_pair
from tests.pretraining.objectives.batches import ONE, make_batch


def test_only_used_slots_are_filled(family):
    batch = make_batch()
    corruption = corrupt(make_pair(family), batch, packed_positions(batch), True, ONE)
    changed = (corruption.corrupted_ids != batch.input_ids).nonzero().tolist()
    assert {tuple(place) for place in changed} <= {(0, 2), (0, 6), (1, 1)}
    assert len(changed) > 0
    assert torch.equal(corruption.replaced, corruption.corrupted_ids != batch.input_ids)


def test_a_sample_equal_to_the_original_counts_as_original():
    pair, batch = make_pair("elektron"), make_batch()
    with torch.no_grad():
        pair.generator.decoder.bias[11] = 1e4  # now it always predicts 11, the original at (0, 2)
    corruption = corrupt(pair, batch, packed_positions(batch), True, ONE)
    assert corruption.corrupted_ids[0, 2] == 11
    assert not corruption.replaced[0, 2]
    assert corruption.replaced[0, 6]
    assert corruption.replaced[1, 1]
    assert corruption.correct == 1


def test_temperature_changes_samples_but_not_losses():
    pair, batch = make_pair("elektron"), make_batch()
    with torch.no_grad():
        pair.generator.decoder.bias[50] = 8.0  # likeliest by far
    cold, warm, hot = (corrupt(pair, batch, packed_positions(batch), True, torch.tensor(t)) for t in (0.01, 1.0, 1e6))
    assert (cold.samples[batch.weights > 0] == 50).all()
    uniform = (batch.uniforms * VOCABULARY).long()
    assert torch.equal(hot.samples[batch.weights > 0], uniform[batch.weights > 0])
    for other in (cold, hot):
        assert torch.equal(warm.losses, other.losses)


def test_generator_that_is_not_trained_has_no_gradient():
    pair, batch = make_pair("elektron"), make_batch()
    assert not corrupt(pair, batch, packed_positions(batch), False, ONE).losses.requires_grad
    assert corrupt(pair, batch, packed_positions(batch), True, ONE).losses.requires_grad


def test_unused_slots_have_no_gradient(family):
    pair, batch = make_pair(family), make_batch()
    corrupt(pair, batch, packed_positions(batch), True, ONE).losses.sum().backward()
    with_slot = [p.grad.clone() for p in pair.generator.parameters()]
    pair.zero_grad()
    moved = batch._replace(masked_positions=torch.tensor([[2, 6], [1, 2]]))
    corrupt(pair, moved, packed_positions(batch), True, ONE).losses.sum().backward()
    for before, parameter in zip(with_slot, pair.generator.parameters(), strict=True):
        torch.testing.assert_close(before, parameter.grad)


def test_samples_follow_distribution_like_gumbel_argmax():
    torch.manual_seed(0)
    probabilities = torch.tensor([0.5, 0.0, 0.2, 0.3])
    draws = 40_000
    samples = sample_tokens(probabilities.expand(draws, 4), torch.rand(draws))
    gumbel = -torch.log(-torch.log(torch.rand(draws, 4)))
    argmax = (probabilities.log() + gumbel).argmax(-1)
    for sampled in (samples, argmax):
        shares = torch.bincount(sampled, minlength=4) / draws
        torch.testing.assert_close(shares, probabilities, atol=0.01, rtol=0)
    assert (samples != 1).all()


def test_sample_of_largest_uniform_is_inside_vocabulary():
    largest = torch.tensor([np.nextafter(np.float32(1), np.float32(0))])
    for size in (3, VOCABULARY, 30_522):
        probabilities = torch.rand(1, size).softmax(-1)
        assert sample_tokens(probabilities, largest) < size
        assert sample_tokens(probabilities, torch.zeros(1)) == 0


def test_values_at_positions():
    values = torch.arange(12).view(2, 6)
    positions = torch.tensor([[5, 0], [1, 1]])
    assert at_positions(values, positions).tolist() == [[5, 0], [7, 7]]
    states = values[..., None] * torch.tensor([1, 10])
    assert at_positions(states, positions).tolist() == [[[5, 50], [0, 0]], [[7, 70], [7, 70]]]
