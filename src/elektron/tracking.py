"""`--track`: log metrics of a training to TensorBoard, trackio, Weights & Biases or MLflow with accelerate's trackers.

The tracker's run id is saved, so that a resumed training continues the same run there. Settings are sent without local
paths: of a file or folder, only the name.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
import secrets
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from elektron.configuration import format_value, to_flat_dict
from elektron.errors import ElektronError, first_line
from elektron.io.files import atomic_write, read_json

log = logging.getLogger(__name__)

TrackerName = Literal["tensorboard", "trackio", "wandb", "mlflow"]
FOLDER = "tracking"
"""Folder in that of a run or a model, for TensorBoard's event files and the tracker's run id."""
STATE = "tracking.json"
PROJECT = "elektron"
ERRORS = {"wandb": "wandb.errors:Error", "mlflow": "mlflow.exceptions:MlflowException"}
"""Exceptions that trackers raise besides OSError, ValueError and KeyError."""
WANDB_SETTINGS = {"console": "off"} | dict.fromkeys(
    ("disable_code", "disable_git", "x_disable_meta", "x_disable_machine_info"), True
)
"""Settings that keep W&B from sending paths, the command line and the host's name."""


def require_tracker(name: TrackerName | None) -> None:
    """Raise ElektronError if the package of a tracker is not installed."""
    if name is not None and find_spec(name) is None:
        raise ElektronError(f"--track {name} needs {name}, which is not installed: pip install {name}")


class Tracker:
    """Logs the metrics of one training to a tracker.

    Args:
        name: name of the tracker.
        folder: folder for its files, made if there is none; a run that was begun there is continued.
        title: name of the training.
        config: configuration of the command, logged as hyperparameters.
        step: step at which the training continues; TensorBoard replaces the metrics of later steps.

    Raises:
        ElektronError: the tracker fails, for example without a login.
    """

    def __init__(self, name: TrackerName, folder: Path, title: str, config: Any, step: int = 0) -> None:
        from accelerate import PartialState

        self.name = name
        PartialState()  # without it the trackers' own logging fails
        state = folder / STATE
        module, _, error_class = ERRORS.get(name, "builtins:KeyError").partition(":")
        self.errors = (OSError, ValueError, KeyError, getattr(importlib.import_module(module), error_class))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            saved = read_json(state) if state.exists() else {}
            new = saved.get("tracker") != name
            run = secrets.token_hex(4) if new else str(saved["run"])
            self.tracker = self._make(folder, title, run, new, step)
            self.tracker.main_process_only = False  # this is called by one process
            self.tracker.start()
            if new:
                self.tracker.store_init_configuration(hyperparameters(config))
                if name == "mlflow":  # its server chooses the run id
                    run = self.tracker.tracker.info.run_id
                atomic_write(state, json.dumps({"tracker": name, "run": run}))
        except self.errors as error:
            raise ElektronError(f"--track {name}: {first_line(error)}") from error

    def _make(self, folder: Path, title: str, run: str, new: bool, step: int) -> Any:
        from accelerate import tracking

        if self.name == "tensorboard":
            return tracking.TensorBoardTracker("", folder, purge_step=None if new else step + 1)
        if self.name == "trackio":
            return tracking.TrackioTracker(PROJECT, name=f"{title}-{run}", resume="allow")
        if self.name == "wandb":
            return tracking.WandBTracker(
                PROJECT, name=title, id=run, resume="allow", dir=folder, settings=WANDB_SETTINGS
            )
        return tracking.MLflowTracker(
            PROJECT, run_id=None if new else run, run_name=title, tags={"mlflow.source.name": PROJECT}
        )

    def log(self, kind: str, metrics: Mapping[str, Any], step: int) -> None:
        """Log the finite numbers among the metrics of a step as `kind/name`. If that fails, tracking ends."""
        values = {
            f"{kind}/{name}": value
            for name, value in metrics.items()
            if type(value) in (int, float) and math.isfinite(value) and name != "step"
        }
        if self.tracker is None or not values:
            return
        try:
            self.tracker.log(values, step=step)
        except self.errors as error:
            log.warning("--track %s: %s: metrics are no longer tracked", self.name, first_line(error))
            self.tracker = None

    def close(self) -> None:
        """Write everything that is still buffered, and end the tracker's run."""
        if self.tracker is None:
            return
        try:
            self.tracker.finish()
        except self.errors as error:
            log.warning("--track %s: %s: some metrics may not have been tracked", self.name, first_line(error))


def hyperparameters(config: Any) -> dict[str, bool | int | float | str]:
    """The settings that have a value, by dotted name; of local paths, only the name of the file or folder."""
    values = {name: _without_folders(value) for name, value in to_flat_dict(config).items()}
    return {
        name: value if isinstance(value, bool | int | float) else format_value(value)
        for name, value in values.items()
        if value is not None and value != []
    }


def _without_folders(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    if isinstance(value, Path):
        return value.name
    if not isinstance(value, str) or os.sep not in value:
        return value
    # `--init-from` takes ENCODER,GENERATOR. A part that exists here, or can only be a path, is not a name on the hub.
    return ",".join(
        path.name if path.exists() or path.is_absolute() or len(path.parts) > 2 else str(path)
        for path in map(Path, value.split(","))
    )
