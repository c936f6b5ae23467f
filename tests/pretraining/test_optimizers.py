"""Learning rates, parameters of Muon, weight decay, clipping, and Adam without bias correction."""

import math

import pytest
import torch

from elektron.pretraining.config import OptimizerConfig
from elektron.pretraining.optimizers import PairOptimizer, encoder_matrices
from elektron.pretraining.schedules import learning_rate_factor
from tests.models.conftest import alone, make_pair


def config(**changes):
    return OptimizerConfig(**({"name": "adamw", "learning_rate": 1e-2, "bias_correction": True} | changes))


@pytest.mark.parametrize(
    ("share", "step", "warmup", "cooldown", "expected"),
    [
        (0.0, 1, 10, 1.0, 0.1),
        (0.1, 100, 10_000, 1.0, 0.9 * 0.01),
        (0.5, 50, 10, 1.0, 0.5),
        (0.5, 50, 10, 0.4, 1.0),
        (0.8, 80, 10, 0.4, 0.5),
        (0.005, 1, 0.01, 1.0, 0.5 * 0.995),
        (0.25, 1, 0, 1.0, 0.75),
        (1.0, 100, 10, 1.0, 0.0),
    ],
)
def test_learning_rate_factor_is_warmup_times_linear_decay(share, step, warmup, cooldown, expected):
    assert learning_rate_factor(share, step, warmup, cooldown) == pytest.approx(expected)


@pytest.mark.parametrize("family", ["elektron", "electra"])
def test_muon_optimizes_only_matrices_inside_layers(family):
    pair = make_pair(family)
    optimizer = PairOptimizer(pair, config(name="muon"))
    adamw, muon = optimizer.optimizers
    in_muon = {optimizer.names[p] for g in muon.param_groups for p in g["params"]}
    in_adamw = {optimizer.names[p] for g in adamw.param_groups for p in g["params"]}
    assert in_muon | in_adamw == set(optimizer.names.values())
    assert not in_muon & in_adamw
    assert all(".layers." in name or ".encoder.layer." in name for name in in_muon)
    assert not any("embeddings" in name or "prediction" in name for name in in_muon)
    assert len(in_muon) == len(encoder_matrices(pair)) == 2 * 2 * (4 if family == "elektron" else 6)


def test_no_decay_on_norms_and_biases():
    optimizer = PairOptimizer(make_pair("electra"), config(weight_decay=0.5))
    for group in optimizer.optimizers[0].param_groups:
        dimensions = {p.ndim >= 2 for p in group["params"]}
        assert dimensions == {group["weight_decay"] == 0.5}


def test_only_new_heads_have_head_learning_rate():
    pair = make_pair("electra")
    pair.new_parts.remove("generator")
    optimizer = PairOptimizer(pair, config(learning_rate=1e-3, head_learning_rate=1e-2, weight_decay=0.0, eps=1e-12))
    before = {name: p.detach().clone() for p, name in optimizer.names.items()}
    for parameter in optimizer.names:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(0.5)
    for parameter, name in optimizer.names.items():
        rate = 1e-2 if name.startswith("discriminator.discriminator_predictions") else 1e-3
        torch.testing.assert_close(before[name] - parameter.detach(), torch.full_like(parameter, 0.5 * rate))


def set_gradients(optimizer, value):
    """Set all gradients to `value`."""
    for parameter in optimizer.parameters:
        parameter.grad = torch.full_like(parameter, value)


def test_gradients_are_clipped_by_joint_norm_of_both_networks():
    pair = make_pair("elektron")
    optimizer = PairOptimizer(pair, config(max_grad_norm=1.0))
    set_gradients(optimizer, 2.0)
    numbers = {name: sum(p.numel() for p in parameters) for name, parameters in optimizer.networks.items()}
    clipped = {}
    for inner in optimizer.optimizers:
        inner.step = lambda inner=inner: clipped.update(
            norm=torch.cat([p.grad.flatten() for p in pair.parameters()]).norm().item() / inner.grad_scale.item()
        )
    norms = optimizer.step(1.0)
    for name, norm in norms.items():
        assert norm.item() == pytest.approx(2 * math.sqrt(numbers[name]), rel=1e-5)
    assert clipped["norm"] == pytest.approx(1.0, abs=1e-4)
    assert sum(numbers.values()) == sum(p.numel() for p in pair.parameters())


def test_first_step_of_adam_is_3_times_larger_without_bias_correction():
    steps = {}
    for correction in (True, False):
        pair = make_pair("electra")
        optimizer = PairOptimizer(
            pair, config(bias_correction=correction, weight_decay=0.0, max_grad_norm=1e9, eps=1e-6)
        )
        parameter = next(iter(pair.parameters()))
        before = parameter.detach().clone()
        set_gradients(optimizer, 0.5)
        optimizer.step(1.0)
        steps[correction] = before - parameter.detach()
    torch.testing.assert_close(steps[True], torch.full_like(parameter, 1e-2), rtol=1e-3, atol=0)
    # (1 - 0.9) g / sqrt((1 - 0.999) g²) = 0.1 / sqrt(0.001) = 3.16
    torch.testing.assert_close(steps[False], torch.full_like(parameter, 3.162e-2), rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_optimizer_state_round_trip(name):
    pairs = [make_pair("elektron"), make_pair("elektron")]
    optimizers = [PairOptimizer(pair, config(name=name)) for pair in pairs]
    for _ in range(2):
        set_gradients(optimizers[0], 0.1)
        optimizers[0].step(1.0)
    state = {key: value.clone() for key, value in optimizers[0].state_tensors().items()}
    optimizers[1].load_state_tensors(state.items())
    pairs[1].load_state_dict(pairs[0].state_dict())
    for optimizer in optimizers:
        set_gradients(optimizer, -0.3)
        optimizer.step(0.5)
    for first, second in zip(pairs[0].parameters(), pairs[1].parameters(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("correction", [True, False])
def test_load_state_tensors_replaces_all_state(correction):
    """As in a rollback to a checkpoint from before the discriminator was trained."""
    optimizer = PairOptimizer(make_pair("elektron"), config(bias_correction=correction))
    set_gradients(optimizer, 0.1)
    for parameter in optimizer.networks["discriminator"]:
        parameter.grad = None
    optimizer.step(1.0)
    early = {key: value.clone() for key, value in optimizer.state_tensors().items()}
    set_gradients(optimizer, 0.1)
    optimizer.step(1.0)
    optimizer.load_state_tensors(early.items())
    assert optimizer.state_tensors().keys() == early.keys()
    assert all(torch.equal(early[key], value) for key, value in optimizer.state_tensors().items())


def losses(pair):
    ids = torch.tensor([[2, 9, 3]])
    generator = pair.token_logits(pair.generator_states(ids, alone(ids))).logsumexp(-1).sum()
    return generator, 50 * pair.replaced_logits(pair.discriminator_states(ids, alone(ids))).sum()


def test_shared_embeddings_get_sum_of_gradients():
    pair = make_pair("elektron")
    table = pair.discriminator.get_input_embeddings().weight
    expected = torch.autograd.grad(sum(losses(pair)), table)[0]
    for _ in range(2):  # two micro-batches
        sum(losses(pair)).backward()
    torch.testing.assert_close(table.grad, 2 * expected)


def test_network_without_gradients_has_norm_0_and_is_unchanged():
    pair = make_pair("elektron", sharing="none")
    optimizer = PairOptimizer(pair, config(weight_decay=0.5))
    before = [p.clone() for p in pair.discriminator.parameters()]
    losses(pair)[0].backward()
    norms = optimizer.step(1.0)
    assert norms["discriminator"] == 0
    assert norms["generator"] > 0
    for old, parameter in zip(before, pair.discriminator.parameters(), strict=True):
        assert torch.equal(old, parameter)


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("steps_before", [0, 2])
def test_non_finite_gradients_change_neither_weights_nor_moments(name, steps_before):
    pair = make_pair("elektron")
    optimizer = PairOptimizer(pair, config(name=name))
    for _ in range(steps_before):
        set_gradients(optimizer, 0.1)
        optimizer.step(1.0)
    weights = [p.clone() for p in pair.parameters()]
    moments = {n: t.clone() for n, t in optimizer.state_tensors().items()}
    set_gradients(optimizer, 0.1)
    for parameter in optimizer.parameters:
        parameter.grad[0] = float("nan")
    norms = optimizer.step(1.0)
    assert not torch.isfinite(norms["discriminator"] + norms["generator"])
    for before, parameter in zip(weights, pair.parameters(), strict=True):
        assert torch.equal(before, parameter)
    for key, value in optimizer.state_tensors().items():
        assert torch.equal(value, moments.get(key, torch.zeros_like(value))), key
