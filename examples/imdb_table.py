"""The table of imdb.sh: test accuracy of a pretrained model, one from scratch, and TF-IDF with logistic regression.

Usage: imdb_table.py TRAIN TEST WORK LABELS…
"""

import json
import statistics
import sys
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.labelled import Labelled, read_labelled
from elektron.finetuning.readers.records import Record

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)


def main(train: str, test: str, work: Path, sizes: list[int]) -> None:
    """Print a row for each number of labels."""
    print(f"{'labels':>8} {'pretrained':>24} {'scratch':>24} {'TF-IDF + LR':>12}")
    for size in sizes:
        sides = [accuracies(work / f"{side}-{size}") for side in ("pretrained", "scratch")]
        config = FinetuneConfig(
            task="classification",
            model="scratch:quickstart",
            train=[train],
            eval=["0.08"],
            test=[test],
            text="text",
            label="label",
            max_train=size,
            out=Path(),
        )
        linear = tfidf(read_labelled(config))
        print(f"{size:>8,} {formatted(sides[0]):>24} {formatted(sides[1]):>24} {linear:>12.4f}")


def accuracies(model: Path) -> list[float]:
    """Test accuracy of each seed."""
    runs = json.loads((model / "runs.json").read_text(encoding="utf-8"))
    return [run["test"]["accuracy"] for run in runs if run["test"]]


def formatted(values: list[float]) -> str:
    """Median and range."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{statistics.median(values):.4f} ({min(values):.4f}–{max(values):.4f})"


def tfidf(data: Labelled) -> float:
    """Test accuracy of the regularisation strength that is best on the held-out reviews."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    train = words.fit_transform(texts(data.train))
    held_out, test = words.transform(texts(data.eval)), words.transform(texts(data.test))
    models = [LogisticRegression(C=strength, max_iter=1000).fit(train, labels(data.train)) for strength in STRENGTHS]
    best = max(models, key=lambda model: model.score(held_out, labels(data.eval)))
    return float(best.score(test, labels(data.test)))


def texts(records: list[Record]) -> list[str]:
    return [record.values["text"] for record in records]


def labels(records: list[Record]) -> list[str]:
    return [record.values["label"] for record in records]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), [int(size) for size in sys.argv[4:]])
