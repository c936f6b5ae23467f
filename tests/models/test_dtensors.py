"""Parts and wholes of tensors. How several processes share them, tests/pretraining/test_sharding.py shows."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from elektron.models.dtensors import (
    copy_to_cpu,
    distribute_like,
    full_tensor,
    is_dtensor,
    local_tensor,
)


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    """Of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_what_is_not_divided_is_its_own_part_and_whole():
    tensor = torch.arange(6.0)
    assert not is_dtensor(tensor)
    assert full_tensor(tensor) is tensor
    assert local_tensor(tensor) is tensor
    assert not is_dtensor(distribute_like(torch.ones(6), tensor))


def test_what_is_divided_comes_together_and_is_divided_again(mesh):
    tensor = torch.arange(6.0)
    part = distribute_tensor(tensor, mesh, [Shard(0)])
    assert is_dtensor(part)
    assert torch.equal(full_tensor(part), tensor)
    local_tensor(part)[0] = 7
    assert full_tensor(part)[0] == 7, "a part is the same memory"
    again = distribute_like(tensor, part)
    assert is_dtensor(again)
    assert again.placements == part.placements
    assert torch.equal(full_tensor(again), tensor)


def test_copies_in_host_memory_are_whole_and_for_one_process(mesh):
    tensor = torch.arange(6.0)
    tensors = {"whole": tensor, "parts": distribute_tensor(tensor.clone(), mesh, [Shard(0)])}
    assert copy_to_cpu(tensors, keep=False) == {}
    kept = copy_to_cpu(tensors, keep=True)
    for changed in tensors.values():
        local_tensor(changed).zero_()
    for copy in kept.values():
        assert not is_dtensor(copy)
        assert torch.equal(copy, torch.arange(6.0))
