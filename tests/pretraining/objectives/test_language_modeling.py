"""Objectives that predict tokens: their positions, their inputs, and the copy gate."""

import pytest
import torch

from elektron.pretraining.objectives.base import packed_positions
from elektron.pretraining.objectives.language_modeling import copy_losses
from tests.models.conftest import VOCABULARY
from tests.pretraining.objectives.batches import USED, make_batch, objective_of, pair_for, run, whole, with_gradient


def corrected_log_probabilities(pair, ids, batch):
    states = pair.discriminator_states(ids, packed_positions(batch))
    return pair.lm_logits(states).log_softmax(-1), pair.replaced_logits(states)


def test_lm_head_is_tied_to_embeddings(family):
    pair = pair_for("replace_mlm", family)
    assert pair.masked_lm.base_model is pair.discriminator.base_model
    table = pair.discriminator.get_input_embeddings().weight
    assert pair.masked_lm.get_output_embeddings().weight is table


def test_replace_mlm_predicts_originals_from_samples(family):
    pair, batch = pair_for("replace_mlm", family), make_batch()
    output = run("replace_mlm", pair, batch)
    assert (output.corrupted_ids != 4).all()
    log_probabilities, _ = corrected_log_probabilities(pair, output.corrupted_ids, batch)
    expected = -sum(log_probabilities[place] for place in USED)
    torch.testing.assert_close(output.lm_loss, expected, rtol=1e-5, atol=1e-5)
    assert output.detection_loss is None
    assert output.logits is None
    total = objective_of("replace_mlm").discriminator_loss(output, whole(batch))
    torch.testing.assert_close(total, output.lm_loss / 3)


def test_mlm_predicts_originals_from_masked_input_without_generator():
    pair, batch = pair_for("mlm"), make_batch()
    # The uniforms 0.1, 0.9 and 0.5 of the used slots: [MASK], the token itself, [MASK].
    output = run("mlm", pair, batch)
    assert output.corrupted_ids[0, 2] == 4
    assert output.corrupted_ids[0, 6] == 20
    assert output.corrupted_ids[1, 1] == 4
    assert output.generator_loss is None
    log_probabilities, _ = corrected_log_probabilities(pair, output.corrupted_ids, batch)
    expected = -sum(log_probabilities[place] for place in USED)
    torch.testing.assert_close(output.lm_loss, expected, rtol=1e-5, atol=1e-5)


def test_mlm_masks_80_replaces_10_keeps_10():
    torch.manual_seed(0)
    rows, slots = 400, 20
    batch = make_batch()._replace(
        input_ids=torch.full((rows, slots), 50),
        masked_positions=torch.arange(slots).repeat(rows, 1),
        weights=torch.ones(rows, slots),
        uniforms=torch.rand(rows, slots),
    )
    masked = objective_of("mlm").masked(batch)
    assert (masked == 4).float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert (masked == 50).float().mean().item() == pytest.approx(0.1, abs=0.02)
    others = masked[(masked != 4) & (masked != 50)]
    assert others.min() >= 0
    assert others.max() < VOCABULARY
    assert len(others.unique()) > 0.9 * (VOCABULARY - 2)


def test_the_copy_gate_mixes_the_input_with_the_distribution():
    """The expected loss is computed from P(x) = c [same] + (1 - c) p."""
    gate, p = torch.tensor([0.3, 0.3, -2.0]), torch.tensor([0.2, 0.2, 0.01])
    same = torch.tensor([True, False, True])
    copy = 1 - gate.sigmoid()
    expected = -(copy * same + (1 - copy) * p).log()
    torch.testing.assert_close(copy_losses(gate, p.log(), same), expected)


def test_saturated_copy_gate_has_finite_losses_and_gradients():
    gate = torch.tensor([60.0, -60.0, -60.0], requires_grad=True)
    p = torch.tensor([-90.0, -90.0, -90.0], requires_grad=True)
    losses = copy_losses(gate, p, torch.tensor([True, True, False]))
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert torch.isfinite(gate.grad).all()
    assert torch.isfinite(p.grad).all()
    assert losses[1].item() == pytest.approx(0, abs=1e-6)
    assert losses[2].item() == pytest.approx(150, rel=1e-3)


def test_all_tokens_mlm_predicts_every_real_token_with_copy_gate(family):
    pair, batch = pair_for("all_tokens_mlm", family), make_batch()
    output = run("all_tokens_mlm", pair, batch)
    log_probabilities, gate = corrected_log_probabilities(pair, output.corrupted_ids, batch)
    copy = 1 - gate.sigmoid()
    p = log_probabilities.gather(-1, batch.input_ids[..., None]).squeeze(-1).exp()
    probability = copy * ~output.replaced + (1 - copy) * p
    real = batch.document_ids >= 0
    torch.testing.assert_close(output.lm_loss, -probability[real].log().sum(), rtol=1e-4, atol=1e-4)
    total = objective_of("all_tokens_mlm").discriminator_loss(output, whole(batch))
    torch.testing.assert_close(total, 50 * output.lm_loss / 13)
    assert output.histogram.sum() == 13
    total.backward()
    assert any("prediction" in n or "classifier" in n for n in with_gradient(pair.discriminator))


def test_corrective_detects_everywhere_and_predicts_at_masked_positions():
    pair, batch = pair_for("corrective"), make_batch()
    output = run("corrective", pair, batch)
    torch.testing.assert_close(output.detection_loss, run("rtd", pair, batch).detection_loss)
    log_probabilities, gate = corrected_log_probabilities(pair, output.corrupted_ids, batch)
    expected = 0.0
    for row, position, token in USED:
        copy = 1 - gate[row, position].sigmoid()
        p = log_probabilities[row, position, token].exp()
        same = not output.replaced[row, position]
        expected = expected - (copy * same + (1 - copy) * p).log()
    torch.testing.assert_close(output.lm_loss, expected, rtol=1e-4, atol=1e-4)
    total = objective_of("corrective").discriminator_loss(output, whole(batch))
    torch.testing.assert_close(total, 50 * output.detection_loss / 13 + output.lm_loss / 3)


def test_corrective_copy_gate_gets_gradient_only_from_detection():
    pair, batch = pair_for("corrective"), make_batch()
    run("corrective", pair, batch).lm_loss.backward()
    assert pair.discriminator.prediction.weight.grad is None
    pair.zero_grad()
    run("corrective", pair, batch).detection_loss.backward()
    assert pair.discriminator.prediction.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["replace_mlm", "all_tokens_mlm", "corrective"])
def test_generator_loss_equals_that_of_rtd(name):
    pair, batch = pair_for(name), make_batch()
    torch.testing.assert_close(run(name, pair, batch).generator_loss, run("rtd", pair, batch).generator_loss)
