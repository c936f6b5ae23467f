"""Functions for tensors that FSDP may have sharded over the ranks (DTensors). A plain tensor counts as one shard."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


@torch.no_grad()
def full_tensor(tensor: Tensor) -> Tensor:
    """The whole tensor. If it is sharded, this is a collective operation."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def copy_to_cpu(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Copy whole tensors to the CPU; the result is empty on ranks that do not `keep` them.

    If tensors are sharded, this is a collective operation. They are gathered one at a time, so that a device holds at
    most one whole tensor besides its shards.
    """
    copies = {}
    for name, tensor in tensors.items():
        full = full_tensor(tensor.detach())
        if keep:
            copies[name] = full.to("cpu", copy=True)
    return copies


@torch.no_grad()
def local_tensor(tensor: Tensor) -> Tensor:
    """This rank's shard, which shares the tensor's memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def gather_shards(shard: Tensor, like: Tensor) -> Tensor:
    """The whole tensor of which each rank has a `shard`, placed as in `like`. Collective if `like` is sharded."""
    if not isinstance(like, DTensor):
        return shard
    return DTensor.from_local(
        shard, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
    ).full_tensor()


def distribute_like(value: Tensor, other: Tensor) -> Tensor:
    """Move a whole tensor, which every rank has, to the device of `other`, and shard it in the same way."""
    value = value.to(other.device)
    if not isinstance(other, DTensor):
        return value
    # No source rank: each takes its shard of its own copy.
    return distribute_tensor(value, other.device_mesh, other.placements, src_data_rank=None)
