"""Trials of `elektron finetune`, and resuming from them: a trial is a training run with one seed and swept settings.

A command with several trials saves each finished one in the folder of its future result; the same command with the
same data resumes from them. Only the weights of the best trial so far are kept.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from elektron import __version__
from elektron.accelerator import Accelerator
from elektron.configuration import to_flat_dict
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.labelled import Labelled
from elektron.finetuning.predictor import Predictor, Scored
from elektron.finetuning.tasks.registry import load_task
from elektron.io.files import MALFORMED, atomic_write, from_json, read_json, read_text, to_json
from elektron.io.folders import atomic_folder
from elektron.reporting.task_result import TrainingRun

log = logging.getLogger(__name__)

TRIALS = "trials"
"""The folder for finished trials, inside the result folder that is being written."""
IDENTITY = "identity"
TRIAL = "run.json"
MODEL = "model"


@dataclass
class Trained:
    """A finished training run."""

    number: int
    """Index among the training runs of the command."""
    trial: TrainingRun
    config: FinetuneConfig
    """The resolved configuration."""
    predictor: Predictor | None
    """The trained model; None if an earlier, interrupted process has deleted its weights because another is better."""
    scored: Scored | None = None
    """Predictions for the test rows, or without test rows for the evaluation rows; None if this process made none."""


class FinishedTrials:
    """The finished training runs of a command on disk, by their index, which depends on the configuration only.

    Args:
        folder: folder in which they are saved.
        identity: digest of the command's settings and data; None if nothing is saved, as for a single training run.
    """

    def __init__(self, folder: Path, identity: str | None) -> None:
        self.folder = folder
        self.identity = identity
        if self.count and identity is not None and read_text(folder / IDENTITY) == identity:
            log.info("resuming: %d training runs of an interrupted command are finished", self.count)
            return
        if self.count:
            log.warning(
                "%d finished training runs of an interrupted command had other settings or data, and are removed",
                self.count,
            )
        shutil.rmtree(folder, ignore_errors=True)  # also what an unfinished first run has left

    @property
    def count(self) -> int:
        """Number of finished training runs."""
        return len(list(self.folder.glob(f"[0-9]*/{TRIAL}")))

    def load(self, number: int, config: FinetuneConfig, encoder: Encoder) -> Trained | None:
        """Load a training run by its index; None if it is not finished.

        Raises:
            ElektronError: its files cannot be read.
        """
        folder = self.folder / str(number)
        path = folder / TRIAL
        if not path.exists():
            return None
        try:
            content = read_json(path)
            for split in ("eval", "test"):
                metrics = dict(content[split]).items()
                content[split] = {name: math.nan if value is None else value for name, value in metrics}
            trial: TrainingRun = from_json(content, TrainingRun, "it")
        except (OSError, *MALFORMED) as error:
            raise ElektronError(f"{path}: damaged ({error}): remove {self.folder}") from error
        predictor = None
        if (weights := folder / MODEL).is_dir():
            task = load_task(str(weights))
            model, accelerator = task.load_model(str(weights)), Accelerator.choose(config.precision)
            predictor = Predictor(task, model, encoder.tokenizer, accelerator)
        return Trained(number, trial, config, predictor)

    def save(self, trained: Trained) -> None:
        """Save a finished training run, or update its metrics. `run.json` marks it as finished and is written last."""
        folder = self.folder / str(trained.number)
        if self.identity is None or trained.predictor is None:
            return
        try:
            if not (folder / TRIAL).exists():
                shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed while it saved
                folder.mkdir(parents=True)
                atomic_write(self.folder / IDENTITY, self.identity)
                with atomic_folder(folder / MODEL, owned=True) as model:
                    trained.predictor.save(model)
            atomic_write(folder / TRIAL, to_json(dataclasses.asdict(trained.trial)))
        except (OSError, SafetensorError) as error:
            log.warning("%s cannot be kept for resuming (%s)", trained.trial.name, error)

    def remove_model(self, number: int) -> None:
        """Delete the weights of a training run that is not the best."""
        model = self.folder / str(number) / MODEL
        if model.is_dir():
            shutil.rmtree(model.rename(model.with_name("removed")))


def identity(config: FinetuneConfig, data: Labelled, encoder: Encoder) -> str:
    """A digest of everything that the results of the training runs depend on."""
    settings = {k: v for k, v in to_flat_dict(config).items() if k not in ("out", "track", "train", "eval", "test")}
    rows = [[record.values for record in part] for part in (data.train, data.eval, data.test)]
    described = [__version__, settings, rows, encoder.config.to_dict()]
    digest = hashlib.sha256(json.dumps(described, default=str).encode())
    digest.update(encoder.tokenizer.backend_tokenizer.to_str().encode())
    for name, weight in sorted((encoder.weights or {}).items()):
        digest.update(name.encode())
        digest.update(weight.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()
