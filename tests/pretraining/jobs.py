"""Runs by one or several processes, which a script makes one after another for a test.

    python -m tests.pretraining.jobs LIST

Modules are imported once and the processes are forks, so that a run takes a second or two. In addition to
the outputs of the run, each process writes the rows that it took in each step. A job can set networks to
float64, write the generator's samples or take them from another job, and kill its run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from elektron.configuration import load_yaml, save_yaml
from elektron.models.dtensors import local_tensor
from elektron.pretraining import pretrain as entry
from elektron.pretraining import recovery
from elektron.pretraining.config import PretrainConfig
from elektron.pretraining.objectives import corruption
from elektron.pretraining.train import Trainer
from tests.pretraining.conftest import KilledError
from tests.pretraining.forks import work_in

SAMPLES = "samples.safetensors"
HELD = "held"
ROWS = ("input_ids", "masked_ids", "masked_positions", "weights")


@dataclass
class Job:
    """A run or a part of one."""

    config: str
    """Its configuration, a YAML file beside which the rest is left."""
    processes: int = 1
    float64: bool = False
    records: bool = False
    """Whether the generator's samples are written down."""
    samples_of: str | None = None
    """Folder of the job whose samples are taken."""
    killed_before: int | None = None
    """The step that it never takes."""
    sensitive: bool = False
    """Whether every loss above the mean of the last four is a spike."""
    poisoned: int | None = None
    """The step in which the last process's loss is no number."""

    @property
    def folder(self) -> Path:
        """Folder of the configuration and the outputs."""
        return Path(self.config).parent


def job(config: PretrainConfig, folder: Path, **options: Any) -> Job:
    """Write the configuration of a job, whose run is in `run` of the folder."""
    folder.mkdir(exist_ok=True)
    config.out = folder / "run"
    name = f"config-{len(list(folder.glob('config-*')))}.yaml"
    save_yaml(config, folder / name)
    return Job(str(folder / name), **options)


def do_all(jobs: Sequence[Job], folder: Path) -> None:
    """Run the jobs in a subprocess; the assertion shows its stderr if one fails."""
    listed = folder / "jobs.json"
    listed.write_text(json.dumps([asdict(each) for each in jobs]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(listed)], capture_output=True, text=True, check=False, timeout=1500
    )
    assert done.returncode == 0, done.stderr[-5000:]


def main() -> None:
    """Run the jobs of a list."""
    torch.set_num_threads(1)
    for settings in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        each = Job(**settings)
        if status := work_in(each.processes, lambda each=each: do(each)):  # type: ignore[misc]
            sys.exit(f"{each} ended with status {status}")


def do(each: Job) -> None:
    """Run one process of a job."""
    with ExitStack() as stack:
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        if each.float64:
            torch.set_default_dtype(torch.float64)
        rows: dict[str, Tensor] = {}
        samples: dict[str, Tensor] = {}
        patched.setattr(Trainer, "train_step", step_that_tells(rows, each))
        if each.records or each.samples_of:
            known = load_file(Path(each.samples_of, SAMPLES)) if each.samples_of else {}
            patched.setattr(corruption, "sample_tokens", known_samples(known, samples))
        if each.sensitive:
            patched.setattr(recovery, "WINDOW", 4)
            patched.setattr(recovery, "SIGMAS", 0.0)
        with suppress(KilledError):
            entry.pretrain(load_yaml(PretrainConfig, Path(each.config)))
    phase = Path(each.config).stem.removeprefix("config-")
    rank = os.environ.get("RANK", "0")
    save_file(rows, each.folder / f"rows-{phase}-{rank}.safetensors")
    if each.records:
        save_file(samples, each.folder / SAMPLES)


def step_that_tells(rows: dict[str, Tensor], each: Job) -> Any:
    """A training step that records its rows except padding, as `step|field`, and how many numbers it HELD."""
    take_step = Trainer.train_step

    def step(self: Trainer, batch: Any, *arguments: Any) -> None:
        if self.progress.step == each.killed_before:
            self.writer.wait()
            raise KilledError
        if self.progress.step == each.poisoned and self.world.rank == self.world.size - 1:
            losses = self.objective.losses
            vars(self.objective)["losses"] = lambda *given: {n: loss * torch.nan for n, loss in losses(*given).items()}
        for name in ROWS:
            found = [
                getattr(micro_batch, name)[micro_batch.document_ids.amax(1) >= 0] for micro_batch in batch.micro_batches
            ]
            rows[f"{self.progress.step:03d}|{name}"] = torch.cat(found)
        take_step(self, batch, *arguments)
        vars(self.objective).pop("losses", None)
        tensors = [*self.pair.parameters(), *self.optimizer.state_tensors().values()]
        rows[HELD] = torch.tensor([sum(local_tensor(tensor).numel() for tensor in tensors)])

    return step


def known_samples(known: dict[str, Tensor], taken: dict[str, Tensor]) -> Any:
    """A sampling function that returns known samples where there are some, and records the samples it returned.

    The name of a row consists of its uniform numbers, which differ between all training rows.
    """
    draw = corruption.sample_tokens

    def sample(probabilities: Tensor, uniforms: Tensor) -> Tensor:
        drawn = draw(probabilities, uniforms)
        names = [row.numpy().tobytes().hex() for row in uniforms]
        # Rows of evaluation have the same uniform numbers in all evaluations, so their samples are not known.
        samples = torch.stack([known.get(n, s) for n, s in zip(names, drawn, strict=True)])
        taken.update(zip(names, samples, strict=True))
        return samples

    return sample


def weights_of(folder: Path, step: int) -> dict[str, Tensor]:
    """The weights of a run's checkpoint."""
    return load_file(folder / f"run/checkpoints/step-{step:08d}/weights.safetensors")


def state_of(folder: Path, step: int) -> dict[str, Tensor]:
    """The optimizer state of a run's checkpoint."""
    return load_file(folder / f"run/checkpoints/step-{step:08d}/optimizer.safetensors")


def farthest(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest absolute difference between two sets of tensors."""
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def rows_of(folder: Path, phase: int = 0) -> dict[str, Tensor]:
    """Rows of all processes in each step of a phase, in the order of the global batch."""
    parts = [load_file(path) for path in sorted(folder.glob(f"rows-{phase}-*.safetensors"))]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0] if name != HELD}


def held_by(folder: Path) -> list[int]:
    """How many elements of weights and optimizer state each process held at the end."""
    return [int(load_file(path)[HELD]) for path in sorted(folder.glob("rows-0-*.safetensors"))]


if __name__ == "__main__":
    main()
