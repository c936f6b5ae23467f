"""Sentences and names for a fine-tuned model, for its report, for comparisons and for its model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elektron.reporting.formatting import NOTHING, compact, duration, integer
from elektron.reporting.reading import number
from elektron.reporting.seed_comparison import Spread, pretraining_gain_sentence
from elektron.reporting.task_result import SIDES, TaskResult

TASKS = {
    "classification": "Text classification",
    "regression": "Regression on text",
    "token-classification": "Token classification",
    "question-answering": "Question answering",
    "multiple-choice": "Multiple choice",
    "translation": "Translation",
    "summarization": "Summarization",
    "generation": "Text generation",
    "embedding": "Sentence embeddings",
}


def task_name(result: TaskResult) -> str:
    """The task in words."""
    return TASKS.get(result.task, result.task or "A task")


def from_scratch(result: TaskResult) -> bool:
    """Whether training was set to start from random weights."""
    return result.model.startswith("scratch:")


def how_trained(result: TaskResult) -> str:
    """How the model was trained, in words."""
    return "trained from random weights" if from_scratch(result) else "fine-tuned"


def rows_in_words(result: TaskResult) -> str:
    """The reported rows in words, such as `5,000 test rows`."""
    split = "evaluation" if result.split == "eval" else result.split
    rows = integer(result.rows) if result.rows is not None else ""
    return " ".join(filter(None, [rows, split, "rows"]))


def main_metric(result: TaskResult) -> str:
    """Sentences on the main metric, its interval and baselines, and on what is clearly better than the baselines."""
    metric = result.format(result.metric)
    interval = metric.format_interval(result.intervals.get(result.metric))
    inside = f" (95 % interval {interval})" if interval else ""
    value = metric.format_value(result.metrics.get(result.metric))
    others = [f"{metric.format_value(value)} ({name})" for name, value in result.of_baselines(result.metric).items()]
    baselines = f" Simple baselines reach {' and '.join(others)}." if others else ""
    better = "".join(f" {sentence}." for sentence in result.details.better)
    return f"{metric.title} is {value}{inside} on {rows_in_words(result)}.{baselines}{better}"


def lead(result: TaskResult) -> str:
    """The first sentences of a report: encoder, training and main metric."""
    encoder = "/".join(Path(result.model).parts[-2:]) or "an encoder"
    rows = result.details.rows.get("train")
    on = f" on {integer(rows)} rows" if rows else ""
    return f"{encoder}, {how_trained(result)}{on}. {main_metric(result)}"


def privacy_sentence(privacy: dict[str, Any]) -> str:
    """The budget of differentially private training, and what it protects."""
    epsilon, delta, noise, rate, norm = (
        f"{number(privacy, name) or float('nan'):.3g}"
        for name in ("epsilon", "delta", "noise_multiplier", "sample_rate", "max_grad_norm")
    )
    steps, trainings = (number(privacy, name) or 1 for name in ("steps", "trainings"))
    several = f" and the {integer(trainings)} training runs together" if trainings > 1 else ""
    return (
        f"Differentially private for each training row{several}: ε = {epsilon} at δ = {delta} "
        f"({str(privacy.get('accountant', '')).upper()} accountant, noise multiplier {noise}, sample rate {rate}, "
        f"{integer(steps)} steps, gradients clipped to {norm}). Rows of eval and test are not protected, and every "
        "further training on the same rows adds to ε."
    )


def warnings(result: TaskResult) -> list[str]:
    """Warnings for readers of the metrics."""
    details, listed = result.details, list(result.details.warnings)
    if details.weights.get("loaded") == 0 and not from_scratch(result):
        listed.append("no pretrained weights were loaded: the encoder started from random ones")
    same = details.chosen_on == details.reported_on != ""
    if same and not any("chosen on" in warning for warning in listed):
        listed.append(
            "the metrics are computed on the rows that the model was chosen on, and therefore too high: "
            "test it on other rows"
        )
    return listed


def facts(result: TaskResult) -> dict[str, str]:
    """Encoder, numbers of rows and weights, training time and device."""
    details, kept, rows = result.details, result.kept, result.details.rows
    encoder = "encoder" if from_scratch(result) else "pretrained encoder"
    values = {
        encoder if rows else "model": result.model,  # `evaluate` trains nothing
        "training rows": integer(rows.get("train")),
        "evaluation rows": integer(rows.get("eval")),
        "test rows": integer(rows.get("test")),
        "pretrained weights": compact(details.weights.get("loaded") or None),
        "new weights": compact(details.weights.get("new")),
        "chosen on": details.chosen_on,
        "training time": duration(kept.seconds if kept else None),
        "device": details.device,
    }
    return {name: value for name, value in values.items() if value and value != NOTHING}


def seed_spreads(result: TaskResult) -> dict[str, Spread]:
    """The main metric over the seeds of the chosen settings, by split; empty with fewer than two seeds."""
    runs = result.chosen_runs("pretrained") or result.chosen_runs("scratch")
    if len(runs) < 2:
        return {}
    return {split: spread for split in ("eval", "test") if (spread := result.spread(runs, split))}


def reported_spread(result: TaskResult) -> Spread:
    """The main metric on the reported rows: of all seeds, or of the only one; empty where it is not known."""
    value = result.metrics.get(result.metric)
    return seed_spreads(result).get(result.split) or Spread([] if value is None else [value])


def seeds_sentences(result: TaskResult) -> list[str]:
    """Median and range over seeds, one sentence per split."""
    metric = result.format(result.metric)
    return [
        f"{metric.title} on {split}: median {metric.format_value(spread.median)} of "
        f"{len(spread.values)} seeds, from {metric.format_interval(spread.ends)}."
        for split, spread in seed_spreads(result).items()
    ]


def pretraining_gain(result: TaskResult) -> tuple[dict[str, Spread], str, str] | None:
    """Compare pre-trained with from scratch.

    Returns:
        The spread of each side, the split and the verdict; None if there are not two sides.
    """
    sides = {name: result.chosen_runs(side) for side, name in SIDES.items()}
    split = "test" if all(result.metric in run.test for runs in sides.values() for run in runs) else "eval"
    spreads = {name: spread for name, runs in sides.items() if (spread := result.spread(runs, split))}
    if len(spreads) < len(SIDES):
        return None
    metric = result.format(result.metric)
    pretrained, scratch = spreads.values()
    sentences = [pretraining_gain_sentence(pretrained, scratch, metric.format_value, metric.format_difference)]
    for name, runs in sides.items():
        if collapsed := sum(bool(run.collapsed) for run in runs):
            sentences.append(f"Collapsed seeds {name}: {collapsed} of {len(runs)}.")
    ends = result.intervals.get(result.metric)
    if ends is not None and result.split == split and result.rows is not None:
        width = metric.format_difference((ends[1] - ends[0]) / 2)
        sentences.append(f"Another {integer(result.rows)} {split} rows would move such a value by about ± {width}.")
    return spreads, split, " ".join(sentences)
