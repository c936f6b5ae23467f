"""Training plans: which network is trained in which step, changes of stage, and adversarial losses."""

import math

import pytest
import torch

from elektron.pretraining.config import OptimizerConfig, PlanOptions, PretrainConfig
from elektron.pretraining.objectives import UpdateRoles
from elektron.pretraining.objectives.base import packed_positions
from elektron.pretraining.objectives.corruption import at_positions
from elektron.pretraining.optimizers import PairOptimizer
from elektron.pretraining.plans import copy_weights, make_plan
from tests.models.conftest import SIZES, make_pair
from tests.pretraining.objectives.batches import make_batch, objective_of, run, whole, with_gradient


def plan_of(name, steps=100, **options):
    return make_plan(PretrainConfig(plan=name, plan_options=PlanOptions(**options)), steps)


def turns(plan, steps=100):
    return [plan.roles(step / steps, step) for step in range(steps)]


def test_joint_trains_both_at_every_step():
    assert set(turns(plan_of("joint"))) == {UpdateRoles()}


@pytest.mark.parametrize(("options", "first"), [({}, 50), ({"generator_steps": 30}, 30)])
def test_two_stage_trains_generator_then_discriminator(options, first):
    plan = plan_of("two_stage", **options)
    taken = turns(plan)
    assert [roles.generator for roles in taken] == [True] * first + [False] * (100 - first)
    assert [roles.discriminator for roles in taken] == [False] * first + [True] * (100 - first)
    assert plan.stage((first - 1) / 100) == 0
    assert plan.stage(first / 100) == 1


@pytest.mark.parametrize(("steps", "first"), [(7, 3), (30, 7), (1200, 333), (999_983, 123_457)])
def test_second_stage_begins_at_exact_step_despite_rounding(steps, first):
    plan = plan_of("two_stage", steps, generator_steps=first)
    assert plan.stage((first - 1) / steps) == 0
    assert plan.stage(first / steps) == 1
    assert plan.stage_fraction(first / steps) == pytest.approx(0, abs=1e-9)
    assert plan.stage_fraction(1.0) == pytest.approx(1)


def test_each_stage_has_its_own_schedule():
    plan = plan_of("two_stage")
    assert [plan.stage_fraction(s) for s in (0, 0.25, 0.5, 0.75)] == [0, 0.5, 0, 0.5]


def test_copy_weights_copies_all_weights_of_generator_of_same_size():
    pair = make_pair("electra", generator_sizes=SIZES, sharing="none")
    copied, total = copy_weights(pair)
    assert copied == total
    theirs = dict(pair.generator.base_model.named_parameters())
    for name, parameter in pair.discriminator.base_model.named_parameters():
        assert torch.equal(parameter, theirs[name]), name
        assert parameter is not theirs[name]


def test_copy_weights_copies_only_matching_weights_of_smaller_generator():
    pair = make_pair("electra", sharing="none")
    before = pair.discriminator.electra.encoder.layer[0].output.dense.weight.clone()
    copied, total = copy_weights(pair)
    assert 0 < copied < total
    table = pair.generator.get_input_embeddings().weight
    assert torch.equal(pair.discriminator.get_input_embeddings().weight, table)
    assert torch.equal(pair.discriminator.electra.encoder.layer[0].output.dense.weight, before)


def test_copy_weights_leaves_gdes_embedding_difference_zero():
    pair = make_pair("electra", generator_sizes=SIZES, sharing="gdes")
    copy_weights(pair)
    assert (pair.discriminator.get_input_embeddings().weight == 0).all()


def test_alternating_trains_networks_in_turns():
    taken = turns(plan_of("alternating", generator_turn=2, discriminator_turn=3), 10)
    assert [roles.generator for roles in taken] == [True, True, False, False, False] * 2
    assert all(roles.generator != roles.discriminator for roles in taken)
    assert not any(roles.similarity for roles in taken)


def test_similarity_loss_is_used_in_discriminator_turns():
    taken = turns(plan_of("alternating", similarity=2.0), 4)
    assert [roles.similarity for roles in taken] == [False, True, False, True]


def step(pair, optimizer, objective, roles):
    output = objective(pair, make_batch(), roles, torch.ones(()))
    sum(objective.losses(output, whole(make_batch()), roles).values()).backward()
    optimizer.step(1.0)
    return output


def adamw(pair, lr=3e-3):
    return PairOptimizer(pair, OptimizerConfig(name="adamw", learning_rate=lr, bias_correction=True))


@pytest.mark.parametrize(
    ("roles", "still"),
    [(UpdateRoles(generator=False), "generator"), (UpdateRoles(discriminator=False), "discriminator")],
)
def test_network_that_is_not_trained_is_unchanged(roles, still):
    pair = make_pair("elektron", sharing="none")
    other = {"generator": "discriminator", "discriminator": "generator"}[still]
    before = {n: p.clone() for n, p in pair.named_parameters()}
    step(pair, adamw(pair), objective_of("rtd"), roles)
    for name, parameter in pair.named_parameters():
        if name.startswith(still):
            assert torch.equal(parameter, before[name]), name
    assert any(
        not torch.equal(parameter, before[name])
        for name, parameter in pair.named_parameters()
        if name.startswith(other)
    )


def test_a_network_that_is_not_trained_has_no_dropout():
    pair = make_pair("electra", sharing="embeddings")
    pair.set_trained(generator=False, discriminator=True)
    assert not pair.generator.generator_predictions.training
    assert not pair.generator.electra.encoder.training
    assert pair.discriminator.electra.encoder.training
    assert pair.discriminator.electra.embeddings.training
    pair.set_trained(generator=True, discriminator=False)
    assert pair.generator.electra.embeddings.training
    assert not pair.discriminator.electra.encoder.training


def test_training_reduces_similarity_loss():
    pair = make_pair("elektron", sharing="none")
    pair.add_masked_lm()
    objective, optimizer = objective_of("rtd", similarity=5.0), adamw(pair)
    roles = UpdateRoles(generator=False, similarity=True)
    divergences = [step(pair, optimizer, objective, roles).similarity_loss.item() for _ in range(40)]
    assert divergences[-1] < 0.3 * divergences[0]
    assert min(divergences) >= 0


def test_similarity_loss_equals_kl_divergence_at_used_slots():
    pair = make_pair("elektron")
    pair.add_masked_lm()
    batch = make_batch()
    output = run("rtd", pair, batch, UpdateRoles(generator=False, similarity=True), similarity=1.0)
    places = packed_positions(batch)
    teacher = pair.token_logits(pair.generator_states(batch.masked_ids, places)).softmax(-1)
    states = pair.discriminator_states(output.corrupted_ids, places)
    student = pair.lm_logits(states).softmax(-1)
    divergence = (teacher * (teacher / student).log()).sum(-1)
    expected = divergence[0, 2] + divergence[0, 6] + divergence[1, 1]
    torch.testing.assert_close(output.similarity_loss, expected, rtol=1e-4, atol=1e-5)


def log_probability_of_samples(pair, batch, samples):
    logits = pair.token_logits(pair.generator_states(batch.masked_ids, packed_positions(batch)))
    chosen = at_positions(logits.log_softmax(-1), batch.masked_positions)
    return chosen.gather(-1, samples[..., None]).squeeze(-1)


def adversarial_pair():
    pair = make_pair("elektron", sharing="none")
    plan_of("adversarial").prepare(pair)
    torch.nn.init.zeros_(pair.baseline.weight)
    return pair


@pytest.mark.parametrize(("fooled", "sign"), [(True, 1), (False, -1)])
def test_adversarial_step_favors_samples_that_fool_discriminator(fooled, sign):
    """All samples are replaced, and the discriminator predicts either original or replaced for all of them."""
    pair, batch, objective = adversarial_pair(), make_batch(), objective_of("rtd")
    with torch.no_grad():
        pair.discriminator.prediction.weight.zero_()
        pair.discriminator.prediction.bias.fill_(-6.0 if fooled else 6.0)
        pair.baseline.bias.fill_(-0.5)  # predicts a reward of about 1 nat
    output = objective(pair, batch, UpdateRoles(adversarial=True), torch.ones(()))
    samples = output.corrupted_ids.gather(1, batch.masked_positions)
    used = batch.weights > 0
    assert output.replaced.gather(1, batch.masked_positions)[used].all()
    before = log_probability_of_samples(pair, batch, samples)
    optimizer = adamw(pair, lr=1e-3)
    objective.generator_loss(output, whole(batch)).backward()
    optimizer.step(1.0)
    after = log_probability_of_samples(pair, batch, samples)
    assert (sign * (after - before)[used] > 0).all()


def test_baseline_learns_discriminator_loss_as_reward():
    pair, batch, objective = adversarial_pair(), make_batch(), objective_of("rtd")
    optimizer = adamw(pair, lr=5e-2)
    errors = []
    for _ in range(60):
        output = objective(pair, batch, UpdateRoles(adversarial=True), torch.ones(()))
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            output.logits, output.replaced.float(), reduction="none"
        )
        reward = at_positions(losses, batch.masked_positions)
        states = at_positions(pair.generator_states(batch.masked_ids, packed_positions(batch)), batch.masked_positions)
        baseline = -torch.nn.functional.logsigmoid(pair.baseline(states)).squeeze(-1)
        errors.append(((reward - baseline) * batch.weights).abs().sum().item())
        pair.generator.requires_grad_(False)  # only the baseline moves here
        objective.generator_loss(output, whole(batch)).backward()
        optimizer.step(1.0)
        pair.generator.requires_grad_(True)
    assert errors[-1] < 0.5 * errors[0]


def test_reward_equal_to_baseline_gives_no_generator_gradient():
    """The adversarial loss has no gradient besides that of the reward."""
    pair, batch, bias = adversarial_pair(), make_batch(), 0.7
    with torch.no_grad():
        pair.discriminator.prediction.weight.zero_()
        pair.discriminator.prediction.bias.fill_(bias)
        pair.baseline.bias.fill_(bias)  # samples here are all replaced: their loss is -log σ(bias)
    run("rtd", pair, batch, UpdateRoles(adversarial=True)).policy_loss.backward()
    assert not with_gradient(pair.discriminator)
    for name, parameter in pair.generator.named_parameters():
        assert parameter.grad is None or parameter.grad.abs().max() < 1e-6, name


def test_frozen_generator_temperature_decays():
    plan = plan_of("frozen_generator", generator="x", temperature=3.0, temperature_decay=0.5)
    assert plan.temperature(0) == 3
    assert plan.temperature(0.5) == pytest.approx(1 + 2 / math.e)
    assert plan.temperature(1) == pytest.approx(1 + 2 / math.e**2)
    assert set(turns(plan)) == {UpdateRoles(generator=False)}


def test_optimizers_exclude_frozen_generator():
    pair = make_pair("elektron", sharing="gdes")
    plan_of("frozen_generator", generator="x").prepare(pair)
    known = {optimized for o in adamw(pair).optimizers for g in o.param_groups for optimized in g["params"]}
    assert known == set(pair.discriminator.parameters())
