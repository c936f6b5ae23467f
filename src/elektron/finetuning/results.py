"""What a fine-tuning leaves: a model folder that loads anywhere, and all that is known of it beside.

config.json, model.safetensors, tokenizer.json …   the model, as transformers saves it
task.json          what must be known besides: labels, lengths, decoding
metrics.json       figures with 95 % intervals
predictions.jsonl  the reported rows with what the model says of them
runs.json          every training there was
details.json       confusion, figures by class, baseline, devices, versions, remarks
config.yaml        the resolved configuration
plot.png, report.html, README.md
"""

from __future__ import annotations

import dataclasses
import json
import logging
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from elektron import __version__
from elektron.configuration import save_yaml
from elektron.finetuning.labelled import Labelled
from elektron.finetuning.metrics.measure import bootstrap
from elektron.finetuning.prediction_columns import Beside
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.base import Prediction, Task
from elektron.io.files import to_json
from elektron.reporting.kinds import kind as figure_kind
from elektron.reporting.model_card import write_model_card
from elektron.reporting.task_report import plot, write_report

if TYPE_CHECKING:
    from elektron.finetuning.predictor import Predictor
    from elektron.finetuning.trials import Fitted, Run

log = logging.getLogger(__name__)

METRICS = "metrics.json"
PREDICTIONS = "predictions.jsonl"
RUNS = "runs.json"
DETAILS = "details.json"
CONFIG = "config.yaml"


def write_results(
    folder: Path, fitted: Fitted, runs: Sequence[Run], data: Labelled
) -> dict[str, Any]:
    """Score the kept training and write all that is left of it into a folder; the metrics."""
    config = fitted.config
    records = data.reported
    scored = score(fitted.predictor(), records, data.train)
    metrics = scored.metrics
    metrics |= {"split": data.reported_on, "seconds": round(sum(run.seconds for run in runs), 1)}
    collapses = [run.collapsed for run in runs if run.collapsed]
    warnings = [
        *data.remarks,
        *(f"{run.name} has collapsed: {run.collapsed}" for run in runs if run.collapsed),
        *(said for said in scored.details.pop("warnings") if not said.endswith(tuple(collapses))),
    ]
    details = {
        "model": config.model,
        "train_rows": len(data.train),
        "eval_rows": len(data.eval),
        "test_rows": len(data.test),
        "chosen_on": "eval",
        "reported_on": data.reported_on,
        "hand_over": fitted.encoder.hand_over(fitted.model),
        "warnings": warnings,
    } | scored.details
    fitted.save_model(folder)
    write_json(folder / RUNS, [as_record(run) for run in runs])
    save_yaml(config, folder / CONFIG)
    write_figures(folder, metrics, details, records, scored.predictions)
    write_model_card(folder)
    return metrics


def write_figures(
    folder: Path,
    metrics: dict[str, Any],
    details: dict[str, Any],
    records: Sequence[Record],
    predictions: Sequence[Prediction],
) -> None:
    """Figures and predictions into a folder that has its `task.json`, and the page about them."""
    write_json(folder / METRICS, metrics)
    write_json(folder / DETAILS, details)
    write_predictions(folder / PREDICTIONS, records, predictions)
    plot(folder)
    write_report(folder)


@dataclasses.dataclass
class Scored:
    """What a model says of labelled rows, and how right it is."""

    predictions: list[Prediction]
    metrics: dict[str, Any]
    details: dict[str, Any]


def score(
    predictor: Predictor, records: Sequence[Record], train: Sequence[Record] | None = None
) -> Scored:
    """Predictions for labelled records with their figures, 95 % intervals and what goes into detail.

    `train`: the training records, where they are known.
    """
    task: Task = predictor.task
    predictions = predictor.predict(records, "scoring")
    measure = task.measure(records, predictions)
    features = task.features(records, predictor.tokenizer, labelled=True)
    metrics: dict[str, Any] = {
        "loss": predictor.loss(features, "loss of labelled rows")
    } | measure()
    metrics |= task.figures(records, predictions)
    metrics["rows"] = len(records)
    metrics["intervals"] = {name: list(ends) for name, ends in bootstrap(measure).items()}
    constant = task.constant(records, train or records)
    baseline: dict[str, Any] | None = None
    if constant is not None:
        baseline = {"name": constant.name} | task.measure(records, constant.predictions)()
    warnings = reservations(task, records, predictions, metrics, baseline)
    for warning in warnings:
        log.warning("%s", warning)
    details = {
        "baseline": baseline,
        "warnings": warnings,
        "figure": task.figure,
        "notes": task.notes(measure),
        "columns": dict(records[0].names),
        "label_separator": task.files().label_separator,
        "device": predictor.on.name,
        "precision": predictor.on.precision,
        "versions": versions(),
    } | task.details(records, predictions)
    return Scored(predictions, metrics, details)


def versions() -> dict[str, str]:
    """Of what the figures rest on."""
    return {
        "elektron": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def reservations(
    task: Task,
    records: Sequence[Record],
    predictions: Sequence[Prediction],
    metrics: dict[str, Any],
    baseline: dict[str, Any] | None,
) -> list[str]:
    """Where the predictions are little better than those of a model that does not read the text."""
    found = []
    variation = task.variation(records, predictions)
    if variation.collapsed:
        found.append(f"the model depends little on its input: {variation.summary}")
    if baseline is None:
        return found
    for name in task.compared:
        value, of_constant, kind = metrics[name], baseline[name], figure_kind(name, task.name)
        sign = -1 if kind.less_is_better else 1
        # Other rows move errors of the model and of the constant alike: an interval says too little.
        ends = [value] if kind.less_is_better else metrics["intervals"][name]
        if min(sign * end for end in ends) <= sign * of_constant:
            clearly = "worse" if sign * value < sign * of_constant else "not clearly better"
            found.append(
                f"{kind.title} of {kind.write(value)} is {clearly} than the "
                f"{kind.write(of_constant)} of a constant prediction ({baseline['name']})"
            )
    return found


def as_record(run: Run) -> dict[str, Any]:
    """A run for `runs.json`."""
    return {"name": run.name} | dataclasses.asdict(run)


def write_predictions(
    path: Path, records: Sequence[Record], predictions: Sequence[Prediction]
) -> None:
    """One JSON object a line, in the order of the records, with what the task reads of each.

    The rows of nested files, such as SQuAD's, leave out what many of them share.
    """
    records = [
        dataclasses.replace(
            record,
            columns={
                record.names[role]: value
                for role, value in record.values.items()
                if role in record.names and "," not in record.names[role]
            }
            | record.columns,
        )
        for record in records
    ]
    with path.open("w", encoding="utf-8") as file:
        file.writelines(to_json(row) + "\n" for row in Beside().rows(records, predictions))


def write_json(path: Path, content: Any) -> None:
    """Readable JSON."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
