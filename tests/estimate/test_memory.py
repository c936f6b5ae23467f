"""The formula of memory, against what torch keeps."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from elektron.device import Device
from elektron.estimate.memory import MemoryFormula, rows_at_once
from elektron.estimate.probe import Trial, random_blocks
from elektron.estimate.run import Run
from elektron.models.families import FAMILIES
from elektron.pretraining.combinations import SHALLOWER_GENERATOR
from elektron.pretraining.config import NetworkConfig, OptimizerConfig, PlanOptions
from elektron.pretraining.foundations import pair_for
from elektron.pretraining.objectives import OBJECTIVES
from tests.estimate.conftest import tiny

TOLERANCE = 0.25
SIZES = {"layers": 3, "hidden": 64, "feed_forward": 256, "heads": 4, "max_positions": 128}
ROWS, LENGTH, VOCABULARY = 6, 64, 400


def sizes(family: str) -> dict[str, Any]:
    if family not in SHALLOWER_GENERATOR:
        return SIZES | {"embedding": 32, "generator_width": 0.5}
    return SIZES | {"embedding": 64, "generator_width": 1.0, "generator_layers": 2}


def kept_and_foreseen(tmp_path, **changes: Any) -> tuple[int, int]:
    """Bytes of different storages that a forward pass saves for the backward pass, and the formula's."""
    family = changes.get("family", "elektron")
    network = sizes(family) | {"dropout": changes.pop("dropout", 0.0)}
    config = tiny(
        network=NetworkConfig(**network),
        batch=ROWS,
        seq_len=LENGTH,
        vocab_size=VOCABULARY,
        target="gpu" if torch.cuda.is_available() else "cpu",
        compile=False,
        **changes,
    )
    run = Run(config)
    kinds = run.count(run.ramp.steps, lambda step: 1)
    trial = Trial(run.config, run.plan, random_blocks(str(tmp_path), run.manifest))
    pairs = []
    for step in kinds:
        saved = saved_bytes(trial, step.turn)
        memory = run.formula(run.pair, run.config)(step, rows_at_once(step, 1, None))
        pairs.append((saved, memory.activations + memory.weight_copies))
    return max(pairs)


def saved_bytes(trial: Trial, turn) -> int:
    own = {p.untyped_storage().data_ptr() for p in trial.pair.parameters()}
    storages: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        # Holding on to it keeps its address from being given to another.
        storages.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    batch = trial.batch(ROWS, LENGTH)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        trial.step(trial.objective, turn, batch)
    return sum(t.untyped_storage().nbytes() for key, t in storages.items() if key not in own)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_families(family, dropout, precision, tmp_path):
    kept, foreseen = kept_and_foreseen(
        tmp_path, family=family, dropout=dropout, precision=precision
    )
    assert foreseen == pytest.approx(kept, rel=TOLERANCE)


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
def test_objectives_and_plans(changes, tmp_path):
    kept, foreseen = kept_and_foreseen(tmp_path, **changes)
    assert foreseen == pytest.approx(kept, rel=TOLERANCE)


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("separate", [False, True])
def test_gradients_and_optimizer_state_to_the_byte(name, separate, tmp_path):
    config = tiny(optimizer=OptimizerConfig(name=name, lr=1e-3, separate=separate))
    run = Run(config)
    step, *_ = run.count(1, lambda step: 1)
    foreseen = run.formula(run.pair, run.config)(step, 8)
    trial = Trial(run.config, run.plan, random_blocks(str(tmp_path), run.manifest))
    trial.step(trial.objective, step.turn, trial.batch(8, 32))
    state = trial.optimizer.state_tensors()
    numbers = sum(t.numel() for key, t in state.items() if not key.endswith("|step"))
    assert foreseen.optimizer == 4 * numbers
    learning = [p for part in trial.optimizer.parts for p in part.parameters]
    assert foreseen.gradients == 4 * sum(p.numel() for p in learning)


def test_logits_of_every_token_are_the_most():
    slots, tokens = (
        Run(tiny(objective=objective)).estimate().memory.logits
        for objective in ("rtd", "all_tokens_mlm")
    )
    assert slots == 3 * 8 * 5 * 90 * 4
    assert tokens == 2 * 8 * 32 * 90 * 4


def test_gpus_and_precision():
    """A GPU that is not here keeps half of it, and no scores under dropout."""
    config = tiny(family="electra", network=NetworkConfig(**sizes("electra")), seq_len=128)
    cpu, gpu = (
        Run(dataclasses.replace(config, target=target, precision=precision)).estimate().memory
        for target, precision in (("cpu", "fp32"), ("gpu", None))
    )
    assert cpu.weight_copies == 0
    assert 0 < gpu.weight_copies < cpu.weights / 2 + 1
    assert gpu.activations < cpu.activations / 2
    assert Device.choose("bf16").dtype.itemsize == 2


def test_formula_needs_no_memory():
    run = Run(tiny())
    real = MemoryFormula(run.config, pair_for(run.config, run.manifest), run.objective, run.storage)
    step, *_ = run.count(1, lambda step: 1)
    assert run.formula(run.pair, run.config)(step, 4) == real(step, 4)
