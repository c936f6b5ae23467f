"""Detects, on any device, operations that would make a training step wait for a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Copies Python numbers into a tensor; on a GPU the host waits for this copy.
FROM_HOST = torch.ops.aten.lift_fresh.default
INDEXING = (
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._unsafe_index_put.default,
)
HOST_READS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class HostSyncError(AssertionError):
    """Raised for an operation that waits for the device."""


class NoHostSync(TorchDispatchMode):
    """Raises HostSyncError at eager operations of this thread that would wait for a GPU.

    Those are operations whose result or whose shape the host must read (`.item()`, `bool(tensor)`, `equal`,
    `nonzero`, `masked_select`, indexing by a mask), and tensors made from Python numbers
    (`torch.tensor`; also `tensor[0] = 1.0`, which fills in place on a GPU but looks the same on a
    CPU). Copies to the CPU do nothing on a CPU and are not detected.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func in INDEXING:
            syncs = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        else:
            syncs = func is FROM_HOST or bool(HOST_READS & set(func.tags))
        if syncs:
            raise HostSyncError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))
