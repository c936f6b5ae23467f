"""Batched Muon: equality with torch.optim.Muon, fused parts, constant norm, and steps skipped by `found_inf`."""

import pytest
import torch
from torch import nn

from elektron.muon import COEFFICIENTS, ITERATIONS, Muon, orthogonalize


def parameters(*shapes):
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in shapes]


def set_gradients(*lists):
    for several in zip(*lists, strict=True):
        gradient = torch.randn_like(several[0])
        for parameter in several:
            parameter.grad = gradient.clone()


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_equals_torch_muon(shape):
    ours, theirs = parameters(shape, (3, 7), shape), parameters(shape, (3, 7), shape)
    batched = Muon([{"params": ours}], lr=0.02, weight_decay=0.1)
    single = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, nesterov=True)
    before = [p.detach().clone() for p in ours]
    for _ in range(3):
        set_gradients(ours, theirs)
        batched.step()
        single.step()
    for old, mine, expected in zip(before, ours, theirs, strict=True):
        assert not torch.allclose(old, mine, atol=1e-2)
        torch.testing.assert_close(mine, expected, atol=2e-3, rtol=1e-2)
        torch.testing.assert_close(batched.state[mine]["momentum_buffer"], single.state[expected]["momentum_buffer"])


def test_fused_parts_equal_separate_parameters():
    (fused,) = parameters((12, 4))
    apart = [nn.Parameter(part.clone()) for part in fused.detach().split(4)]
    together = Muon([{"params": [fused], "parts": 3}], lr=0.1, dtype=torch.float32)
    separate = Muon([{"params": apart}], lr=0.1, dtype=torch.float32)
    fused.grad = torch.randn(12, 4)
    for parameter, gradient in zip(apart, fused.grad.split(4), strict=True):
        parameter.grad = gradient.clone()
    together.step()
    separate.step()
    torch.testing.assert_close(fused, torch.cat(apart))


def test_constant_norm_is_square_root_of_rows():
    (matrix,) = parameters((9, 4))
    optimizer = Muon([{"params": [matrix]}], lr=0.5, constant_norm=True, dtype=torch.float32)
    for _ in range(3):
        set_gradients([matrix])
        optimizer.step()
        assert matrix.norm().item() == pytest.approx(3.0, rel=1e-5)


@pytest.mark.parametrize("constant_norm", [False, True])
def test_found_inf_keeps_weights_and_momentum(constant_norm):
    (matrix,) = parameters((4, 3))
    optimizer = Muon([{"params": [matrix]}], lr=0.5, constant_norm=constant_norm)
    set_gradients([matrix])
    optimizer.step()
    before = matrix.detach().clone()
    momentum = optimizer.state[matrix]["momentum_buffer"].clone()
    optimizer.found_inf = torch.ones(())
    matrix.grad = torch.full((4, 3), float("nan"))
    optimizer.step()
    assert torch.equal(matrix, before)
    assert torch.equal(optimizer.state[matrix]["momentum_buffer"], momentum)


def test_gradients_are_divided_by_the_scale():
    first, second = parameters((4, 3)), parameters((4, 3))
    set_gradients(first, second)
    second[0].grad *= 8
    one, other = (Muon([{"params": each}], lr=0.1) for each in (first, second))
    other.grad_scale = torch.tensor(8.0)
    one.step()
    other.step()
    assert torch.equal(first[0], second[0])
    # The step does not depend on the scale of gradients, but the momentum does.
    assert torch.equal(one.state[first[0]]["momentum_buffer"], other.state[second[0]]["momentum_buffer"])


@pytest.mark.parametrize("shape", [(3, 5, 10), (3, 16, 4), (3, 6, 5)])
@pytest.mark.parametrize("rank", [1, 4])
def test_orthogonalize_applies_polynomial_to_singular_values(shape, rank):
    generator = torch.Generator().manual_seed(0)
    count, rows, columns = shape
    left, right = (
        torch.linalg.qr(torch.randn(count, size, rank, generator=generator, dtype=torch.float64))[0]
        for size in (rows, columns)
    )
    values = torch.tensor([10.0, 1.0, 0.1, 0.001][:rank], dtype=torch.float64)
    expected = values / values.norm()
    for _ in range(ITERATIONS):
        a, b, c = COEFFICIENTS
        expected = a * expected + b * expected**3 + c * expected**5
    found = orthogonalize((left * values @ right.mT).float(), torch.float32)
    torch.testing.assert_close(found.double(), left * expected @ right.mT, atol=1e-3, rtol=0)


def test_orthogonalize_of_zeros_is_zero():
    assert torch.equal(orthogonalize(torch.zeros(2, 3, 9), torch.float32), torch.zeros(2, 3, 9))
