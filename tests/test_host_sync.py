from collections.abc import Callable

import pytest
import torch

from tests.host_sync import HostSyncError, NoHostSync

VALUES = torch.arange(4.0, requires_grad=True)
MASK = torch.tensor([True, False, True, False])
PLACES = torch.tensor([3, 0])


@pytest.mark.parametrize(
    "waits",
    [
        lambda: VALUES.sum().item(),
        lambda: float(VALUES.detach().sum()),
        lambda: bool(MASK.any()),
        lambda: torch.equal(VALUES, VALUES),
        MASK.nonzero,
        lambda: VALUES[MASK],
        lambda: VALUES.masked_select(MASK),
        lambda: VALUES.detach().clone().index_put_([MASK], VALUES[:2].detach()),
        lambda: VALUES.repeat_interleave(PLACES.repeat(2)),
        lambda: torch.tensor(0.5),
        lambda: torch.tensor([True, False]),
        lambda: VALUES.new_tensor([1.0]),
        lambda: VALUES[[0, 1]],
    ],
)
def test_synchronizing_operation_raises(waits: Callable[[], object]) -> None:
    waits()
    with pytest.raises(HostSyncError), NoHostSync():
        waits()


def test_asynchronous_operations_do_not_raise() -> None:
    with NoHostSync():
        chosen = torch.where(MASK, VALUES * 2.0, 0.0)[PLACES]
        (chosen.sum() + torch.full((), 0.5)).backward()
    assert chosen.tolist() == [0.0, 0.0]
    assert VALUES.grad is not None
    assert VALUES.grad.tolist() == [2.0, 0.0, 0.0, 0.0]


def test_synchronizing_operation_in_backward_raises() -> None:
    values = torch.ones(2, requires_grad=True)
    doubled = values * 2
    doubled.register_hook(lambda gradient: gradient * gradient.sum().item())
    with pytest.raises(HostSyncError), NoHostSync():
        doubled.sum().backward()
