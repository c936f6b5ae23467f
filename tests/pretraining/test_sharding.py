"""Runs of one, two and four processes agree, with replicated (ddp) and with sharded networks (fsdp).

In float64 only rounding differs, and all weights agree to 1e-9. In fp32 rounding may change a sample of the
generator, after which runs diverge; so these runs take the samples of the run of one process. Muon
orthogonalises in bf16; with it, rows and masks must be equal, and losses must agree to 1e-3.
"""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from elektron.errors import ElektronError
from elektron.estimate.estimate import Estimator
from elektron.models.families import FAMILIES
from elektron.pretraining.compatibility import SHALLOWER_GENERATOR
from elektron.pretraining.config import (
    CurriculumConfig,
    NetworkConfig,
    OptimizerConfig,
    PlanOptions,
    PretrainConfig,
    resolve,
)
from tests.estimate.conftest import estimate_of
from tests.pretraining.conftest import ADAMW, TINY, metrics, seven_rows_config
from tests.pretraining.jobs import Job, do_all, farthest, held_by, job, rows_of, state_of, weights_of
from tests.pretraining.test_variants import SHALLOW

log = logging.getLogger(__name__)

STEPS = 20
WAYS = [(2, "ddp"), (2, "fsdp"), (4, "ddp"), (4, "fsdp")]
LARGE = TINY | {"generator_width": 1.0, "num_hidden_layers": 2}


def seven_rows(blocks: Path, **changes: Any) -> PretrainConfig:
    """The configuration of a job, which sets the folder of the run."""
    return seven_rows_config(blocks, Path("run"), **changes)


def same_rows(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    """Whether rows, masks and their positions are equal in all steps of `ours`."""
    return all(torch.equal(rows, theirs[name]) for name, rows in ours.items())


@pytest.fixture(scope="module")
def few(blocks, finished, tmp_path_factory) -> Path:
    """Runs by one and two processes in float64, continued runs, and one that is resumed by other processes."""
    folder = tmp_path_factory.mktemp("few")
    jobs = [
        job(seven_rows(blocks), folder / "alone", float64=True),
        job(seven_rows(blocks, parallel="ddp"), folder / "ddp", processes=2, float64=True),
        job(seven_rows(blocks, parallel="fsdp"), folder / "fsdp", processes=2, float64=True),
    ]
    for processes in (1, 2):
        config = seven_rows(blocks, parallel="fsdp", init_from=str(finished), steps=2)
        place = folder / f"continued-{processes}"
        jobs.append(job(config, place, processes=processes))
    do_all(jobs + handed_on(blocks, folder / "handed-on", {}, float64=True), folder)
    return folder


def handed_on(blocks: Path, folder: Path, changes: dict[str, Any], **options: Any) -> list[Job]:
    """A run by one process, two under ddp, two under fsdp and one; all but the last are killed after about 5 steps."""
    hands = [(1, "ddp", 6), (2, "ddp", 11), (2, "fsdp", 16), (1, "fsdp", None)]
    return [
        job(seven_rows(blocks, parallel=parallel, **changes), folder, processes=processes, killed_before=end, **options)
        for processes, parallel, end in hands
    ]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_equal_one(parallel, few):
    ours, theirs = few / parallel, few / "alone"
    assert farthest(weights_of(theirs, 5), weights_of(theirs, STEPS)) > 1e-3, "it learns"
    assert farthest(weights_of(ours, STEPS), weights_of(theirs, STEPS)) < 1e-9
    assert farthest(state_of(ours, STEPS), state_of(theirs, STEPS)) < 1e-9
    assert len(rows_of(theirs)) == 4 * STEPS
    assert same_rows(rows_of(ours), rows_of(theirs))
    for network in ("generator", "discriminator"):
        exported, expected = (load_file(f / f"run/{network}/model.safetensors") for f in (ours, theirs))
        assert farthest(exported, expected) < 1e-9
    for kind in ("train", "evaluation"):
        for mine, its in zip(metrics(ours / "run", kind), metrics(theirs / "run", kind), strict=True):
            for name in ("generator_loss", "discriminator_loss", "discriminator_auc"):
                assert mine[name] == pytest.approx(its[name], rel=1e-9)
    examples, expected = (json.loads((f / "run/examples.json").read_text()) for f in (ours, theirs))
    assert examples == expected
    summary = json.loads((ours / "run/summary.json").read_text())
    assert (summary["processes"], summary["parallel"]) == (2, parallel)


def test_sharded_run_evaluates_start(few):
    ours, theirs = (metrics(few / f"continued-{n}/run", "evaluation") for n in (2, 1))
    assert [line["step"] for line in ours] == [line["step"] for line in theirs] == [0, 2]
    for mine, its in zip(ours, theirs, strict=True):
        for name in ("generator_loss", "discriminator_loss", "discriminator_auc"):
            assert mine[name] == pytest.approx(its[name], rel=1e-4)


def test_fsdp_shards_weights_and_optimizer_state(few):
    (everything,) = held_by(few / "alone")
    assert held_by(few / "ddp") == [everything] * 2
    steps = sum(name.endswith("|step") for name in state_of(few / "alone", STEPS))
    parts = held_by(few / "fsdp")
    # Matrices are sharded by rows, and each process holds all step counters.
    assert max(parts) < 0.55 * everything
    assert sum(parts) == everything + steps


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_memory_estimate_equals_numbers_held(parallel, few, blocks):
    run = Estimator(estimate_of(seven_rows(blocks, parallel=parallel), devices=2))
    foreseen = run.estimate().memory
    assert 4 * max(held_by(few / parallel)) == foreseen.weights + foreseen.optimizer


def test_run_resumed_with_other_processes_equals_uninterrupted_run(few):
    """The run is resumed in the middle of an epoch, which has more than a hundred steps."""
    ours, theirs = few / "handed-on", few / "alone"
    went_through_hands(ours, theirs)
    assert farthest(weights_of(ours, STEPS), weights_of(theirs, STEPS)) < 1e-9
    assert farthest(state_of(ours, STEPS), state_of(theirs, STEPS)) < 1e-9


def went_through_hands(ours: Path, theirs: Path) -> None:
    """Check that a run was resumed three times and took the same rows and masks as another run."""
    assert [line["step"] for line in metrics(ours / "run", "resumed")] == [5, 10, 15]
    phases = [rows_of(ours, phase) for phase in range(4)]
    assert [len(rows) // 4 for rows in phases] == [6, 6, 6, 5]
    assert all(same_rows(rows, rows_of(theirs)) for rows in phases)


def test_compile_with_fsdp_raises():
    with pytest.raises(ElektronError, match="remove --compile, or choose --parallel ddp"):
        resolve(PretrainConfig(steps=10, parallel="fsdp", compile=True))


def in_all_ways(
    blocks: Path, folder: Path, changes: dict[str, Any], samples: bool = False, **options: Any
) -> list[Path]:
    """Folders of runs by one, two and four processes; the run by one process is the first."""
    jobs: list[Job] = [job(seven_rows(blocks, **changes), folder / "1", records=samples, **options)]
    for processes, parallel in WAYS:
        its = job(
            seven_rows(blocks, parallel=parallel, **changes),
            folder / f"{processes}-{parallel}",
            processes=processes,
            samples_of=str(folder / "1") if samples else None,
            **options,
        )
        jobs.append(its)
    do_all(jobs, folder)
    return [each.folder for each in jobs]


def report(what: str, folder: Path, number: float) -> None:
    """Log a figure, which --log-cli-level INFO shows."""
    log.info("%s, %s: %.2g", what, folder.name, number)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "limit", "options"), [("float64", 1e-9, {"float64": True}), ("fp32", 1e-5, {"samples": True})]
)
def test_two_and_four_processes_agree_with_one(what, limit, options, blocks, tmp_path):
    alone, *several = in_all_ways(blocks, tmp_path, {}, **options)
    for folder in several:
        assert same_rows(rows_of(folder), rows_of(alone))
        apart = farthest(weights_of(folder, STEPS), weights_of(alone, STEPS))
        report(what, folder, apart)
        assert apart < limit


@pytest.mark.slow
def test_two_and_four_processes_agree_with_one_under_muon(blocks, tmp_path):
    changes = {"optimizer": OptimizerConfig(**(ADAMW | {"name": "muon"}))}
    alone, *several = in_all_ways(blocks, tmp_path, changes)
    do_all(handed_on(blocks, tmp_path / "handed-on", changes), tmp_path)
    went_through_hands(tmp_path / "handed-on", alone)
    for folder in (*several, tmp_path / "handed-on"):
        if folder in several:
            assert same_rows(rows_of(folder), rows_of(alone))
        differences = [
            abs(mine[name] - its[name])
            for kind in ("train", "evaluation")
            for mine, its in zip(metrics(folder / "run", kind), metrics(alone / "run", kind), strict=True)
            for name in ("generator_loss", "discriminator_loss")
        ]
        report("muon, losses", folder, max(differences))
        assert max(differences) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("family", list(FAMILIES))
def test_fsdp_agrees_with_ddp_in_bf16(family, blocks, tmp_path):
    """fsdp gathers layers in bf16, except their norms, which autocast does not cast."""
    sizes = SHALLOW if family in SHALLOWER_GENERATOR else TINY
    network = NetworkConfig(**sizes, dropout=0.0)
    changes = {"precision": "bf16", "family": family, "network": network}
    jobs = [
        job(seven_rows(blocks, parallel=parallel, **changes), tmp_path / parallel, processes=2)
        for parallel in ("ddp", "fsdp")
    ]
    do_all(jobs, tmp_path)
    copies, parts = (each.folder for each in jobs)
    assert same_rows(rows_of(parts), rows_of(copies))
    lines = (metrics(folder / "run", "evaluation") for folder in (parts, copies))
    differences = [
        abs(mine["discriminator_loss"] - its["discriminator_loss"]) for mine, its in zip(*lines, strict=True)
    ]
    report(f"bf16, {family}, discriminator's loss", parts, max(differences))
    assert max(differences) < 1e-3
    ours = weights_of(parts, STEPS)
    report(f"bf16, {family}, weights", parts, farthest(ours, weights_of(copies, STEPS)))
    assert {str(weight.dtype) for weight in ours.values()} == {"torch.float32"}


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_nan_loss_in_one_process_skips_step_in_all(parallel, blocks, tmp_path):
    jobs = [
        job(seven_rows(blocks, parallel=parallel), tmp_path / name, float64=True, poisoned=12, **more)
        for name, more in (("alone", {}), ("two", {"processes": 2}))
    ]
    do_all(jobs, tmp_path)
    for folder in (tmp_path / "alone", tmp_path / "two"):
        skipped = [line["skipped_steps"] for line in metrics(folder / "run", "train")]
        assert sum(skipped) == 1
    apart = farthest(weights_of(tmp_path / "two", STEPS), weights_of(tmp_path / "alone", STEPS))
    assert apart < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_all_processes_skip_same_spikes(parallel, blocks, tmp_path):
    changes = {"optimizer": OptimizerConfig(**ADAMW, skip_spikes=True), "parallel": parallel}
    jobs = [
        job(seven_rows(blocks, **changes), tmp_path / name, float64=True, sensitive=True, **more)
        for name, more in (("alone", {}), ("two", {"processes": 2}))
    ]
    do_all(jobs, tmp_path)
    alone, two = tmp_path / "alone", tmp_path / "two"
    found = [[line["loss_spikes"] for line in metrics(f / "run", "train")] for f in (alone, two)]
    assert sum(found[0]) > 0
    assert found[0] == found[1]
    assert farthest(weights_of(two, STEPS), weights_of(alone, STEPS)) < 1e-9


VARIANTS: dict[str, dict[str, Any]] = {
    "two_stage": {"plan": "two_stage"},
    "two_stage with gdes": {"plan": "two_stage", "sharing": "gdes"},
    "alternating": {"plan": "alternating", "plan_options": PlanOptions(similarity=1.0)},
    "adversarial": {"plan": "adversarial"},
    "mlm": {"objective": "mlm"},
    "corrective": {"objective": "corrective"},
    "all_tokens_mlm": {"objective": "all_tokens_mlm"},
    "electra": {"family": "electra", "network": NetworkConfig(**TINY, dropout=0.0)},
    "deberta-v2": {"family": "deberta-v2", "network": NetworkConfig(**SHALLOW, dropout=0.0)},
    "modernbert": {"family": "modernbert", "network": NetworkConfig(**SHALLOW)},
    "all shared": {"sharing": "all", "network": NetworkConfig(**LARGE)},
    "nothing shared": {"sharing": "none"},
    "gdes": {"sharing": "gdes"},
    "3 and 4 micro-batches": {"micro_batch_size": 1},
    "whole batches": {"micro_batch_size": None},
    "curriculum": {
        "curriculum": CurriculumConfig(first_length=8, first_batch_size=4),
        "batch_size": 8,
        "micro_batch_size": 3,
    },
}


@pytest.mark.slow
def test_variants_under_fsdp_agree_with_single_process(blocks, tmp_path):
    jobs = []
    for name, changes in VARIANTS.items():
        (tmp_path / name).mkdir()
        jobs += both(blocks, tmp_path / name, changes)
    generator = PlanOptions(generator=str(tmp_path / "nothing shared/alone/run"))
    frozen = {"plan": "frozen_generator", "plan_options": generator}
    (tmp_path / "frozen_generator").mkdir()
    jobs += both(blocks, tmp_path / "frozen_generator", frozen)
    do_all(jobs, tmp_path)
    far = {}
    for name in [*VARIANTS, "frozen_generator"]:
        alone, parts = tmp_path / name / "alone", tmp_path / name / "parts"
        assert same_rows(rows_of(parts), rows_of(alone)), name
        far[name] = max(
            farthest(weights_of(parts, STEPS), weights_of(alone, STEPS)),
            farthest(*(load_file(f / "run/discriminator/model.safetensors") for f in (parts, alone))),
        )
        report(name, parts, far[name])
    assert {name: apart for name, apart in far.items() if apart > 1e-9} == {}


def both(blocks: Path, folder: Path, changes: dict[str, Any]) -> list[Job]:
    """The same run by one process and by two under fsdp."""
    alone, parts = seven_rows(blocks, **changes), seven_rows(blocks, parallel="fsdp", **changes)
    return [job(alone, folder / "alone", float64=True), job(parts, folder / "parts", processes=2, float64=True)]
