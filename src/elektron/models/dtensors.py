"""Tensors that may be sharded over the ranks (DTensors, under FSDP); a plain tensor is its own shard and whole."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def is_dtensor(tensor: Tensor) -> bool:
    """Whether this rank holds a shard of the tensor only."""
    return isinstance(tensor, DTensor)


@torch.no_grad()
def full_tensor(tensor: Tensor) -> Tensor:
    """The whole tensor; collective where it is sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def copy_to_cpu(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Copies of whole tensors on the CPU; empty on ranks that do not `keep` them. Collective where some are sharded.

    Tensors are gathered one at a time, so that a device holds at most one whole tensor besides its shards.
    """
    copies = {}
    for name, tensor in tensors.items():
        whole = full_tensor(tensor.detach())
        if keep:
            copies[name] = whole.to("cpu", copy=True)
    return copies


@torch.no_grad()
def local_tensor(tensor: Tensor) -> Tensor:
    """This rank's shard; shares memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def gather_shards(shard: Tensor, like: Tensor) -> Tensor:
    """The whole tensor whose shards are placed as those of `like`."""
    if not isinstance(like, DTensor):
        return shard
    return DTensor.from_local(
        shard, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
    ).full_tensor()


def distribute_like(value: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, present on every rank, on the device of `other` and sharded as it is."""
    value = value.to(other.device)
    if not isinstance(other, DTensor):
        return value
    # No source rank: each takes its shard of its own copy.
    return distribute_tensor(value, other.device_mesh, other.placements, src_data_rank=None)
