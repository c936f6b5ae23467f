"""Parts and wholes of tensors. How several processes share them, tests/pretraining/test_sharding.py shows."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from elektron.models.shards import divided, divided_like, in_host_memory, own_part, whole


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    """Of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_what_is_not_divided_is_its_own_part_and_whole():
    tensor = torch.arange(6.0)
    assert not divided(tensor)
    assert whole(tensor) is tensor
    assert own_part(tensor) is tensor
    assert not divided(divided_like(torch.ones(6), tensor))


def test_what_is_divided_comes_together_and_is_divided_again(mesh):
    tensor = torch.arange(6.0)
    part = distribute_tensor(tensor, mesh, [Shard(0)])
    assert divided(part)
    assert torch.equal(whole(part), tensor)
    own_part(part)[0] = 7
    assert whole(part)[0] == 7, "a part is the same memory"
    again = divided_like(tensor, part)
    assert divided(again)
    assert again.placements == part.placements
    assert torch.equal(whole(again), tensor)


def test_copies_in_host_memory_are_whole_and_for_one_process(mesh):
    tensor = torch.arange(6.0)
    tensors = {"whole": tensor, "parts": distribute_tensor(tensor.clone(), mesh, [Shard(0)])}
    assert in_host_memory(tensors, keeps=False) == {}
    kept = in_host_memory(tensors, keeps=True)
    for changed in tensors.values():
        own_part(changed).zero_()
    for copy in kept.values():
        assert not divided(copy)
        assert torch.equal(copy, torch.arange(6.0))
