"""The precision chosen for a processor, and its measured speed."""

import platform

import pytest
import torch

from elektron import accelerator as module
from elektron.accelerator import Accelerator, cpu_is_fast_in_bf16

CPU = torch.device("cpu")


@pytest.fixture
def cpu(monkeypatch, tmp_path):
    """Simulates a machine without a GPU whose processor has the given architecture and flags."""

    def has(machine, flags, field="flags"):
        text = f"processor\t: 0\nmodel name\t: Some: CPU\n{field}\t\t: {flags}\n\nprocessor\t: 1\n"
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(platform, "machine", lambda: machine)
        reset()

    def reset():
        module.cpu_info.cache_clear()
        cpu_is_fast_in_bf16.cache_clear()

    monkeypatch.setattr(module, "cpu_is_fast_in_bf16", cpu_is_fast_in_bf16)  # undo the patch of conftest.py
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(module, "CPU_INFO", tmp_path / "cpuinfo")
    reset()
    yield has
    reset()


@pytest.mark.parametrize(
    ("flag", "dtype"), [("amx_bf16", torch.bfloat16), ("amx_int8", torch.float32), ("avx512_vnni", torch.float32)]
)
def test_x86_flags_determine_precision(cpu, flag, dtype):
    cpu("x86_64", f"avx2 avx512f {flag}")
    assert Accelerator.choose().dtype == dtype


@pytest.mark.parametrize(("bf16_flops", "dtype"), [(1.4e11, "float32"), (1.6e11, "bfloat16")])
@pytest.mark.parametrize("processor", ["x86_64 avx512_bf16", "aarch64 bf16", None])
def test_precision_is_measured_without_decisive_flags(cpu, monkeypatch, processor, bf16_flops, dtype):
    if processor:
        cpu(*processor.split(), field="flags" if processor.startswith("x86") else "Features")
    flops = {torch.bfloat16: bf16_flops, torch.float32: 1e11}
    monkeypatch.setattr(module, "matmul_flops_per_second", lambda _, dtype: flops[dtype])
    assert Accelerator.choose().precision == dtype


def test_given_precision_overrides_detection(cpu):
    cpu("x86_64", "amx_bf16")
    assert Accelerator.choose("fp32").dtype == torch.float32
    cpu("x86_64", "avx2")
    assert Accelerator.choose("bf16").dtype == torch.bfloat16


def test_kind_names_the_instruction_sets(cpu):
    cpu("x86_64", "sse2 amx_bf16 avx2 avx512f")
    assert Accelerator.choose("fp32").kind == "cpu x86_64 avx2 avx512f amx_bf16"
    assert module.cpu_info()["model name"] == "Some: CPU"
    cpu("aarch64", "fp asimd bf16", field="Features")
    assert Accelerator.choose("fp32").kind == "cpu aarch64 asimd bf16"


def test_peak_flops_uses_fastest_matmul_and_is_cached(monkeypatch):
    seconds = iter([4.0, 2.0, 8.0, 5.0])
    monkeypatch.setattr(module, "_product_seconds", lambda left, right: next(seconds))
    module.matmul_flops_per_second.cache_clear()
    accelerator = Accelerator(CPU, torch.float32)
    assert accelerator.peak_flops == 2 * 1024 * 1024 * 1024 / 2.0
    assert accelerator.peak_flops == 2 * 1024 * 1024 * 1024 / 2.0  # cached: no timings are left
    module.matmul_flops_per_second.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matmul_time_is_positive(dtype):
    square = torch.ones(64, 64, dtype=dtype)
    assert module._product_seconds(square, square) > 0
