"""Replaced-token detection: equations by hand, who gets gradients, what counts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from elektron.pretraining.batches import MicroBatch
from elektron.pretraining.evaluation import auc_of_histogram
from elektron.pretraining.objectives import logit_histogram, network_context, rtd, sample_tokens
from tests.models.conftest import VOCABULARY, make_pair

FAMILIES = ("elektron", "electra")


def make_batch() -> MicroBatch:
    """Two rows: two texts and one text with padding; the second row uses one of its two slots."""
    input_ids = torch.tensor([[2, 10, 11, 12, 3, 2, 20, 3], [2, 30, 31, 32, 3, 0, 0, 0]])
    masked_ids = input_ids.clone()
    masked_ids[0, 2] = masked_ids[0, 6] = masked_ids[1, 1] = 4
    return MicroBatch(
        input_ids=input_ids,
        masked_ids=masked_ids,
        masked_positions=torch.tensor([[2, 6], [1, 3]]),
        weights=torch.tensor([[1.0, 1.0], [1.0, 0.0]]),
        uniforms=torch.tensor([[0.1, 0.9], [0.5, 0.3]]),
        piece_ids=torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, -1, -1, -1]]),
        position_ids=torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2], [0, 1, 2, 3, 4, 0, 0, 0]]),
        token_type_ids=torch.zeros(2, 8, dtype=torch.long),
    )


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def test_losses_are_the_papers(family):
    pair, batch = make_pair(family), make_batch()
    output = rtd(pair, batch)

    context = network_context(batch)
    logits = pair.token_logits(pair.generator_states(batch.masked_ids, **context))
    log_probabilities = logits.log_softmax(-1)
    used = [(0, 2, 11), (0, 6, 20), (1, 1, 30)]
    expected = -sum(log_probabilities[row, position, token] for row, position, token in used)
    torch.testing.assert_close(output.generator_loss, expected)

    logits = pair.replaced_logits(output.corrupted_ids, **context)
    replaced = output.corrupted_ids != batch.input_ids
    probability = torch.where(replaced, logits.sigmoid(), 1 - logits.sigmoid())
    real = batch.piece_ids >= 0
    torch.testing.assert_close(output.discriminator_loss, -probability[real].log().sum())
    assert torch.equal(output.replaced, replaced)


def test_only_used_slots_are_filled(family):
    batch = make_batch()
    output = rtd(make_pair(family), batch)
    changed = (output.corrupted_ids != batch.input_ids).nonzero().tolist()
    assert {tuple(place) for place in changed} <= {(0, 2), (0, 6), (1, 1)}
    assert len(changed) > 0


def test_a_sample_equal_to_the_original_counts_as_original(family):
    pair, batch = make_pair(family), make_batch()
    with torch.no_grad():
        bias = (
            pair.generator.generator_lm_head.bias
            if family == "electra"
            else pair.generator.decoder.bias
        )
        bias[11] = 1e4  # the generator now always says 11, which is the original at (0, 2)
    output = rtd(pair, batch)
    assert output.corrupted_ids[0, 2] == 11
    assert not output.replaced[0, 2]
    assert output.replaced[0, 6]
    assert output.replaced[1, 1]


def test_no_gradient_from_the_discriminator_into_the_generator(family):
    pair = make_pair(family)
    rtd(pair, make_batch()).discriminator_loss.backward()
    shared = set(pair.discriminator.parameters())
    for name, parameter in pair.generator.named_parameters():
        assert parameter in shared or parameter.grad is None, name
    assert any(parameter.grad is not None for parameter in pair.discriminator.parameters())


def test_unused_slots_carry_no_gradient(family):
    pair, batch = make_pair(family), make_batch()
    rtd(pair, batch).generator_loss.backward()
    with_slot = [p.grad.clone() for p in pair.generator.parameters()]
    pair.zero_grad()
    moved = batch._replace(masked_positions=torch.tensor([[2, 6], [1, 2]]))
    rtd(pair, moved).generator_loss.backward()
    for before, parameter in zip(with_slot, pair.generator.parameters(), strict=True):
        torch.testing.assert_close(before, parameter.grad)


def test_padding_is_in_no_loss(family):
    pair, batch = make_pair(family), make_batch()
    cut = MicroBatch(
        *(t[1:, :5] if t.shape[1] == 8 else t[1:] for t in batch),
    )
    alone, together = rtd(pair, cut), rtd(pair, batch)
    first = MicroBatch(*(t[:1] for t in batch))
    torch.testing.assert_close(
        together.discriminator_loss, alone.discriminator_loss + rtd(pair, first).discriminator_loss
    )
    assert together.histogram.sum() == 13


def test_packed_texts_equal_separate_texts(family):
    pair, batch = make_pair(family), make_batch()
    output = rtd(pair, batch)
    context = network_context(batch)
    with torch.no_grad():
        packed = pair.replaced_logits(output.corrupted_ids, **context)[0]
        packed_states = pair.generator_states(batch.masked_ids, **context)[0]
        for here in (slice(0, 5), slice(5, 8)):
            ids, masked = output.corrupted_ids[:1, here], batch.masked_ids[:1, here]
            separate, states = pair.replaced_logits(ids)[0], pair.generator_states(masked)[0]
            torch.testing.assert_close(packed[here], separate, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(packed_states[here], states, atol=1e-5, rtol=1e-5)


def test_eager_equals_compiled(family):
    pair, batch = make_pair(family), make_batch()
    eager = rtd(pair, batch)
    (eager.generator_loss + eager.discriminator_loss).backward()
    gradients = {name: p.grad.clone() for name, p in pair.named_parameters()}
    pair.zero_grad()
    compiled = torch.compile(rtd, fullgraph=True)(pair, batch)
    (compiled.generator_loss + compiled.discriminator_loss).backward()
    for name, before, after in zip(eager._fields, eager, compiled, strict=True):
        torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-4, msg=name)
    for name, parameter in pair.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-5, rtol=1e-3, msg=name)


def test_samples_follow_the_distribution_as_gumbel_argmax_does():
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


def test_the_largest_uniform_stays_inside_the_vocabulary():
    largest = torch.tensor([np.nextafter(np.float32(1), np.float32(0))])
    for size in (3, VOCABULARY, 30_522):
        probabilities = torch.rand(1, size).softmax(-1)
        assert sample_tokens(probabilities, largest) < size
        assert sample_tokens(probabilities, torch.zeros(1)) == 0


def test_the_histogram_gives_the_auc():
    logits = torch.tensor([[-1.0, 2.0, 0.5, 7.9, 3.0]])
    replaced = torch.tensor([[False, True, True, False, True]])
    real = torch.tensor([[True, True, True, True, False]])
    histogram = logit_histogram(logits, replaced, real)
    assert histogram.sum(1).tolist() == [2, 2]
    # Of four pairs of a replaced and an original token, two are in the right order.
    assert auc_of_histogram(histogram.double().numpy()) == pytest.approx(0.5)
    assert auc_of_histogram(np.zeros((2, 512))) is None


def test_equal_logits_are_chance():
    replaced = torch.tensor([[True] * 2 + [False] * 4])
    histogram = logit_histogram(torch.zeros(1, 6), replaced, torch.ones(1, 6, dtype=torch.bool))
    assert auc_of_histogram(histogram.double().numpy()) == pytest.approx(0.5)


def test_the_gradient_of_the_weighted_loss_is_the_sum_of_its_parts(family):
    """λ multiplies the discriminator's mean and nothing else."""
    pair, batch = make_pair(family), make_batch()
    table = pair.discriminator.get_input_embeddings().weight
    gradients = []
    for pick in (lambda o: o.generator_loss / 3, lambda o: o.discriminator_loss / 13):
        pair.zero_grad()
        pick(rtd(pair, batch)).backward()
        gradients.append(table.grad.clone())
    pair.zero_grad()
    output = rtd(pair, batch)
    (output.generator_loss / 3 + 50 * output.discriminator_loss / 13).backward()
    torch.testing.assert_close(table.grad, gradients[0] + 50 * gradients[1], atol=1e-4, rtol=1e-3)
    assert F.cosine_similarity(gradients[0].flatten(), gradients[1].flatten(), dim=0) < 0.99
