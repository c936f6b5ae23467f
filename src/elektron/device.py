"""The device that everything runs on, and the precision of its matrix products."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

Precision = Literal["fp32", "bf16"]

CPU_INFO = Path("/proc/cpuinfo")
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
"""Linux' names for what decides which kernels run."""
WORTH_BF16 = 1.5
"""How much faster bf16 products must be on a processor to make up for the conversions around them."""


@dataclass(frozen=True)
class Device:
    """A GPU if there is one, else the CPU."""

    device: torch.device
    dtype: torch.dtype
    """Of matrix products under `autocast`."""

    @classmethod
    def choose(cls, precision: Precision | None = None) -> Device:
        """The device, with the given precision, else bf16 where matrix products are faster in it."""
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", torch.cuda.current_device())
        if precision is not None:
            return cls(device, torch.bfloat16 if precision == "bf16" else torch.float32)
        on_gpu = device.type == "cuda"
        fast = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_is_fast_in_bf16()
        return cls(device, torch.bfloat16 if fast else torch.float32)

    @property
    def name(self) -> str:
        """The device in words."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        threads = torch.get_num_threads()
        return f"CPU, {threads} thread{'s' if threads > 1 else ''}"

    @property
    def kind(self) -> str:
        """The processor and its instruction sets: bits may differ between devices of different kinds."""
        if self.device.type == "cuda":
            return f"cuda {self.name}"
        flags = cpu_flags()
        return " ".join(["cpu", platform.machine(), *(name for name in INSTRUCTION_SETS if name in flags)])

    @property
    def peak_flops(self) -> float:
        """Measured floating-point operations per second of a large matrix product in this precision."""
        return product_flops(self.device, self.dtype)

    @property
    def precision(self) -> str:
        """`float32` or `bfloat16`."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def muon_dtype(self) -> torch.dtype:
        """Of Muon's iterations: bf16 wherever it is fast."""
        on_gpu = self.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if on_gpu else self.dtype

    def autocast(self) -> torch.autocast:
        """Matrix products in the lower precision; nothing changes where that is fp32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


@cache
def cpu_info() -> dict[str, str]:
    """What Linux says of the first processor, such as its `model name`; nothing on other systems."""
    try:
        text = CPU_INFO.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    fields = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in fields}


def cpu_flags() -> set[str]:
    """The processor's instruction sets, where Linux names them."""
    info = cpu_info()
    return set((info.get("flags") or info.get("Features") or "").split())


@cache
def cpu_is_fast_in_bf16() -> bool:
    """Whether bf16 matrix products are faster than fp32 ones; measured where the processor does not tell.

    AVX-512-bf16 does not: with it some processors are twice as fast in bf16 and others half as fast.
    """
    flags = cpu_flags()
    if "amx_bf16" in flags:
        return True
    if flags and platform.machine() == "x86_64" and "avx512_bf16" not in flags:
        return False
    cpu = torch.device("cpu")
    return product_flops(cpu, torch.bfloat16) > WORTH_BF16 * product_flops(cpu, torch.float32)


@cache
def product_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a matrix product, the best of several; measured once a process."""
    rows, width = (8192, 8192) if device.type == "cuda" else (1024, 1024)
    # GPUs multiply equal numbers faster than others; the global generator stays as it is.
    generator = torch.Generator(device).manual_seed(0)
    left, right = (
        torch.randn(count, width, generator=generator, device=device, dtype=dtype) for count in (rows, width)
    )
    seconds = min(_product_seconds(left, right) for _ in range(4))
    return 2 * rows * width * width / seconds


@torch.no_grad()
def _product_seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    if left.device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        left @ right
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1000
    began = time.perf_counter()
    left @ right
    return time.perf_counter() - began


@contextmanager
def same_bits(device: torch.device) -> Iterator[None]:
    """On a CPU, only algorithms that give the same bits every time; measured, they cost a percent at most.

    On GPUs some operations have none, and others would cost speed.
    """
    before = torch.are_deterministic_algorithms_enabled()
    settings: Any = torch.utils.deterministic
    fills = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(before or device.type == "cpu")
    # Nothing here reads memory before it is written; filling every new tensor costs a write of it.
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        settings.fill_uninitialized_memory = fills
