"""Classification metrics against scikit-learn on the same rows."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from elektron.finetuning.metrics.classification import multi_label, single_label

NAMES = ["no", "yes", "maybe", "never"]


@st.composite
def two_columns(draw: st.DrawFn) -> tuple[list[int], list[int], int, int]:
    """Truth, predictions, number of classes, seed of a resample."""
    classes = draw(st.integers(1, 4))
    rows = draw(st.lists(st.tuples(*[st.integers(0, classes - 1)] * 2), min_size=1, max_size=30))
    truth, predicted = zip(*rows, strict=True)
    return list(truth), list(predicted), classes, draw(st.integers(0, 99))


@given(two_columns())
def test_single_label_metrics_equal_scikit_learn(data: tuple[list[int], list[int], int, int]) -> None:
    truth, predicted, classes = np.array(data[0]), np.array(data[1]), data[2]
    measure = single_label(truth, predicted, NAMES[:classes])
    chosen = np.random.default_rng(data[3]).integers(len(truth), size=len(truth))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measure(), measure.compute(chosen)
    for figures, rows in zip(found, (np.arange(len(truth)), chosen), strict=True):
        assert figures == pytest.approx(scikit_learns(truth[rows], predicted[rows], classes), abs=1e-6)


def scikit_learns(truth: np.ndarray, predicted: np.ndarray, classes: int) -> dict[str, float]:
    def averaged(average: str) -> list[float]:
        scores = metrics.precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
        return list(scores[:3])

    macro, micro = averaged("macro"), averaged("micro")
    plain = averaged("binary") if classes == 2 else macro
    one = len(set(truth) | set(predicted)) == 1
    return {
        "accuracy": metrics.accuracy_score(truth, predicted),
        **dict(zip(("precision", "recall", "f1"), plain, strict=True)),
        **dict(zip(("precision_macro", "recall_macro", "f1_macro"), macro, strict=True)),
        "f1_micro": micro[2],
        "mcc": 0.0 if one else metrics.matthews_corrcoef(truth, predicted),
    }


def test_binary_precision_recall_f1_are_of_second_class() -> None:
    measure = single_label(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0]), ["no", "yes"])
    figures = measure()
    assert (figures["precision"], figures["recall"], figures["f1"]) == (0.5, 0.5, 0.5)
    assert figures["precision_macro"] == pytest.approx((0.5 + 2 / 3) / 2)
    assert measure.compute(np.array([0, 1]))["f1"] == 0


def test_confusion_and_per_class_include_absent_classes() -> None:
    measure = single_label(np.array([0, 0, 2]), np.array([0, 2, 2]), NAMES)
    assert measure.details["confusion"]["counts"] == [[1, 0, 1, 0], [0] * 4, [0, 0, 1, 0], [0] * 4]
    table = measure.details["per_class"]
    assert list(table) == NAMES
    assert table["no"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert table["never"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("shape", [(1, 3), (40, 2), (40, 6)])
def test_multi_label_metrics_equal_scikit_learn(shape: tuple[int, int], share: float) -> None:
    generator = np.random.default_rng(round(share * 100))
    truth, predicted = generator.random((2, *shape)) < share
    measure = multi_label(truth, predicted, [str(label) for label in range(shape[1])])
    chosen = generator.integers(len(truth), size=len(truth))
    for figures, rows in ((measure(), slice(None)), (measure.compute(chosen), chosen)):
        true, given_ = truth[rows], predicted[rows]
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            true, given_, average="micro", zero_division=0
        )
        macro = metrics.f1_score(true, given_, average="macro", zero_division=np.nan)
        assert figures == pytest.approx(
            {
                "accuracy": metrics.accuracy_score(true, given_),
                "precision": precision,
                "recall": recall,
                "f1": f1,
                "f1_micro": f1,
                "f1_macro": np.nan_to_num(macro),
                "f1_samples": metrics.f1_score(true, given_, average="samples", zero_division=1),
            },
            abs=1e-6,
        )


def test_multi_label_per_class_metrics() -> None:
    truth = np.array([[True, False], [True, True], [False, False]])
    predicted = np.array([[True, False], [False, True], [False, True]])
    measure = multi_label(truth, predicted, ["red", "blue"])
    assert measure()["accuracy"] == pytest.approx(1 / 3)
    assert measure.details["per_class"] == {
        "red": {"precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2},
        "blue": {"precision": 0.5, "recall": 1, "f1": pytest.approx(2 / 3), "support": 1},
    }


def test_multi_label_with_one_label_all_negative_or_all_positive() -> None:
    nothing = np.zeros((4, 1), dtype=bool)
    figures = multi_label(nothing, nothing, ["red"])()
    assert figures["accuracy"] == figures["f1_samples"] == 1
    assert figures["f1"] == figures["f1_macro"] == 0
    assert set(multi_label(~nothing, ~nothing, ["red"])().values()) == {1.0}
