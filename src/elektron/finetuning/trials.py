"""One training of a fine-tuning, and those that are kept until all are done.

A fine-tuning of several trainings that is interrupted leaves the finished ones in the folder in which its
result was to be written; the same command with the same data takes them over. Of those than which there is a
better one only the figures are kept.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import PreTrainedModel

from elektron import __version__
from elektron.configuration import to_flat_dict
from elektron.device import Device
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.labelled import Labelled
from elektron.finetuning.predictor import Predictor
from elektron.finetuning.tasks.base import Task
from elektron.finetuning.tasks.registry import load_task
from elektron.finetuning.training import Epoch
from elektron.io.checksums import write_checksums
from elektron.io.files import atomic_write, read_text
from elektron.io.folders import atomic_folder
from elektron.sweep import format_settings

log = logging.getLogger(__name__)

TRIALS = "trials"
"""Their folder inside the one that is being written."""
IDENTITY = "identity"
RUN = "run.json"
MODEL = "model"


@dataclass
class Run:
    """One training, as `runs.json` tells it."""

    side: str
    """`pretrained` or `scratch`."""
    seed: int
    settings: dict[str, Any]
    """Those that were searched."""
    epochs: list[Epoch] = field(default_factory=list)
    kept_epoch: float = 0.0
    eval: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] | None = None
    seconds: float = 0.0
    collapsed: str | None = None
    kept: bool = False

    @property
    def name(self) -> str:
        return " · ".join(
            filter(None, [self.side, format_settings(self.settings), f"seed {self.seed}"])
        )


@dataclass
class Fitted:
    """A trained model with all that is needed to use it."""

    number: int
    """Which one of all it is."""
    run: Run
    config: FinetuneConfig
    """Resolved."""
    task: Task
    model: PreTrainedModel | None
    """None where an earlier process dropped it, because there is a better one."""
    encoder: Encoder

    def predictor(self) -> Predictor:
        assert self.model is not None
        return Predictor(
            self.task, self.model, self.encoder.tokenizer, Device.choose(self.config.precision)
        )

    def save_model(self, folder: Path) -> None:
        """Write the model, its tokenizer and its task."""
        assert self.model is not None
        self.model.save_pretrained(folder)
        self.encoder.tokenizer.save_pretrained(folder)
        self.task.save(folder)
        write_checksums(folder)


class Trials:
    """The finished trainings in a folder, numbered in their order, which a configuration decides."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identity: str | None = None
        """Of the fine-tuning; None where nothing is kept, as of a single training."""

    def open(self, identity: str) -> None:
        """Take over what a fine-tuning of this identity has left, and remove what another one has."""
        self.identity = identity
        if not self.count:
            return
        if read_text(self.folder / IDENTITY) == identity:
            log.info("%d finished trainings of an interrupted run are taken over", self.count)
            return
        log.warning(
            "%d finished trainings that an interrupted run has left are of other settings or data, and dropped",
            self.count,
        )
        shutil.rmtree(self.folder)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(list(self.folder.glob(f"[0-9]*/{RUN}")))

    def finished(self, number: int, config: FinetuneConfig, encoder: Encoder) -> Fitted | None:
        """A training by its number; None if it is not finished.

        Raises:
            ElektronError: it cannot be read.
        """
        folder = self.folder / str(number)
        path = folder / RUN
        if not path.exists():
            return None
        try:
            content = json.loads(read_text(path))
            run = Run(**content | {"epochs": [Epoch(**epoch) for epoch in content["epochs"]]})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ElektronError(f"{path}: damaged ({error}): remove {self.folder}") from error
        task = load_task(str(folder))
        weights = folder / MODEL
        model = task.load_model(str(weights)) if weights.is_dir() else None
        return Fitted(number, run, config, task, model, encoder)

    def keep(self, fitted: Fitted) -> None:
        """Write down a finished training, if there is more than one."""
        folder = self.folder / str(fitted.number)
        if self.identity is None:
            return
        try:
            shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed at this
            folder.mkdir(parents=True)
            atomic_write(self.folder / IDENTITY, self.identity)
            with atomic_folder(folder / MODEL, owned=True) as model:
                fitted.save_model(model)
            fitted.task.save(folder)
        except (OSError, SafetensorError) as error:
            log.warning("%s cannot be kept for a later command (%s)", fitted.run.name, error)
        else:
            self.keep_run(fitted)

    def keep_run(self, fitted: Fitted) -> None:
        """Write down, last of all, what is known of a finished training."""
        folder = self.folder / str(fitted.number)
        if not (folder / MODEL).is_dir():
            return
        try:
            atomic_write(folder / RUN, json.dumps(dataclasses.asdict(fitted.run)))
        except OSError as error:
            log.warning("%s cannot be kept for a later command (%s)", fitted.run.name, error)

    def drop_model(self, number: int) -> None:
        """Remove the model of a training than which there is a better one."""
        model = self.folder / str(number) / MODEL
        if model.is_dir():
            shutil.rmtree(model.rename(model.with_name("dropped")))


def identity(config: FinetuneConfig, data: Labelled, encoder: Encoder) -> str:
    """A digest of all that decides what comes out of the trainings; not of where it goes."""
    settings = {name: value for name, value in to_flat_dict(config).items() if name != "out"}
    rows = [[record.values for record in part] for part in (data.train, data.eval, data.test)]
    described = [__version__, settings, rows, encoder.config.to_dict()]
    digest = hashlib.sha256(json.dumps(described, default=str).encode())
    digest.update(encoder.tokenizer.backend_tokenizer.to_str().encode())
    for name, weight in sorted((encoder.weights or {}).items()):
        digest.update(name.encode())
        digest.update(weight.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()
