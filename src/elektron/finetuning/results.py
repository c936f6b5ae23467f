"""Evaluate a fine-tuned model, and write it to a folder that transformers can load, with everything known about it.

config.json, model.safetensors, tokenizer.json …   the model, as transformers saves it
task.json          what else the model needs: labels, lengths, decoding settings
metrics.json       metrics with 95 % intervals, and those of baselines
predictions.jsonl  the reported rows with the model's predictions
runs.json          every training run
details.json       confusion matrix, metrics by class, device, versions, warnings
config.yaml        the resolved configuration
report.html, README.md
"""

from __future__ import annotations

import dataclasses
import logging
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from elektron import __version__
from elektron.configuration import save_yaml
from elektron.errors import ElektronError
from elektron.finetuning.config import EvaluateConfig
from elektron.finetuning.labelled import Labelled
from elektron.finetuning.metrics.measure import Measure, Rows, bootstrap
from elektron.finetuning.prediction_columns import PredictionColumns
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.values import parsed
from elektron.finetuning.tasks.base import Predictions, Task
from elektron.finetuning.tasks.registry import load_task
from elektron.io.files import to_json
from elektron.pretraining.config import CORPUS, SUMMARY
from elektron.progress import Progress
from elektron.reporting.formatting import metric_format
from elektron.reporting.model_card import file_name, on_hub, write_card
from elektron.reporting.reading import PREFIX, mapping, read_json
from elektron.reporting.sections import sides_table
from elektron.reporting.seed_comparison import Interval
from elektron.reporting.task_report import metrics_table, runs_table, write_report
from elektron.reporting.task_result import (
    CONFIG,
    DETAILS,
    METRICS,
    PREDICTIONS,
    RUNS,
    TaskResult,
    TrainingRun,
    read_task_result,
)
from elektron.reporting.task_summary import pretraining_gain, privacy_sentence, rows_in_words, seeds_sentences
from elektron.terminal import escape_control

if TYPE_CHECKING:
    from elektron.finetuning.encoders import Encoder
    from elektron.finetuning.predictor import Predictor, Scored
    from elektron.finetuning.trials import Trained

log = logging.getLogger(__name__)


def write_results(
    folder: Path, trained: Trained, encoder: Encoder, trials: Sequence[TrainingRun], data: Labelled
) -> dict[str, Any]:
    """Evaluate the kept model on the reported rows and write everything; returns the metrics."""
    records, predictor = data.reported, trained.predictor
    assert predictor is not None  # the weights of the best training run are never deleted
    chosen = [t for t in trials if (t.side, t.settings) == (trained.trial.side, trained.trial.settings)]
    seeds = [metrics for t in chosen if (metrics := t.test if data.test else t.eval)]
    privacy = trained.trial.privacy
    # Baselines learn from training rows without noise, so they get none in private training.
    evaluated = evaluate(predictor, records, () if privacy else data.train, seeds, trained.scored)
    metrics = evaluated.metrics | {
        "split": data.reported_on,
        "seconds": round(sum(trial.seconds or 0.0 for trial in trials), 1),
        **({"privacy": privacy} if privacy else {}),
    }
    collapsed = {trial.name: trial.collapsed for trial in trials if trial.collapsed}
    warnings = [
        *data.remarks,
        *(f"{name} has collapsed: {summary}" for name, summary in collapsed.items()),
        *(warning for warning in evaluated.details.pop("warnings") if not warning.endswith(tuple(collapsed.values()))),
    ]
    details = {
        "model": trained.config.model,
        "hub_name": encoder.name if encoder.pretrained and "/" in encoder.name and on_hub(encoder.name) else "",
        "train_rows": len(data.train),
        "eval_rows": len(data.eval),
        "test_rows": len(data.test),
        "chosen_on": "eval",
        "reported_on": data.reported_on,
        "weights": encoder.count_loaded(predictor.model),
        "pretraining": pretraining_of(encoder.name),
        "warnings": warnings,
    } | evaluated.details
    predictor.save(folder)
    write_json(folder / RUNS, [{"name": t.name} | dataclasses.asdict(t) for t in trials])
    save_yaml(trained.config, folder / CONFIG)
    write_evaluation(folder, metrics, details, records, evaluated.predictions)
    write_card(folder)
    return metrics


def pretraining_of(encoder: str) -> dict[str, Any] | None:
    """Steps, tokens, FLOPs and sources of the pre-training run whose folder contains an encoder; None without one."""
    run = Path(encoder).parent
    try:
        summary, corpus = (read_json(run / name, mapping) or {} for name in (SUMMARY, CORPUS))
    except ElektronError:  # perhaps not files of a run; the fine-tuned model must be written all the same
        return None
    if "flops" not in summary:
        return None
    sources = [file_name(str(source)) for source in corpus.get("sources") or []]
    return {name: summary.get(name) for name in ("steps", "tokens", "flops")} | {"sources": sources}


@dataclasses.dataclass
class Evaluated:
    """Predictions for labelled rows, their metrics, and the content of `details.json` about them."""

    predictions: Predictions
    metrics: dict[str, Any]
    details: dict[str, Any]


def evaluate(
    predictor: Predictor,
    records: Sequence[Record],
    train: Sequence[Record] = (),
    seeds: Sequence[Mapping[str, float]] = (),
    scored: Scored | None = None,
) -> Evaluated:
    """Predict labelled records and compute metrics with 95 % intervals, of the model and of baselines.

    Args:
        predictor: the model.
        records: labelled records.
        train: the training records, if known.
        seeds: metrics of the models of all seeds, including this one, on the same records.
        scored: the predictions, if they have been made already.
    """
    task = predictor.task
    predictions, _, loss = scored or predictor.score(records)
    measure = task.measure(records, predictions)
    metrics: dict[str, Any] = {
        "loss": loss,
        **measure(),
        "rows": len(records),
        "intervals": {name: list(ends) for name, ends in bootstrap(measure).items()},
    }
    with Progress("baselines", None, "baselines", brief=True):
        metrics["baselines"] = baselines = compared_with_baselines(task, records, measure, train)
    better, warnings = judge(task, records, predictions, metrics, baselines, seeds)
    for sentence in better:
        log.info("%s", sentence)
    for warning in warnings:
        log.warning("%s", warning)
    details = {
        "better": better,
        "warnings": warnings,
        "metric": task.metric,
        "notes": measure.notes,
        "columns": dict(records[0].names),
        "device": predictor.accelerator.name,
        "precision": predictor.accelerator.precision,
        "versions": {
            "elektron": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
    } | measure.details
    return Evaluated(predictions, metrics, details)


def judge(
    task: Task,
    records: Sequence[Record],
    predictions: Predictions,
    metrics: Mapping[str, float],
    baselines: Sequence[dict[str, Any]],
    seeds: Sequence[Mapping[str, float]] = (),
) -> tuple[list[str], list[str]]:
    """Compare the metrics of a model with those of the best baseline.

    A metric is clearly better if the 95 % interval of the difference is above 0 and all seeds are better.

    Returns:
        A sentence for each metric that is clearly better, and warnings about the other metrics and about a model that
        predicts the same for every row.
    """
    better: list[str] = []
    warnings: list[str] = []
    variation = task.variation(records, predictions)
    if variation.collapsed:
        warnings.append(f"the model depends little on its input: {variation.summary}")
    for name in task.compared if baselines else ():
        metric = metric_format(name, task.name)
        sign = -1 if metric.less_is_better else 1
        best = max(baselines, key=lambda baseline: sign * baseline["metrics"][name])
        value, interval = best["metrics"][name], best["differences"][name]
        baseline = f"{metric.format_value(value)} of a simple baseline ({best['name']})"
        low, high = sorted(sign * end for end in interval)
        if low > 0 and (behind := sum(sign * seed[name] <= sign * value for seed in seeds)):
            not_better = "not below" if metric.less_is_better else "not above"
            warnings.append(f"{metric.title} of {behind} of {len(seeds)} seeds is {not_better} the {baseline}")
            continue
        verdict = "clearly better" if low > 0 else "worse" if high < 0 else "not clearly better"
        (better if low > 0 else warnings).append(
            f"{metric.title} of {metric.format_value(metrics[name])} is {verdict} than the {baseline}: "
            f"95 % interval of the difference {metric.format_difference_interval(interval)}"
        )
    return better, warnings


def compared_with_baselines(
    task: Task, records: Sequence[Record], measure: Measure, train: Sequence[Record]
) -> list[dict[str, Any]]:
    """Name and metrics of each baseline, and 95 % intervals of the differences, model minus baseline."""
    baselines = []
    for name, predictions in task.baselines(records, train):
        base = task.measure(records, predictions)
        differences = {metric: list(ends) for metric, ends in bootstrap_differences(base, measure).items()}
        baselines.append({"name": name, "metrics": base(), "differences": differences})
    return baselines


def bootstrap_differences(base: Measure, other: Measure) -> dict[str, Interval]:
    """95 % intervals of the differences of the metrics, `other` minus `base`, over resamples of the same rows."""

    def difference(rows: Rows) -> dict[str, float]:
        of_base = base.compute(rows)
        return {name: value - of_base[name] for name, value in other.compute(rows).items() if name in of_base}

    return bootstrap(Measure(rows=base.rows, compute=difference))


def paired_difference(base: Path, other: Path, metric: str) -> Interval:
    """The 95 % interval of the difference of a metric, `other` minus `base`, from the predictions of two models.

    Args:
        base: folder of one model.
        other: folder of the other model, with predictions for the same rows.
        metric: name of the metric.

    Raises:
        ElektronError: a folder cannot be read.
    """
    measures = []
    for folder in (base, other):
        task = load_task(str(folder))
        if (details := folder / DETAILS).is_file():
            names = (read_json(details, mapping) or {}).get("columns") or {}
            task.columns = task.columns | names  # of these rows, which may have other columns than the training rows
        config = EvaluateConfig(model=str(folder))
        records = list(read_records([str(folder / PREDICTIONS)], task.files(), config, labelled=True))
        predictions = [
            {re.sub(f"^({PREFIX})+", "", name): v for name, v in record.columns.items() if name.startswith(PREFIX)}
            for record in records
        ]
        measures.append(task.measure(records, predictions))
    return bootstrap_differences(*measures)[metric]


def write_evaluation(
    folder: Path, metrics: dict[str, Any], details: dict[str, Any], records: Sequence[Record], predictions: Predictions
) -> None:
    """Write metrics, details, predictions and the report into a folder that has a `task.json` already."""
    write_json(folder / METRICS, metrics)
    write_json(folder / DETAILS, details)
    write_predictions(folder / PREDICTIONS, records, predictions)
    write_report(folder)


def write_predictions(path: Path, records: Sequence[Record], predictions: Predictions) -> None:
    """Write one JSON object per line, in the order of the records: columns, values of all roles and predictions.

    The values of roles are written too because the columns of nested files, such as SQuAD's, lack the passage. Lists
    of labels, choices and answers are written as lists, even if the file has them as text.
    """
    completed = []
    for record in records:
        values = {name: record.values[role] for role, name in record.names.items() if role in record.values}
        columns = {name: value for name, value in values.items() if "," not in name} | record.columns
        for role in ("label", "choices", "answers"):
            name = record.names.get(role)
            if name in columns and isinstance(values.get(name), list | dict):
                is_list_as_text = isinstance(columns[name], str) and isinstance(parsed(columns[name]), list | dict)
                if role == "label" or is_list_as_text:
                    columns[name] = values[name]
        completed.append(dataclasses.replace(record, columns=columns))
    with path.open("w", encoding="utf-8") as file:
        file.writelines(to_json(row) + "\n" for row in PredictionColumns().rows(completed, predictions))


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON."""
    path.write_text(to_json(content, indent=1) + "\n", encoding="utf-8")


def summary_text(out: Path) -> str:
    """The text that is printed at the end: all training runs, the gain from pre-training, the metrics and the files."""
    result, parts = read_task_result(out), []
    if len(result.runs) > 1:
        parts.append("\n".join([f"Runs:\n{runs_table(result).markdown()}", *seeds_sentences(result)]))
    if gain := pretraining_gain(result):
        sides, _, verdict = gain
        parts.append(
            f"Gain from pre-training\n{sides_table(sides, result.format(result.metric), {}).markdown()}\n{verdict}"
        )
    parts.append(metrics_text(result))
    if result.privacy:
        parts.append(privacy_sentence(result.privacy))
    folder = escape_control(str(out))
    parts.append(
        f"The model:     {folder}\n"
        f"The report:    {folder}/report.html\n"
        f"Predictions:   elektron predict {folder} --input FILE"
    )
    return "\n" + "\n\n".join(parts)


def metrics_text(result: TaskResult) -> str:
    """A table of the metrics with their intervals and the metrics of baselines."""
    return f"Metrics of {rows_in_words(result)}:\n{metrics_table(result, meanings=False).markdown()}"
