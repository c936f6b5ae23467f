"""Which runs are compiled."""

import dataclasses

import pytest
import torch

from elektron.pretraining.compilation import COMPILED_FROM_FLOPS, should_compile
from elektron.pretraining.config import PretrainConfig

CPU, GPU = torch.device("cpu"), torch.device("cuda")
BY_STEPS = PretrainConfig(family="elektron", steps=10)
BY_TIME = PretrainConfig(family="elektron", minutes=3)


@pytest.fixture
def compiler(monkeypatch):
    for name in ("CXX", "CC"):
        monkeypatch.setenv(name, "sh")  # an executable that exists


@pytest.mark.parametrize(
    ("config", "device", "flops", "compiled"),
    [
        (BY_STEPS, GPU, None, True),
        (BY_STEPS, CPU, COMPILED_FROM_FLOPS, True),
        (BY_STEPS, CPU, COMPILED_FROM_FLOPS / 2, False),
        (BY_STEPS, CPU, None, False),
        (BY_TIME, CPU, None, True),
        (dataclasses.replace(BY_TIME, precision="bf16"), CPU, None, True),
        (dataclasses.replace(BY_TIME, family="electra"), CPU, None, False),
        (dataclasses.replace(BY_STEPS, family="bert"), CPU, COMPILED_FROM_FLOPS, False),
        (dataclasses.replace(BY_TIME, family="electra"), GPU, None, True),
        (dataclasses.replace(BY_TIME, family="electra", compile=True), CPU, None, True),
        (dataclasses.replace(BY_TIME, minutes=2.0), CPU, None, False),
        (dataclasses.replace(BY_STEPS, parallel="fsdp"), GPU, None, False),
        (dataclasses.replace(BY_STEPS, compile=True), CPU, 1, True),
        (dataclasses.replace(BY_STEPS, compile=False), GPU, None, False),
    ],
)
def test_should_compile_on_gpus_and_for_long_runs(compiler, config, device, flops, compiled):
    assert should_compile(config, device, flops) is compiled


@pytest.mark.parametrize("device", [CPU, GPU])
def test_should_not_compile_without_compiler(monkeypatch, device):
    monkeypatch.setenv("PATH", "")
    for name in ("CXX", "CC"):
        monkeypatch.setenv(name, "no-such-compiler")
    assert not should_compile(BY_TIME, device, None)
