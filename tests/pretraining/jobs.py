"""Runs that several processes make one after the other, so that starting them is paid for once.

A test writes down jobs and starts this module by torchrun, or calls `do` for a run in one process. Beside
what a run leaves, a job leaves the rows that each process took in each step. It may ask for networks in
float64, for samples of the generator as another job recorded them, and for a sudden end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor

from elektron.configuration import load_yaml, save_yaml
from elektron.pretraining import loop
from elektron.pretraining.config import PretrainConfig
from elektron.pretraining.objectives import corruption
from elektron.pretraining.processes import Processes
from tests.pretraining.conftest import killed_before

SAMPLES = "samples.safetensors"
ROWS = ("input_ids", "masked_ids", "masked_positions", "weights")


@dataclass
class Job:
    """One run, or a part of it."""

    config: str
    """Its configuration, a YAML file beside which the rest is left."""
    float64: bool = False
    records: bool = False
    """Whether the generator's samples are written down."""
    samples_of: str | None = None
    """Folder of the job whose samples are taken."""
    killed_before: int | None = None
    """The step that it never takes."""

    @property
    def folder(self) -> Path:
        """Where things lie."""
        return Path(self.config).parent

    @property
    def out(self) -> Path:
        """The run's folder."""
        return self.folder / "run"


def job(config: PretrainConfig, folder: Path, **options: Any) -> Job:
    """A job with its configuration written down."""
    folder.mkdir(exist_ok=True)
    config.out = folder / "run"
    save_yaml(config, folder / "config.yaml")
    return Job(str(folder / "config.yaml"), **options)


def start(jobs: Sequence[Job], processes: int, folder: Path) -> None:
    """Have so many processes do the jobs."""
    listed = folder / f"jobs-{processes}.json"
    listed.write_text(json.dumps([asdict(each) for each in jobs]), encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(processes), "-m", __name__, str(listed)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-5000:]


def do(each: Job) -> None:
    """Do a job in this process."""
    with ExitStack() as stack:
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        if each.float64:
            stack.enter_context(wide_numbers())
        steps = stack.enter_context(rows_taken(patched))
        samples = stack.enter_context(known_samples(each, patched))
        if each.killed_before is not None:
            stack.enter_context(killed_before(each.killed_before, patched))
        loop.pretrain(load_yaml(PretrainConfig, Path(each.config)))
    rank = dist.get_rank() if dist.is_initialized() else 0
    phase = len(list(each.folder.glob(f"rows-{rank}-*")))
    save_file(steps, each.folder / f"rows-{rank}-{phase}.safetensors")
    if each.records:
        save_file(samples, each.folder / SAMPLES)


@contextmanager
def wide_numbers() -> Iterator[None]:
    """Everything in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def rows_taken(patched: pytest.MonkeyPatch) -> Iterator[dict[str, Tensor]]:
    """What of each step's rows is no padding, named `step|field`."""
    taken: dict[str, Tensor] = {}
    take_step = loop.Trainer.step

    def step(self: loop.Trainer, batch: Any, *arguments: Any) -> None:
        for name in ROWS:
            rows = [
                getattr(micro_batch, name)[micro_batch.piece_ids.amax(1) >= 0]
                for micro_batch in batch.micro_batches
            ]
            taken[f"{self.progress.step:03d}|{name}"] = torch.cat(rows)
        take_step(self, batch, *arguments)

    patched.setattr(loop.Trainer, "step", step)
    yield taken


@contextmanager
def known_samples(each: Job, patched: pytest.MonkeyPatch) -> Iterator[dict[str, Tensor]]:
    """Samples by the uniform numbers that they are drawn with, which no two rows of training share."""
    recorded = load_file(Path(each.samples_of, SAMPLES)) if each.samples_of else {}
    draw = corruption.sample_tokens

    def sample(probabilities: Tensor, uniforms: Tensor) -> Tensor:
        samples = draw(probabilities, uniforms)
        names = [row.numpy().tobytes().hex() for row in uniforms]
        if each.records:
            recorded.update(zip(names, samples.clone(), strict=True))
        # Rows of evaluation are drawn with the same numbers in all evaluations.
        return torch.stack([recorded.get(n, s) for n, s in zip(names, samples, strict=True)])

    if each.records or each.samples_of:
        patched.setattr(corruption, "sample_tokens", sample)
    yield recorded


def weights_of(folder: Path, step: int) -> dict[str, Tensor]:
    """The weights of a run's checkpoint."""
    return load_file(folder / f"run/checkpoints/step-{step:08d}/weights.safetensors")


def state_of(folder: Path, step: int) -> dict[str, Tensor]:
    """The optimizers' state of a run's checkpoint."""
    return load_file(folder / f"run/checkpoints/step-{step:08d}/optimizer.safetensors")


def farthest(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest difference between two sets of weights."""
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def rows_of(folder: Path, phase: int = 0) -> dict[str, Tensor]:
    """What all processes took together in each step of a phase, in the order of the global batch."""
    parts = [load_file(path) for path in sorted(folder.glob(f"rows-*-{phase}.safetensors"))]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def main() -> None:
    """Do the jobs of a list, all in the same group of processes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    Processes.__enter__ = lambda self: self  # type: ignore[method-assign]
    Processes.__exit__ = lambda self, *error: None  # type: ignore[method-assign]
    for each in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        do(Job(**each))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
