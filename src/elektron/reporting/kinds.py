"""What the figures of a task are called, how they are written and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from elektron.reporting.wording import NOTHING, decimal

Scale = Literal["share", "percent", "points", "correlation", "plain"]
"""A share from 0 to 1, written in percent; percent as it is; points from 0 to 100, of no unit; from
−1 to 1; anything else."""

SCALES: dict[str, Scale] = {
    "accuracy": "share",
    "precision": "share",
    "recall": "share",
    "f1": "share",
    "distinct": "share",
    "answered": "share",
    "mcc": "correlation",
    "pearson": "correlation",
    "spearman": "correlation",
    "bleu": "points",
    "chrf": "points",
    "rouge1": "points",
    "rouge2": "points",
    "rougeL": "points",
    "rougeLsum": "points",
}
OF_ANSWERS = ("exact_match", "f1")
LESS_IS_BETTER = ("loss", "mse", "mae", "rmse", "perplexity")

TITLES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "f1_macro": "F1, macro average",
    "f1_micro": "F1, micro average",
    "f1_samples": "F1, mean of rows",
    "precision_macro": "Precision, macro average",
    "recall_macro": "Recall, macro average",
    "mcc": "Matthews correlation",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "mse": "Mean squared error",
    "mae": "Mean absolute error",
    "loss": "Loss",
    "exact_match": "Exact match",
    "has_answer_exact_match": "Exact match, questions with an answer",
    "has_answer_f1": "F1, questions with an answer",
    "no_answer_exact_match": "Exact match, questions without an answer",
    "no_answer_f1": "F1, questions without an answer",
    "answered": "Answered",
    "null_threshold": "Threshold of “no answer”",
    "bleu": "BLEU",
    "chrf": "chrF",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
    "distinct_1": "Distinct words",
    "distinct_2": "Distinct pairs of words",
    "distinct_outputs": "Distinct outputs",
}

MEANINGS = {
    "accuracy": "Rows whose label is right.",
    "precision": "Of what was predicted, the share that is right.",
    "recall": "Of what is true, the share that was predicted.",
    "f1": "The harmonic mean of precision and recall.",
    "f1_macro": "The mean of the classes’ F1: rare classes count as much as common ones.",
    "f1_micro": "Over all labels of all rows.",
    "f1_samples": "The mean over rows.",
    "precision_macro": "The mean of the classes’ precision.",
    "recall_macro": "The mean of the classes’ recall.",
    "mcc": "From −1 to 1; 0 is what guessing gets, however uneven the classes are.",
    "pearson": "How nearly predicted and true numbers lie on a line; 0 is what guessing gets.",
    "spearman": "How far predicted and true numbers have the same order; 0 is what guessing gets.",
    "mse": "The mean of the squared errors; less is better.",
    "mae": "How far a prediction is off, on average; less is better.",
    "loss": "The loss that training minimises; in nats where it is of labels or words.",
    "exact_match": "Answers that are a right one to the letter, but for articles and punctuation.",
    "has_answer_exact_match": "Of the questions that have an answer.",
    "has_answer_f1": "Of the questions that have an answer.",
    "no_answer_exact_match": "Of the questions that have none: those left unanswered.",
    "no_answer_f1": "Of the questions that have none: those left unanswered.",
    "answered": "Questions that it gave an answer to.",
    "null_threshold": "How much surer than of its best answer it must be that there is none; "
    "chosen on eval.",
    "bleu": "From 0 to 100, by words and word sequences shared with the reference. It compares with "
    "others of the same signature only.",
    "chrf": "From 0 to 100, by character sequences shared with the reference.",
    "rouge1": "From 0 to 100: words shared with the reference.",
    "rouge2": "From 0 to 100: pairs of words shared with the reference.",
    "rougeL": "From 0 to 100: the longest sequence of words shared with the reference.",
    "rougeLsum": "From 0 to 100: as ROUGE-L, line by line.",
    "distinct_1": "Of all words of the output, the share that differ.",
    "distinct_2": "Of all pairs of words of the output, the share that differ; little is monotony.",
    "distinct_outputs": "Outputs that differ from all others; few say that the input is not read.",
}
OF_TASKS = {
    ("token-classification", "accuracy"): "Tokens whose tag is right. Where most are outside of "
    "entities, it is high for a model that finds none.",
    ("token-classification", "f1"): "Over entities, right only with the right limits and type; of "
    "tags without such a scheme, the mean over tags.",
    ("question-answering", "f1"): "The share of words that answer and right answer have in common, "
    "mean over questions.",
    ("multiple-choice", "accuracy"): "Rows where the right choice was taken.",
}


@dataclass(frozen=True)
class Kind:
    """How one figure reads."""

    title: str
    scale: Scale
    meaning: str
    less_is_better: bool
    drawn: str
    """The title in a drawing, where there is no place for a name that others gave."""

    def write(self, value: float | None) -> str:
        """With the digits that matter."""
        if value is None:
            return NOTHING
        if self.scale == "share":
            return f"{100 * value:.1f} %"
        if self.scale == "percent":
            return f"{value:.1f} %"
        if self.scale == "points":
            return decimal(value, 1)
        if self.scale == "plain" and 0 < abs(value) < 0.1:
            return f"{value:.3g}".replace("-", "−")
        if self.scale == "correlation" or abs(value) < 1000:
            return decimal(value, 3).replace("-", "−")
        return f"{value:.4g}"

    def write_tick(self, value: float) -> str:
        """Beside an axis, where round numbers stand; empty beyond the end of the scale."""
        if self.full is not None and abs(value) > 1.0001 * self.full:
            return ""
        if self.scale in ("share", "percent", "points") and value < 0:
            return ""
        if self.scale == "share":
            return f"{100 * value:.3g} %"
        unit = " %" if self.scale == "percent" else ""
        return f"{value:.3g}{unit}".replace("-", "−")

    def write_difference(self, value: float) -> str:
        """Of two such figures."""
        if self.scale == "share":
            return f"{100 * value:.1f} points"
        if self.scale in ("percent", "points"):
            return f"{value:.1f} points"
        return self.write(value)

    def write_interval(self, ends: tuple[float, float] | None) -> str:
        """From one end to the other; empty where it is not known."""
        if ends is None:
            return ""
        low, high = (self.write(end) for end in ends)
        return f"{low.removesuffix(' %')} to {high}"

    @property
    def full(self) -> float | None:
        """The most it can be; None where there is no such bound."""
        bounds = {"share": 1.0, "correlation": 1.0, "percent": 100.0, "points": 100.0}
        return bounds.get(self.scale)


def kind(name: str, task: str, labels: Sequence[str] = (), several: bool = False) -> Kind:
    """How the figure of that name reads in a task; `several`: a row may have several labels."""
    return Kind(
        title=TITLES.get(name, name.replace("_", " ")),
        scale=_scale(name, task),
        meaning=_meaning(name, task, labels, several),
        less_is_better=name.endswith(LESS_IS_BETTER),
        drawn=TITLES.get(name, "the figure"),
    )


def _scale(name: str, task: str) -> Scale:
    if task == "question-answering" and name.endswith(OF_ANSWERS):
        return "percent"
    return SCALES.get(name) or SCALES.get(name.partition("_")[0], "plain")


def _meaning(name: str, task: str, labels: Sequence[str], several: bool) -> str:
    if task == "classification":
        if several and name == "accuracy":
            return "Rows whose labels are all right, none missing and none too many."
        if not several and name in ("precision", "recall", "f1"):
            of = f" Of “{labels[1]}”." if len(labels) == 2 else " The mean over classes."
            return MEANINGS[name] + of
    return OF_TASKS.get((task, name)) or MEANINGS.get(name, "")
