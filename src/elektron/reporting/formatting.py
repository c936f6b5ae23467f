"""How numbers, times and metrics are written, and what each metric means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from elektron import progress

NOTHING = "–"
"""Written where a value is not known."""


def decimal(value: float | None, digits: int) -> str:
    """A number with a fixed number of decimals."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as percent."""
    return NOTHING if value is None else f"{value * 100:.{digits}f} %"


def integer(value: float | None) -> str:
    """A count written out: `2,457,600`."""
    return NOTHING if value is None else f"{value:,.0f}"


def compact(value: float | None) -> str:
    """A large count to three digits: `2.46 M`."""
    if value is None:
        return NOTHING
    for size, suffix in ((1e9, "billion"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:  # is 1.00 of this unit when rounded
            return f"{value / size:{'.3g' if value < size * 999.5 else ',.0f'}} {suffix}"
    return f"{value:.3g}"


def scientific(value: float | None) -> str:
    """A very large number: `1.2 × 10¹³`."""
    if value is None:
        return NOTHING
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    superscript = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa} × 10{superscript}"


def duration(seconds: float | None) -> str:
    """A time in its two largest units: `2 min 52 s`."""
    return NOTHING if seconds is None else progress.format_duration(seconds)


Scale = Literal["fraction", "percent", "points", "correlation", "plain"]
"""How values are written: `fraction`, 0 to 1, as percent; `percent`, 0 to 100, as percent; `points`, 0 to 100, without
a unit; `correlation`, −1 to 1; `plain`, any other."""
BY_SCALE: dict[Scale, dict[str, tuple[str, str]]] = {
    "fraction": {
        "accuracy": ("Accuracy", "Rows whose label is correct."),
        "precision": ("Precision", "The fraction of the predictions that is correct."),
        "recall": ("Recall", "The fraction of the true items that was predicted."),
        "f1": ("F1", "The harmonic mean of precision and recall."),
        "f1_macro": ("F1, macro average", "The mean of the classes’ F1: rare classes count as much as common ones."),
        "f1_micro": ("F1, micro average", "Over all labels of all rows."),
        "f1_samples": ("F1, mean of rows", "The mean over rows."),
        "precision_macro": ("Precision, macro average", "The mean of the classes’ precision."),
        "recall_macro": ("Recall, macro average", "The mean of the classes’ recall."),
        "mrr": ("Mean reciprocal rank", "The mean of 1 / rank of the right text."),
        "recall@1": ("Recall at 1", "Rows whose right text comes first."),
        "recall@10": ("Recall at 10", "Rows whose right text is among the first ten."),
        "answered": ("Answered", "Questions that were given an answer."),
        "distinct_1": ("Distinct words", "The fraction of all words of the output that differ."),
        "distinct_2": ("Distinct pairs of words", "The fraction of all pairs of words that differ; low: repetitive."),
        "distinct_outputs": ("Distinct outputs", "Outputs that differ from all others; few: the input is ignored."),
        "generator_accuracy": ("Generator accuracy", ""),
        "discriminator_precision": ("Precision", ""),
        "discriminator_recall": ("Recall", ""),
        "lm_accuracy": ("LM accuracy", ""),
        "data_wait_share": ("Waiting for data", "Fraction of the time. Near zero if loading data is fast enough."),
    },
    "correlation": {
        "mcc": ("Matthews correlation", "From −1 to 1; guessing gets 0, however uneven the classes are."),
        "pearson": ("Pearson correlation", "Linear correlation of predicted and true numbers; guessing gets 0."),
        "spearman": ("Spearman correlation", "Rank correlation of predicted and true numbers; guessing gets 0."),
    },
    "percent": {
        "exact_match": ("Exact match", "Answers equal to a correct one, apart from articles and punctuation."),
        "has_answer_exact_match": ("Exact match, questions with an answer", "Of the questions that have an answer."),
        "has_answer_f1": ("F1, questions with an answer", "Of the questions that have an answer."),
        "no_answer_exact_match": ("Exact match, questions without an answer", "Of these, those left unanswered."),
        "no_answer_f1": ("F1, questions without an answer", "Of these, those left unanswered."),
    },
    "points": {
        "bleu": ("BLEU", "From 0 to 100, by shared words and word sequences; depends on the signature."),
        "chrf": ("chrF", "From 0 to 100, by character sequences shared with the reference."),
        "rouge1": ("ROUGE-1", "From 0 to 100: words shared with the reference."),
        "rouge2": ("ROUGE-2", "From 0 to 100: pairs of words shared with the reference."),
        "rougeL": ("ROUGE-L", "From 0 to 100: the longest sequence of words shared with the reference."),
        "rougeLsum": ("ROUGE-Lsum", "From 0 to 100: ROUGE-L, line by line."),
    },
    "plain": {
        "mse": ("Mean squared error", "The mean of the squared errors; lower is better."),
        "mae": ("Mean absolute error", "The mean of the absolute errors; lower is better."),
        "loss": ("Loss", "The loss that training minimises; in nats for labels and words."),
        "null_threshold": ("Threshold of “no answer”", "Margin that “no answer” needs; chosen on eval."),
        "generator_loss": ("Generator loss", "In nats. Falls quickly, then slowly. Flat: nothing is learned."),
        "discriminator_auc": (
            "Discriminator AUC",
            "From random weights, it starts high, falls as the generator learns, then rises; if a released "
            "encoder is continued, it rises from 0.5.",
        ),
        "discriminator_loss": (
            "Discriminator loss",
            "In nats. Small, as most tokens are originals. A better generator raises it.",
        ),
        "lm_loss": ("LM loss", "Language-model loss in nats: the discriminator’s, where it predicts tokens itself."),
        "similarity_loss": ("Similarity to the generator", "KL divergence from the generator’s, in nats."),
        "learning_rate": ("Learning rate", "That of AdamW; the rate of Muon follows the same schedule."),
        "gradient_norm_generator": (
            "Gradient norm, generator",
            "Before clipping. Lasting growth precedes divergence; single peaks are harmless.",
        ),
        "gradient_norm_discriminator": ("Gradient norm, discriminator", "Before clipping, of λ times its loss."),
        "tokens_per_second": ("Tokens per second", "Padding included."),
    },
}
"""Title and meaning of each metric."""
METRICS = {name: (scale, *texts) for scale, group in BY_SCALE.items() for name, texts in group.items()}
MEANINGS_BY_TASK = {
    ("token-classification", "accuracy"): "Tokens whose tag is correct; high even for a model that "
    "finds nothing, if most tokens are outside of entities.",
    ("token-classification", "f1"): "Over entities, whose boundaries and type must be correct; for "
    "tags without such a scheme, the mean over tags.",
    ("question-answering", "f1"): "Word overlap of the answer with a correct answer, mean over questions.",
    ("multiple-choice", "accuracy"): "Rows for which the correct choice was predicted.",
}


@dataclass(frozen=True)
class MetricFormat:
    """How the values of one metric are formatted."""

    title: str
    scale: Scale
    meaning: str
    less_is_better: bool
    title_in_chart: str
    """The title without names from user files, which must not be drawn into an SVG."""

    def format_value(self, value: float | None) -> str:
        """Format a value with its significant digits."""
        if value is None:
            return NOTHING
        if self.scale in ("fraction", "percent"):
            return percent(value if self.scale == "fraction" else value / 100)
        if self.scale == "points":
            return decimal(value, 1)
        if self.scale == "plain" and 0 < abs(value) < 0.1:
            return f"{value:.3g}".replace("-", "−")
        if self.scale == "correlation" or abs(value) < 1000:
            return decimal(value, 3).replace("-", "−")
        return f"{value:.4g}"

    def format_tick(self, value: float) -> str:
        """Format the label of a tick; empty beyond the ends of the scale."""
        bound = {"fraction": 1.0, "correlation": 1.0, "percent": 100.0, "points": 100.0}.get(self.scale)
        positive = self.scale in ("fraction", "percent", "points")
        if (bound is not None and abs(value) > 1.0001 * bound) or (positive and value < 0):
            return ""
        unit = " %" if self.scale in ("fraction", "percent") else ""
        scaled = 100 * value if self.scale == "fraction" else value
        return f"{scaled:.3g}{unit}".replace("-", "−")

    def format_difference(self, value: float) -> str:
        """Format a difference of two values."""
        if self.scale in ("fraction", "percent", "points"):
            points = f"{100 * value if self.scale == 'fraction' else value:.1f} points"
            return points.replace("-", "−")
        return self.format_value(value)

    def format_difference_interval(self, ends: tuple[float, float]) -> str:
        """Format an interval of differences."""
        low, high = map(self.format_difference, ends)
        return f"{low.removesuffix(' points')} to {high}"

    def format_interval(self, ends: tuple[float, float] | None) -> str:
        """Format an interval; empty if it is None."""
        if ends is None:
            return ""
        low, high = (self.format_value(end) for end in ends)
        return f"{low.removesuffix(' %')} to {high}"

    def best(self, values: Iterable[float | None]) -> str | None:
        """Format the best value; None if all known values look equal when formatted."""
        known = [value for value in values if value is not None]
        if len(set(map(self.format_value, known))) < 2:
            return None
        return self.format_value(min(known) if self.less_is_better else max(known))


def metric_format(
    name: str, task: str = "pretraining", labels: Sequence[str] = (), several: bool = False
) -> MetricFormat:
    """How a metric is written and described.

    Args:
        name: the metric.
        task: the task, or `pretraining`.
        labels: names of the classes.
        several: whether a row may have several labels.
    """
    plain: tuple[Scale, str, str] = "plain", name.replace("_", " "), ""
    of_classes = task == "classification" and not several and name in ("precision", "recall", "f1")
    if of_classes and len(labels) > 2:
        name += "_macro"
    if task == "classification" and several and name == "f1":
        name = "f1_micro"
    scale, title, meaning = METRICS.get(name, plain)
    if name not in METRICS:  # `precision_micro`
        scale = METRICS.get(name.partition("_")[0], plain)[0]
    if (task, name) == ("question-answering", "f1"):
        scale = "percent"
    meaning = MEANINGS_BY_TASK.get((task, name), meaning)
    if task == "classification" and several and name == "accuracy":
        meaning = "Rows whose labels are all correct, none missing and none added."
    if of_classes and len(labels) == 2:
        meaning += f" Of “{labels[1]}”."
    less_is_better = name.endswith(("loss", "mse", "mae"))
    return MetricFormat(title, scale, meaning, less_is_better, title if name in METRICS else "the metric")
