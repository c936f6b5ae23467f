"""Muon (Jordan et al. 2024), which updates matrices of equal shape together and never waits for the device.

`torch.optim.Muon` updates one matrix at a time, with about thirty small kernels each. Here matrices of one shape are
stacked and orthogonalised by batched products. As in torch's fused AdamW, the caller sets `grad_scale` and `found_inf`
before each step, so that the device itself decides whether to skip it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from elektron.models.dtensors import distribute_like, full_tensor, gather_shards, local_tensor

# Coefficients of a quintic Newton-Schulz iteration with a steep slope at zero (Jordan et al. 2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
EPS = 1e-7


class Muon(torch.optim.Optimizer):
    """Momentum with Nesterov's correction, orthogonalised by Newton-Schulz iterations.

    Args:
        params: parameter groups of 2-D parameters. A group may state `parts`: how many matrices of one
            shape are stacked along the first dimension of each of its parameters (fused query, key and
            value); each is orthogonalised on its own.
        lr: learning rate; a matrix with more rows than columns takes `sqrt(rows / columns)` times it.
        momentum: decay of the running mean of gradients.
        weight_decay: decoupled weight decay.
        constant_norm: scale each matrix back to the Frobenius norm `sqrt(rows)` after each step. For
            networks whose output does not depend on the norm: the learning rate is then the angle in
            radians by which a step rotates the matrix, throughout the training.
        dtype: dtype of the iterations.
    """

    def __init__(
        self,
        params: list[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        constant_norm: bool = False,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"constant_norm": constant_norm, "parts": 1})
        self.dtype = dtype
        self.grad_scale: Tensor | None = None
        """`()`: the scalar by which gradients are divided."""
        self.found_inf: Tensor | None = None
        """`()`: 1 to skip the step, else 0."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            buckets: dict[Any, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    # A sharded matrix is gathered for its update; one at a time, to bound the memory.
                    buckets[id(parameter) if isinstance(parameter, DTensor) else parameter.shape].append(parameter)
            for parameters in buckets.values():
                self._update(parameters, group)

    def _update(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        buffers = [local_tensor(self.state[p]["momentum_buffer"]) for p in parameters]
        gradients = torch.stack([local_tensor(p.grad) for p in parameters if p.grad is not None])
        take_step = torch.ones((), dtype=torch.bool, device=gradients.device)
        if self.found_inf is not None:
            take_step = self.found_inf == 0
        if self.grad_scale is not None:
            gradients /= self.grad_scale
        before = torch.stack(buffers)
        momentum = before.lerp(gradients, 1 - group["momentum"])
        torch._foreach_copy_(buffers, list(torch.where(take_step, momentum, before).unbind(0)))
        directions = gradients.lerp_(momentum, group["momentum"])

        weights = torch.stack([full_tensor(p) for p in parameters])
        directions = torch.stack([gather_shards(d, p) for d, p in zip(directions.unbind(0), parameters, strict=True)])
        stacked = weights.view(len(parameters) * group["parts"], -1, weights.shape[-1])
        rows, columns = stacked.shape[1:]
        updates = orthogonalize(directions.view_as(stacked), self.dtype).to(stacked.dtype)
        lr = group["lr"]
        updated = stacked.mul(1 - lr * group["weight_decay"])
        updated.sub_(updates, alpha=lr * max(1.0, rows / columns) ** 0.5)
        if group["constant_norm"]:
            updated *= rows**0.5 / torch.linalg.matrix_norm(updated, keepdim=True).clamp(min=EPS)
        updated = torch.where(take_step, updated, stacked).view_as(weights)
        torch._foreach_copy_(
            [local_tensor(p) for p in parameters],
            [local_tensor(distribute_like(new, p)) for new, p in zip(updated.unbind(0), parameters, strict=True)],
        )


def orthogonalize(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Bring the singular values of matrices `(count, rows, columns)` near 1 by Newton-Schulz iterations in `dtype`."""
    a = COEFFICIENTS[0]
    x = matrices.to(dtype)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / torch.linalg.matrix_norm(x.float(), keepdim=True).clamp(min=EPS).to(dtype)
    if dtype == torch.float32 and x.shape[2] >= 2 * x.shape[1]:
        x = torch.bmm(composed_polynomial(torch.bmm(x, x.transpose(1, 2))), x)
        return x.transpose(1, 2) if tall else x
    for _ in range(ITERATIONS):
        x = torch.baddbmm(x, polynomial(torch.bmm(x, x.transpose(1, 2))), x, beta=a)
    return x.transpose(1, 2) if tall else x


def composed_polynomial(gram: Tensor) -> Tensor:
    """The matrices `(count, rows, rows)` that apply all iterations at once, from Gram matrices of the same shape.

    Multiplying by them is equivalent to the iterations, with smaller matrix products. Not for bf16: a Gram matrix has
    the squares of the singular values, of which bf16 loses the small ones.
    """

    def step(gram: Tensor) -> Tensor:
        factor = polynomial(gram)
        factor.diagonal(dim1=1, dim2=2).add_(COEFFICIENTS[0])
        return factor

    factor = product = step(gram)
    for _ in range(ITERATIONS - 1):
        gram = torch.bmm(torch.bmm(factor, gram), factor)
        factor = step(gram)
        product = torch.bmm(factor, product)
    return product


def polynomial(gram: Tensor) -> Tensor:
    """The iteration's polynomial in Gram matrices `g` without its constant term: `b g + c g²`."""
    _, b, c = COEFFICIENTS
    return torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
