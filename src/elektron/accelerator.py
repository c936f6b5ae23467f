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
"""Instruction sets that decide which kernels run, by their names in /proc/cpuinfo."""
MIN_BF16_SPEEDUP = 1.5
"""Least speedup of bf16 matrix products on a CPU that makes up for the casts around them."""


@dataclass(frozen=True)
class Accelerator:
    """A device, and the dtype of matrix products on it."""

    device: torch.device
    dtype: torch.dtype
    """Dtype of matrix products under `autocast`."""

    @classmethod
    def choose(cls, precision: Precision | None = None) -> Accelerator:
        """The GPU if there is one, else the CPU. By default in bf16 if that speeds up matrix products, else in fp32."""
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
        """Name of the GPU, or the CPU with its number of threads."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        threads = torch.get_num_threads()
        return f"CPU, {threads} thread{'s' if threads > 1 else ''}"

    @property
    def kind(self) -> str:
        """The GPU's name, or the CPU's instruction sets. Results may differ in the last bits between kinds."""
        if self.device.type == "cuda":
            return f"cuda {self.name}"
        flags = cpu_flags()
        return " ".join(["cpu", platform.machine(), *(name for name in INSTRUCTION_SETS if name in flags)])

    @property
    def peak_flops(self) -> float:
        """Measured floating-point operations per second of a large matrix product in this precision."""
        return matmul_flops_per_second(self.device, self.dtype)

    @property
    def precision(self) -> str:
        """`float32` or `bfloat16`."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def muon_dtype(self) -> torch.dtype:
        """Dtype of Muon's iterations: bf16 on a GPU that supports it, else `dtype`."""
        on_gpu = self.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if on_gpu else self.dtype

    def autocast(self) -> torch.autocast:
        """Autocast to `dtype`; does nothing if that is fp32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


@cache
def cpu_info() -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo, such as `model name`; empty if there is no such file."""
    try:
        text = CPU_INFO.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    fields = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in fields}


def cpu_flags() -> set[str]:
    """The processor's instruction sets in /proc/cpuinfo; empty if it names none."""
    info = cpu_info()
    return set((info.get("flags") or info.get("Features") or "").split())


@cache
def cpu_is_fast_in_bf16() -> bool:
    """Whether bf16 matrix products are faster than fp32 ones on this CPU.

    With AMX they are; on x86 with neither AMX nor AVX-512-bf16 they are not. Other processors are timed: with
    AVX-512-bf16 alone, some are twice as fast in bf16 and others half as fast.
    """
    flags = cpu_flags()
    if "amx_bf16" in flags:
        return True
    if flags and platform.machine() == "x86_64" and "avx512_bf16" not in flags:
        return False
    cpu = torch.device("cpu")
    return matmul_flops_per_second(cpu, torch.bfloat16) > MIN_BF16_SPEEDUP * matmul_flops_per_second(cpu, torch.float32)


@cache
def matmul_flops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a matrix product, the best of several; measured once per process."""
    rows, width = (8192, 8192) if device.type == "cuda" else (1024, 1024)
    # Random, because GPUs multiply matrices of equal numbers faster. The global generator is not used or changed.
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
def deterministic_algorithms(device: torch.device) -> Iterator[None]:
    """Use deterministic algorithms on a CPU, where they cost at most one percent of the speed.

    GPUs are left as they are: there, some operations have no deterministic algorithm and others have slow ones.
    """
    before = torch.are_deterministic_algorithms_enabled()
    settings: Any = torch.utils.deterministic
    fills = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(before or device.type == "cpu")
    # Filling uninitialized tensors costs time and is not needed: no code here reads them before it writes them.
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        settings.fill_uninitialized_memory = fills
