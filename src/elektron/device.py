"""The device that everything runs on, and the precision of its matrix products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class Device:
    """A GPU if there is one, else the CPU."""

    device: torch.device
    dtype: torch.dtype
    """Of matrix products under `autocast`."""

    @classmethod
    def choose(cls, precision: Literal["fp32", "bf16"] | None = None) -> Device:
        """The device, with the precision asked for, else bf16 where it is fast (on CPUs fp32 mostly wins)."""
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", torch.cuda.current_device())
        if precision is not None:
            return cls(device, torch.bfloat16 if precision == "bf16" else torch.float32)
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return cls(device, torch.bfloat16 if fast else torch.float32)

    @property
    def name(self) -> str:
        """The device in words."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        threads = torch.get_num_threads()
        return f"CPU, {threads} thread{'s' if threads > 1 else ''}"

    @property
    def precision(self) -> str:
        """`float32` or `bfloat16`."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def muon_dtype(self) -> torch.dtype:
        """Of Muon's iterations: bf16 wherever it is fast."""
        return torch.bfloat16 if self.device.type == "cuda" else self.dtype

    def autocast(self) -> torch.autocast:
        """Matrix products in the lower precision; nothing changes where that is fp32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


@contextmanager
def same_bits(device: torch.device) -> Iterator[None]:
    """On a CPU, only algorithms that give the same bits every time; measured, they cost a percent at most.

    On GPUs some operations have none, and others would cost speed.
    """
    before = torch.are_deterministic_algorithms_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(before or device.type == "cpu")
    # Nothing here reads memory before it is written; filling every new tensor costs a write of it.
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = fills
