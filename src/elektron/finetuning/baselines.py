"""Baselines without a neural network: linear models on TF-IDF features of texts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektron.finetuning.inputs import Records
from elektron.finetuning.metrics.writing import is_written_without_spaces

MAX_ROWS, MAX_CHARACTERS = 20_000, 5_000_000
"""Limits on the training texts that are used, for about ten seconds on one core."""
MAX_FEATURES = 50_000
MAX_WEIGHTS = 500_000
"""Limit on the number of features times the number of classes."""
SAMPLE = 500
"""Number of texts in which to detect whether words have spaces between them."""
INVERSE_PENALTY = 10.0
"""`C` of logistic regression; nearly the best value by cross-validation on the training rows of three data sets."""
ITERATIONS, TOLERANCE = 100, 1e-3


def tf_idf(texts: Sequence[str], features: int = MAX_FEATURES) -> Any:
    """scikit-learn's vectorizer, fitted to these texts; None if they have no visible character.

    Features are single words or symbols and adjacent pairs of them; in scripts without spaces between words,
    sequences of one to three characters.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(map(str.strip, texts)):
        return None
    options: dict[str, Any] = {"token_pattern": r"\w+|[^\w\s]", "ngram_range": (1, 2)}
    if is_written_without_spaces(texts[index] for index in evenly_spaced(len(texts), SAMPLE)):
        options = {"analyzer": "char", "ngram_range": (1, 3)}
    return TfidfVectorizer(sublinear_tf=True, max_features=features, dtype=np.float32, **options).fit(texts)


def logistic_regression(
    train: Records, labels: Sequence[str] | NDArray[np.bool_], records: Records
) -> tuple[str, NDArray[Any]] | None:
    """Predictions of a logistic regression on TF-IDF features of texts or pairs of texts.

    Args:
        train: training records.
        labels: the class of each training record, or a boolean array `(rows, classes)`.
        records: records to predict.

    Returns:
        The name of the method, with the number of training rows if not all were used, and the predictions in the
        form of `labels`. None if nothing can be learned.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    targets = np.asarray(labels)
    classes = len(np.unique(targets)) if targets.ndim == 1 else targets.shape[1]
    model: Any = LogisticRegression(C=INVERSE_PENALTY, max_iter=ITERATIONS, tol=TOLERANCE)
    if targets.ndim == 2:
        model = OneVsRestClassifier(model)
    features = min(MAX_FEATURES, MAX_WEIGHTS // max(classes, 1))
    return _predicted("logistic regression", model, train, targets, records, features)


def ridge_regression(train: Records, numbers: Sequence[float], records: Records) -> tuple[str, NDArray[Any]] | None:
    """Predictions of a ridge regression; arguments and result are like those of `logistic_regression`."""
    from sklearn.linear_model import Ridge

    return _predicted("ridge regression", Ridge(), train, np.asarray(numbers), records, MAX_FEATURES)


def _predicted(
    name: str, model: Any, train: Records, targets: NDArray[Any], records: Records, features: int
) -> tuple[str, NDArray[Any]] | None:
    from sklearn.exceptions import ConvergenceWarning

    if not train:
        return None
    rows = sampled_rows(train)
    sample, targets = [train[row] for row in rows], targets[rows]
    texts = [str(record.values[role]) for role in ("text", "pair") if role in train[0].values for record in sample]
    vectorizer = tf_idf(texts, features)
    if vectorizer is None or len(np.unique(targets, axis=0)) < 2:
        return None
    with warnings.catch_warnings():
        # Fitting stops after ITERATIONS; a class without a row is never predicted.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="Label not|Label .* is present")
        model.fit(_features(vectorizer, sample), targets)
    on = f" on {len(rows):,} of {len(train):,} rows" if len(rows) < len(train) else ""
    return f"TF-IDF with {name}{on}", model.predict(_features(vectorizer, records))


def _features(vectorizer: Any, records: Records) -> Any:
    """TF-IDF features of each text; for pairs, those of both texts and their cosine."""
    from scipy.sparse import csr_array, hstack

    sides = [
        vectorizer.transform([str(record.values[role]) for record in records])
        for role in ("text", "pair")
        if role in records[0].values
    ]
    if len(sides) == 1:
        return sides[0]
    cosines = csr_array(sides[0].multiply(sides[1]).sum(axis=1).reshape(-1, 1))
    return hstack([*sides, cosines], format="csr")


def sampled_rows(train: Records) -> list[int]:
    """Indices of the training rows to use: evenly spaced, or all if they are few and short."""
    characters = sum(len(str(record.values.get(role, ""))) for record in train for role in ("text", "pair"))
    return evenly_spaced(len(train), min(MAX_ROWS, max(1, len(train) * MAX_CHARACTERS // max(1, characters))))


def evenly_spaced(count: int, limit: int) -> list[int]:
    """Evenly spaced indices below `count`, at most `limit` of them."""
    indices: list[int] = np.linspace(0, count - 1, min(count, limit)).astype(int).tolist()
    return indices
