"""Figures of classification: one class a row, or a set of labels a row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elektron.finetuning.metrics import precision_recall
from elektron.finetuning.metrics.measure import require_rows
from elektron.finetuning.metrics.precision_recall import Tallies


@dataclass(eq=False)
class Classes:
    """Predictions of one class a row, by scikit-learn's formulas.

    accuracy, precision, recall, f1, f1_macro, f1_micro, precision_macro and recall_macro go from 0
    to 1; mcc (Matthews, 1975; for several classes Gorodkin, 2004) from −1 to 1, where 0 is chance.

    Of two classes, precision, recall and f1 are those of the second, as GLUE has it for MRPC and
    QQP; of any other number they are macro averages. Macro averages are over the classes that occur
    among truths or predictions. With one class a row, f1_micro is the accuracy.
    """

    truth: NDArray[np.int64]
    """Class numbers."""
    predicted: NDArray[np.int64]
    names: list[str]
    """Of all classes, by number."""

    def __post_init__(self) -> None:
        require_rows(self.truth, self.predicted)
        pairs = self.truth.astype(np.int64) * len(self.names) + self.predicted
        numbers, self._pair_of_row = np.unique(pairs, return_inverse=True)
        self._pairs = np.stack(np.divmod(numbers, len(self.names)))

    def __len__(self) -> int:
        return len(self.truth)

    def __call__(self, chosen: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Figures over the rows `chosen`, or all.

        Rows with the same truth and prediction are alike, so that scikit-learn is given each such
        pair once, weighing as much as there are rows of it.
        """
        from sklearn import metrics

        drawn = self._pair_of_row if chosen is None else self._pair_of_row[chosen]
        counts = np.bincount(drawn, minlength=self._pairs.shape[1])
        truth, predicted = self._pairs[:, counts > 0]
        weights = counts[counts > 0]
        there = np.union1d(truth, predicted)
        by_class = np.stack(
            metrics.precision_recall_fscore_support(
                truth, predicted, sample_weight=weights, labels=there, zero_division=0
            )[:3]
        )
        macro = by_class.mean(axis=1)
        # The second class may be missing from a resample: nothing to find and nothing found.
        second = by_class[:, there == 1].sum(axis=1)
        precision, recall, f1 = second if len(self.names) == 2 else macro
        accuracy = np.average(truth == predicted, weights=weights)
        figures = {
            "accuracy": accuracy,
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "f1_macro": macro[2],
            "f1_micro": accuracy,
            "precision_macro": macro[0],
            "recall_macro": macro[1],
            # scikit-learn warns of a single class, where the coefficient is 0 by convention.
            "mcc": metrics.matthews_corrcoef(truth, predicted, sample_weight=weights)
            if len(there) > 1
            else 0.0,
        }
        return {name: float(figure) for name, figure in figures.items()}

    def confusion(self) -> NDArray[np.int64]:
        """`(classes, classes)` counts: a row for each true class, a column for each predicted."""
        from sklearn import metrics

        return metrics.confusion_matrix(
            self.truth, self.predicted, labels=np.arange(len(self.names))
        )

    def per_class(self) -> dict[str, dict[str, float]]:
        """precision, recall, f1 (0 to 1) and support (rows that are of it) of every class."""
        from sklearn import metrics

        columns = metrics.precision_recall_fscore_support(
            self.truth, self.predicted, labels=np.arange(len(self.names)), zero_division=0
        )
        return {
            name: {"precision": precision, "recall": recall, "f1": f1, "support": support}
            for name, precision, recall, f1, support in zip(
                self.names, *(column.tolist() for column in columns), strict=True
            )
        }


@dataclass(eq=False)
class LabelSets:
    """Predictions of any number of labels a row; every figure goes from 0 to 1.

    accuracy is the share of rows whose whole set is right. precision, recall, f1 and f1_micro are
    over all labels of all rows; f1_macro is the mean over the labels that occur among truths or
    predictions; f1_samples is the mean over rows, where a row that has no label and was given none
    counts 1. This is what scikit-learn says with `zero_division` 0, nan and 1.
    """

    truth: NDArray[np.bool_]
    """`(rows, labels)`."""
    predicted: NDArray[np.bool_]
    names: list[str] | None = None
    """Of the labels, by column; without them a label is called by its number."""

    def __post_init__(self) -> None:
        require_rows(self.truth, self.predicted)
        self._tallies = Tallies.of_sets(self.truth, self.predicted)
        self._exact = (self.truth == self.predicted).all(axis=1)
        in_both = (self.truth & self.predicted).sum(axis=1)
        in_either = self.truth.sum(axis=1) + self.predicted.sum(axis=1)
        self._f1 = np.where(in_either == 0, 1.0, precision_recall.share(2 * in_both, in_either))

    def __len__(self) -> int:
        return len(self.truth)

    def __call__(self, chosen: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Figures over the rows `chosen`, or all."""
        rows = slice(None) if chosen is None else chosen
        totals = self._tallies.total(chosen)
        micro = precision_recall.micro(totals)
        return {
            "accuracy": float(self._exact[rows].mean()),
            **micro,
            "f1_micro": micro["f1"],
            "f1_macro": precision_recall.macro_f1(totals),
            "f1_samples": float(self._f1[rows].mean()),
        }

    def per_class(self) -> dict[str, dict[str, float]]:
        """precision, recall, f1 (0 to 1) and support (rows that have it) of every label."""
        names = self.names or [str(number) for number in range(self.truth.shape[1])]
        return precision_recall.by_kind(self._tallies.total(), names)
