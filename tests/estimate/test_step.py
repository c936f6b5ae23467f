"""A single training step: memory counted on fake tensors, compared with real ones."""

from typing import Any

import pytest
import torch

from elektron.accelerator import Accelerator
from elektron.estimate.estimate import Estimator
from elektron.estimate.step import LEARNING_RATE, LiveBytes, TrainingStep, bytes_of, count_memory, resident_peak
from elektron.models.families import FAMILIES
from elektron.pretraining.compatibility import SHALLOWER_GENERATOR
from elektron.pretraining.config import NetworkConfig, OptimizerConfig, PlanOptions
from elektron.pretraining.objectives import OBJECTIVES
from tests.estimate.conftest import tiny

SIZES = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
ROWS, LENGTH, VOCABULARY = 6, 64, 400
CPU = torch.device("cpu")


def sizes(family: str) -> dict[str, Any]:
    if family not in SHALLOWER_GENERATOR:
        return SIZES | {"embedding_size": 32, "generator_width": 0.5}
    return SIZES | {"embedding_size": 64, "generator_width": 1.0, "generator_layers": 1}


def estimator(**changes: Any) -> Estimator:
    network = sizes(changes.get("family", "elektron")) | {"dropout": changes.pop("dropout", 0.0)}
    settings = {"network": NetworkConfig(**network), "batch_size": ROWS, "seq_len": LENGTH}
    return Estimator(tiny(**(settings | {"vocab_size": VOCABULARY, "target": "cpu"} | changes)))


def real_peak(run: Estimator, dtype: torch.dtype, micro_batches: int = 1) -> int:
    """Peak bytes of a real step on a CPU, after a first step that created the optimizer's state."""
    with LiveBytes() as live:
        pair = run.build_pair("cpu")
        live.add(pair.parameters())
        step = TrainingStep(run.config, pair, run.manifest, Accelerator(CPU, dtype))
        for _ in range(2):
            live.peak = live.now
            for roles, shape in run.steps:
                for _ in range(micro_batches):
                    step.forward_backward(roles, step.batch(shape.rows // micro_batches, shape.length))
                step.optimizer.step(LEARNING_RATE)
    return live.peak


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_memory_of_families_matches_real_peak(family, dropout, precision):
    run = estimator(family=family, dropout=dropout, precision=precision)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    assert run.memory()[0].total == pytest.approx(real_peak(run, dtype), rel=0.01)


@pytest.mark.parametrize(
    "changes",
    [
        *({"objective": objective} for objective in OBJECTIVES),
        {"plan": "adversarial"},
        {"plan": "two_stage"},
        {"plan": "alternating", "plan_options": PlanOptions(similarity=1.0)},
        {"sharing": "gdes"},
    ],
    ids=str,
)
def test_memory_of_objectives_and_plans_matches_real_peak(changes):
    run = estimator(precision="fp32", **changes)
    assert run.memory()[0].total == pytest.approx(real_peak(run, torch.float32), rel=0.01)


def test_memory_of_micro_batches_matches_real_peak():
    run = estimator(precision="fp32", micro_batch_size=ROWS // 2)
    peak = real_peak(run, torch.float32, micro_batches=2)
    assert run.memory()[0].total == pytest.approx(peak, rel=0.05)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_gradient_and_optimizer_bytes_are_exact(name):
    run = estimator(optimizer=OptimizerConfig(name=name, learning_rate=1e-3))
    memory = run.memory()[0]
    step = TrainingStep(run.config, run.build_pair("cpu"), run.manifest, Accelerator(CPU, torch.float32))
    (kind,) = run.steps
    step.forward_backward(kind.roles, step.batch(ROWS, LENGTH))
    step.optimizer.step(LEARNING_RATE)
    assert memory.optimizer == bytes_of(step.optimizer.state_tensors().values())
    assert memory.gradients == 4 * sum(p.numel() for p in step.optimizer.parameters)


def test_gpu_memory_uses_bf16_and_no_attention_scores():
    """The estimate for an absent GPU uses bf16, and stores no attention scores under dropout."""
    accelerator = {"family": "electra", "dropout": 0.1}
    cpu = estimator(**accelerator, precision="fp32")
    gpu = estimator(**accelerator, target="gpu")
    without = estimator(family="electra", target="gpu")
    assert gpu.memory()[0].activations < cpu.memory()[0].activations / 2
    scores = 3 * (2 + 2 // 2) * ROWS * 4 * LENGTH**2
    assert gpu.memory()[0].activations - without.memory()[0].activations < scores


def test_memory_counted_on_real_pair_equals_estimate_and_trains_no_weights():
    run = estimator()
    pair = run.build_pair("cpu")
    weights = list(pair.parameters())
    before = [weight.clone() for weight in weights]
    kinds = [run.micro_step(step) for step in run.steps]
    real = count_memory(run.config, pair, run.manifest, kinds, torch.float32)
    assert real == estimator(precision="fp32").memory()
    assert all(map(torch.equal, weights, before)) and all(weight.grad is None for weight in weights)


def test_resident_peak_is_in_bytes():
    """A process that has imported torch has some hundred megabytes."""
    assert 50e6 < resident_peak() < 1e12
