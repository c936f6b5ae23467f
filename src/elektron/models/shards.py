"""Tensors of which each process holds a part: rows of them, as FSDP divides parameters.

A tensor that is not divided is its own part and its own whole, so that nobody has to ask which it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def divided(tensor: Tensor) -> bool:
    """Whether each process has a part of it only."""
    return isinstance(tensor, DTensor)


@torch.no_grad()
def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; where it is divided, every process has to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def in_host_memory(tensors: Mapping[str, Tensor], keeps: bool) -> dict[str, Tensor]:
    """Copies of whole tensors; where some are divided, every process has to ask, of which one `keeps` them.

    They are put together one at a time, so that a device never has more than one whole besides its own.
    """
    kept = {}
    for name, tensor in tensors.items():
        together = whole(tensor.detach())
        if keeps:
            kept[name] = together.to("cpu", copy=True)
    return kept


@torch.no_grad()
def own_part(tensor: Tensor) -> Tensor:
    """The part that this process holds: the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def whole_of_part(part: Tensor, like: Tensor) -> Tensor:
    """Gather the tensor of which each process has the part that it has of `like`."""
    if not isinstance(like, DTensor):
        return part
    return DTensor.from_local(
        part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
    ).full_tensor()


def divided_like(value: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, which every process has, on the device of another and divided as that one is."""
    value = value.to(other.device)
    if not isinstance(other, DTensor):
        return value
    # No source: each process takes its part of what it has itself.
    return distribute_tensor(value, other.device_mesh, other.placements, src_data_rank=None)
