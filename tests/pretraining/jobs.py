"""Runs by one process or several, which a test has a script make, one after the other.

    python -m tests.pretraining.jobs LIST

Everything is imported once and the processes are forks, so that a run takes a second or two. Beside what
a run leaves, each process leaves the rows that it took in each step. A job may ask for networks in float64,
for the generator's samples to be written down or taken from another job, and for a sudden end.
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
    """One run, or a part of it."""

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
        """Where things lie."""
        return Path(self.config).parent


def job(config: PretrainConfig, folder: Path, **options: Any) -> Job:
    """A job with its configuration written down; its run is in `run` of the folder."""
    folder.mkdir(exist_ok=True)
    config.out = folder / "run"
    name = f"config-{len(list(folder.glob('config-*')))}.yaml"
    save_yaml(config, folder / name)
    return Job(str(folder / name), **options)


def do_all(jobs: Sequence[Job], folder: Path) -> None:
    """Have the jobs done, and show what was said if one fails."""
    listed = folder / "jobs.json"
    listed.write_text(json.dumps([asdict(each) for each in jobs]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(listed)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-5000:]


def main() -> None:
    """Do the jobs of a list."""
    torch.set_num_threads(1)
    for settings in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        each = Job(**settings)
        if status := work_in(each.processes, lambda each=each: do(each)):  # type: ignore[misc]
            sys.exit(f"{each} ended with status {status}")


def do(each: Job) -> None:
    """What each process of a job does."""
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
    """A trainer's step that puts down what of its rows is no padding, named `step|field`, and what it HELD."""
    take_step = Trainer.train_step

    def step(self: Trainer, batch: Any, *arguments: Any) -> None:
        if self.progress.step == each.killed_before:
            self.writer.wait()
            raise KilledError
        last = self.world.rank == self.world.size - 1
        if self.progress.step == each.poisoned and last:
            poison_next_step(self)
        for name in ROWS:
            found = [
                getattr(micro_batch, name)[micro_batch.document_ids.amax(1) >= 0] for micro_batch in batch.micro_batches
            ]
            rows[f"{self.progress.step:03d}|{name}"] = torch.cat(found)
        take_step(self, batch, *arguments)
        tensors = [*self.pair.parameters(), *self.optimizer.state_tensors().values()]
        rows[HELD] = torch.tensor([sum(local_tensor(tensor).numel() for tensor in tensors)])

    return step


def poison_next_step(trainer: Trainer) -> None:
    """Let the losses of the step that is about to be taken be no numbers."""
    backward, take = trainer.optimizer.backward, trainer.optimizer.step

    def poisoned(*losses: Tensor | None) -> None:
        backward(*(None if loss is None else loss * torch.nan for loss in losses))

    def step_and_heal(*arguments: Any) -> dict[str, Tensor]:
        vars(trainer.optimizer).pop("backward")
        vars(trainer.optimizer).pop("step")
        return take(*arguments)

    vars(trainer.optimizer).update(backward=poisoned, step=step_and_heal)


def known_samples(known: dict[str, Tensor], taken: dict[str, Tensor]) -> Any:
    """A way to sample that takes what is known of a row and puts down what it took.

    Rows have the names of the uniform numbers that they are drawn with, which no two rows of training share.
    """
    draw = corruption.sample_tokens

    def sample(probabilities: Tensor, uniforms: Tensor) -> Tensor:
        drawn = draw(probabilities, uniforms)
        names = [row.numpy().tobytes().hex() for row in uniforms]
        # Rows of evaluation are drawn with the same numbers in all evaluations: those are not known.
        samples = torch.stack([known.get(n, s) for n, s in zip(names, drawn, strict=True)])
        taken.update(zip(names, samples, strict=True))
        return samples

    return sample


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
    parts = [load_file(path) for path in sorted(folder.glob(f"rows-{phase}-*.safetensors"))]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0] if name != HELD}


def held_by(folder: Path) -> list[int]:
    """Numbers of weights and moments that each process had in the end."""
    return [int(load_file(path)[HELD]) for path in sorted(folder.glob("rows-0-*.safetensors"))]


if __name__ == "__main__":
    main()
