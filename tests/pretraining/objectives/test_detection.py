"""Replaced-token detection: hand-computed losses, gradients, and the positions that count."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from elektron.models.packed import make_packed_positions
from elektron.pretraining.batches import MicroBatch
from elektron.pretraining.evaluation import auc_of_histogram
from elektron.pretraining.objectives import UpdateRoles
from elektron.pretraining.objectives.base import logit_histogram, packed_positions
from tests.models.conftest import SIZES, alone, make_pair
from tests.pretraining.objectives.batches import ONE, USED, make_batch, objective_of, run, whole, with_gradient


def test_losses_equal_equations_of_paper(family):
    pair, batch = make_pair(family), make_batch()
    output = run("rtd", pair, batch)

    logits = pair.token_logits(pair.generator_states(batch.masked_ids, packed_positions(batch)))
    log_probabilities = logits.log_softmax(-1)
    expected = -sum(log_probabilities[place] for place in USED)
    torch.testing.assert_close(output.generator_loss, expected)

    states = pair.discriminator_states(output.corrupted_ids, packed_positions(batch))
    logits = pair.replaced_logits(states)
    replaced = output.corrupted_ids != batch.input_ids
    probability = torch.where(replaced, logits.sigmoid(), 1 - logits.sigmoid())
    real = batch.document_ids >= 0
    torch.testing.assert_close(output.detection_loss, -probability[real].log().sum())
    assert torch.equal(output.replaced, replaced)


def test_electra_15_detects_only_at_masked_positions():
    pair, batch = make_pair("elektron"), make_batch()
    all_of_them, few = run("rtd", pair, batch), run("electra_15", pair, batch)
    losses = F.binary_cross_entropy_with_logits(all_of_them.logits, all_of_them.replaced.float(), reduction="none")
    torch.testing.assert_close(few.detection_loss, sum(losses[r, p] for r, p, _ in USED))
    assert few.loss_mask.nonzero().tolist() == [[0, 2], [0, 6], [1, 1]]
    assert few.histogram.sum() == 3
    objective = objective_of("electra_15")
    torch.testing.assert_close(objective.discriminator_loss(few, whole(batch)), 50 * few.detection_loss / 3)


def test_no_gradient_from_the_discriminator_into_the_generator(family):
    pair = make_pair(family)
    run("rtd", pair, make_batch()).detection_loss.backward()
    shared = set(pair.discriminator.parameters())
    for name, parameter in pair.generator.named_parameters():
        assert parameter in shared or parameter.grad is None, name
    assert with_gradient(pair.discriminator)


def test_padding_does_not_contribute_to_losses(family):
    pair, batch = make_pair(family), make_batch()
    cut = MicroBatch(*(t[1:, :5] if t.shape[1] == 8 else t[1:, :1] for t in batch))  # without the unused slot
    second, together = run("rtd", pair, cut), run("rtd", pair, batch)
    first = run("rtd", pair, MicroBatch(*(t[:1] for t in batch)))
    torch.testing.assert_close(together.generator_loss, second.generator_loss + first.generator_loss)
    torch.testing.assert_close(together.detection_loss, second.detection_loss + first.detection_loss)
    assert together.histogram.sum() == 13


def test_packed_texts_equal_separate_texts(family):
    pair, batch = make_pair(family), make_batch()
    output = run("rtd", pair, batch)
    with torch.no_grad():
        packed = pair.discriminator_states(output.corrupted_ids, packed_positions(batch))[0]
        packed_generator = pair.generator_states(batch.masked_ids, packed_positions(batch))[0]
        for here in (slice(0, 5), slice(5, 8)):
            ids, masked = output.corrupted_ids[:1, here], batch.masked_ids[:1, here]
            separate = pair.discriminator_states(ids, alone(ids))[0]
            torch.testing.assert_close(packed[here], separate, atol=1e-5, rtol=1e-5)
            separate = pair.generator_states(masked, alone(masked))[0]
            torch.testing.assert_close(packed_generator[here], separate, atol=1e-5, rtol=1e-5)


def test_packed_texts_longer_than_a_window_equal_separate_texts(family):
    """Local layers of modernbert attend to 64 tokens on each side, and deberta-v2 buckets distances."""
    length = 150
    pair = make_pair(family, dataclasses.replace(SIZES, max_position_embeddings=2 * length))
    torch.manual_seed(0)
    ids = torch.randint(5, 90, (1, 2 * length))
    document_ids = (torch.arange(2 * length) >= length).long()[None]
    order = torch.arange(length).repeat(2)[None]
    with torch.no_grad():
        packed = pair.discriminator_states(ids, make_packed_positions(document_ids, order, torch.zeros_like(ids)))
        for here in (slice(0, length), slice(length, 2 * length)):
            # The forward pass of transformers is the reference, also for the size of the window.
            separate = pair.discriminator.base_model(ids[:, here]).last_hidden_state
            torch.testing.assert_close(packed[:, here], separate, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["elektron", pytest.param("electra", marks=pytest.mark.slow)])
def test_eager_equals_compiled(family):
    pair, batch = make_pair(family), make_batch()
    objective = objective_of("rtd")

    def loss(output):
        return output.generator_loss + output.detection_loss

    eager = objective(pair, batch, UpdateRoles(), ONE)
    loss(eager).backward()
    gradients = {name: p.grad.clone() for name, p in pair.named_parameters() if p.grad is not None}
    pair.zero_grad()
    compiled = torch.compile(objective, fullgraph=True)(pair, batch, UpdateRoles(), ONE)
    loss(compiled).backward()
    for name, before, after in zip(eager._fields, eager, compiled, strict=True):
        if before is None:
            assert after is None
        else:
            torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-4, msg=name)
    parameters = dict(pair.named_parameters())
    for name, before in gradients.items():
        torch.testing.assert_close(before, parameters[name].grad, atol=1e-5, rtol=1e-3, msg=name)


def test_first_logit_of_token_classifier_is_zero_without_gradient():
    for family in ("deberta-v2", "modernbert"):
        pair = make_pair(family)
        run("rtd", pair, make_batch()).detection_loss.backward()
        classifier = pair.discriminator.classifier
        assert (classifier.weight[0] == 0).all()
        assert (classifier.weight.grad[0] == 0).all()
        assert classifier.weight.grad[1].abs().sum() > 0


def test_auc_of_histogram_equals_share_of_ordered_pairs():
    logits = torch.tensor([[-1.0, 2.0, 0.5, 7.9, 3.0]])
    replaced = torch.tensor([[False, True, True, False, True]])
    asked = torch.tensor([[True, True, True, True, False]])
    histogram = logit_histogram(logits, replaced, asked)
    assert histogram.sum(1).tolist() == [2, 2]
    # Of four pairs of a replaced and an original token, two are in the right order.
    assert auc_of_histogram(histogram.double().numpy()) == pytest.approx(0.5)


def test_equal_logits_give_auc_of_half():
    replaced = torch.tensor([[True] * 2 + [False] * 4])
    histogram = logit_histogram(torch.zeros(1, 6), replaced, torch.ones(1, 6, dtype=torch.bool))
    assert auc_of_histogram(histogram.double().numpy()) == pytest.approx(0.5)


def test_gradient_of_weighted_loss_is_weighted_sum_of_gradients(family):
    """λ multiplies only the mean loss of the discriminator."""
    pair, batch, objective = make_pair(family), make_batch(), objective_of("rtd")
    table = pair.discriminator.get_input_embeddings().weight
    gradients = []
    for pick in (lambda o: o.generator_loss / 3, lambda o: o.detection_loss / 13):
        pair.zero_grad()
        pick(run("rtd", pair, batch)).backward()
        gradients.append(table.grad.clone())
    pair.zero_grad()
    output = run("rtd", pair, batch)
    losses = (objective.generator_loss(output, whole(batch)), objective.discriminator_loss(output, whole(batch)))
    sum(losses).backward()
    torch.testing.assert_close(table.grad, gradients[0] + 50 * gradients[1], atol=1e-4, rtol=1e-3)
    assert F.cosine_similarity(gradients[0].flatten(), gradients[1].flatten(), dim=0) < 0.99
