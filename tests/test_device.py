"""Which precision a processor gets, and what is measured of it."""

import pytest
import torch

from elektron import device
from elektron.device import Device

CPU = torch.device("cpu")


@pytest.fixture
def capabilities(monkeypatch):
    """What the processor says of itself, on a machine without a GPU."""
    found = {"architecture": "x86_64", "avx2": True, "avx512_f": True}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    device.cpu_is_fast_in_bf16.cache_clear()
    yield found
    device.cpu_is_fast_in_bf16.cache_clear()


@pytest.mark.parametrize(
    ("instruction_set", "dtype"),
    [
        ("amx_bf16", torch.bfloat16),
        ("avx512_bf16", torch.bfloat16),
        ("amx_int8", torch.float32),
        ("avx512_vnni", torch.float32),
    ],
)
def test_x86_says_whether_bf16_is_fast(capabilities, instruction_set, dtype):
    capabilities[instruction_set] = True
    assert Device.choose().dtype == dtype


@pytest.mark.parametrize(("bf16_flops", "dtype"), [(1.4e11, "float32"), (1.6e11, "bfloat16")])
def test_other_processors_are_measured(capabilities, monkeypatch, bf16_flops, dtype):
    capabilities |= {"architecture": "arm64", "amx_bf16": True}
    flops = {torch.bfloat16: bf16_flops, torch.float32: 1e11}
    monkeypatch.setattr(device, "product_flops", lambda _, dtype: flops[dtype])
    assert Device.choose().precision == dtype


def test_the_given_precision_wins(capabilities):
    capabilities["amx_bf16"] = True
    assert Device.choose("fp32").dtype == torch.float32
    del capabilities["amx_bf16"]
    assert Device.choose("bf16").dtype == torch.bfloat16


def test_kind_names_the_instruction_sets(capabilities):
    assert Device.choose().kind == "cpu x86_64 avx2 avx512_f"
    capabilities["amx_bf16"] = True
    assert Device.choose().kind == "cpu x86_64 avx2 avx512_f amx_bf16"


def test_peak_is_the_best_of_several_products(monkeypatch):
    seconds = iter([4.0, 2.0, 8.0, 5.0, 5.0, 5.0])
    monkeypatch.setattr(device, "_product_seconds", lambda left, right: next(seconds))
    device.product_flops.cache_clear()
    on = Device(CPU, torch.float32)
    assert on.peak_flops == 2 * 2048 * 1024 * 1024 / 2.0
    assert on.peak_flops == 2 * 2048 * 1024 * 1024 / 2.0  # measured once: no more seconds are left
    device.product_flops.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_is_timed(dtype):
    square = torch.ones(64, 64, dtype=dtype)
    assert device._product_seconds(square, square) > 0
