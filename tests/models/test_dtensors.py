"""Plain and sharded tensors in one process; tests/pretraining/test_sharding.py tests several processes."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from elektron.models.dtensors import copy_to_cpu, distribute_like, full_tensor, local_tensor


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    """A mesh of this process only."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_plain_tensor_is_its_own_shard_and_full_tensor():
    tensor = torch.arange(6.0)
    assert not isinstance(tensor, DTensor)
    assert full_tensor(tensor) is tensor
    assert local_tensor(tensor) is tensor
    assert not isinstance(distribute_like(torch.ones(6), tensor), DTensor)


def test_dtensor_is_gathered_and_distributed_again(mesh):
    tensor = torch.arange(6.0)
    part = distribute_tensor(tensor, mesh, [Shard(0)])
    assert isinstance(part, DTensor)
    assert torch.equal(full_tensor(part), tensor)
    local_tensor(part)[0] = 7
    assert full_tensor(part)[0] == 7, "a part is the same memory"
    again = distribute_like(tensor, part)
    assert isinstance(again, DTensor)
    assert again.placements == part.placements
    assert torch.equal(full_tensor(again), tensor)


def test_copy_to_cpu_returns_full_tensors_only_if_kept(mesh):
    tensor = torch.arange(6.0)
    tensors = {"whole": tensor, "parts": distribute_tensor(tensor.clone(), mesh, [Shard(0)])}
    assert copy_to_cpu(tensors, keep=False) == {}
    kept = copy_to_cpu(tensors, keep=True)
    for changed in tensors.values():
        local_tensor(changed).zero_()
    for copy in kept.values():
        assert not isinstance(copy, DTensor)
        assert torch.equal(copy, torch.arange(6.0))
