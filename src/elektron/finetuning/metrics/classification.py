"""Metrics of classification: one class per row, or a set of labels per row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import eye_array

from elektron.finetuning.metrics.measure import (
    Counts,
    Measure,
    Rows,
    macro,
    micro,
    named,
    per_class,
    precision_recall_f1,
    ratio,
)


def single_label(truth: NDArray[np.int64], predicted: NDArray[np.int64], labels: Sequence[str]) -> Measure:
    """Metrics of predictions with one class per row, as scikit-learn defines them.

    accuracy, precision, recall, f1, f1_macro, f1_micro, precision_macro and recall_macro are from 0
    to 1; mcc (Matthews, 1975; for several classes Gorodkin, 2004) is from −1 to 1, where 0 is chance.

    With two classes, precision, recall and f1 are those of the second class, as in GLUE's MRPC and
    QQP; otherwise they are macro averages, over the classes that occur among the true or predicted
    ones. With one class per row, f1_micro is the accuracy.

    Args:
        truth: `(rows,)` class numbers.
        predicted: `(rows,)` class numbers.
        labels: names of the classes.
    """
    one_hot = eye_array(len(labels), dtype=np.int64, format="csr")
    true_classes, predicted_classes = one_hot[truth], one_hot[predicted]
    counts = Counts(true_classes.multiply(predicted_classes), predicted_classes, true_classes)

    def compute(rows: Rows) -> dict[str, float]:
        totals = counts.total(rows)
        averages = macro(totals)
        accuracy = float(totals[0].sum() / totals[2].sum())
        return {
            "accuracy": accuracy,
            **(named(precision_recall_f1(totals[:, 1])) if len(labels) == 2 else averages),
            "f1_macro": averages["f1"],
            "f1_micro": accuracy,
            "precision_macro": averages["precision"],
            "recall_macro": averages["recall"],
            "mcc": matthews_correlation(totals),
        }

    confusion = (true_classes.T @ predicted_classes).toarray().tolist()
    details = {
        "per_class": per_class(counts.total(slice(None)), labels),
        "confusion": {"labels": list(labels), "counts": confusion},
    }
    return Measure(rows=len(truth), compute=compute, details=details)


def matthews_correlation(totals: NDArray[np.int64]) -> float:
    """MCC from the numbers of right, predicted and true rows, `(3, classes)`; 0 if only one class occurs."""
    right, predicted, true = totals.astype(np.float64)
    rows = true.sum()
    covariance = right.sum() * rows - predicted @ true
    variances = (rows**2 - predicted @ predicted) * (rows**2 - true @ true)
    return float(covariance / np.sqrt(variances)) if variances else 0.0


def multi_label(truth: NDArray[np.bool_], predicted: NDArray[np.bool_], labels: Sequence[str]) -> Measure:
    """Metrics of predictions with any number of labels per row; each is from 0 to 1.

    accuracy is the fraction of rows whose whole set of labels is right. precision, recall, f1 and
    f1_micro are over all labels of all rows; f1_macro is the mean over the labels that occur among
    the true or predicted ones; f1_samples is the mean over rows, where a row without true and
    predicted labels counts 1. scikit-learn computes the same with `zero_division` 0, nan and 1.

    Args:
        truth: `(rows, labels)`.
        predicted: `(rows, labels)`.
        labels: names of the labels.
    """
    counts = Counts(truth & predicted, predicted, truth)
    exact = (truth == predicted).all(axis=1)
    sizes = truth.sum(axis=1) + predicted.sum(axis=1)
    f1_of_rows = np.where(sizes == 0, 1.0, ratio(2 * (truth & predicted).sum(axis=1), sizes))

    def compute(rows: Rows) -> dict[str, float]:
        totals = counts.total(rows)
        overall = micro(totals)
        return {
            "accuracy": float(exact[rows].mean()),
            **overall,
            "f1_micro": overall["f1"],
            "f1_macro": macro(totals)["f1"],
            "f1_samples": float(f1_of_rows[rows].mean()),
        }

    details = {"per_class": per_class(counts.total(slice(None)), labels)}
    return Measure(rows=len(truth), compute=compute, details=details)
