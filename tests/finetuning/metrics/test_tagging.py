"""Entity metrics against seqeval in strict mode, tag metrics against scikit-learn."""

import random

import numpy as np
import pytest
import seqeval.metrics
from hypothesis import given
from hypothesis import strategies as st
from seqeval import scheme as schemes
from seqeval.metrics.v1 import precision_recall_fscore_support
from sklearn.metrics import f1_score

from elektron.finetuning.metrics.tagging import find_scheme, tagging

PIECES = {
    "IOB2": ["O", "B", "BI", "BII"],
    "IOBES": ["O", "S", "BE", "BIE"],
    "BMES": ["O", "S", "BE", "BME"],
    "BILOU": ["O", "U", "BL", "BIL"],
    "IOE2": ["O", "E", "IE", "IIE"],
    "IOB1": ["O", "OI", "OII", "OIB"],
}
RULES = {"BMES": schemes.IOBES} | {name: getattr(schemes, name) for name in PIECES if name != "BMES"}

Sentences = list[list[str]]


def sentences(scheme: str, seed: int, kinds: str = "XYZ") -> Sentences:
    """Well-formed tag sequences of random length, including empty ones."""
    generator = random.Random(seed)
    made = []
    for _ in range(30):
        tags: list[str] = []
        for _ in range(generator.randrange(6)):
            kind = generator.choice(kinds)
            piece = generator.choice(PIECES[scheme])
            tags += [letter if letter == "O" else f"{letter}-{kind}" for letter in piece]
        made.append(tags)
    return made


def spoilt(truth: Sentences, share: float, seed: int) -> Sentences:
    """Replace a share of the tags at random, so that many sequences are malformed."""
    generator = random.Random(seed)
    tags = sorted({tag for sentence in truth for tag in sentence})
    return [[generator.choice(tags) if generator.random() < share else tag for tag in sentence] for sentence in truth]


def with_inside(tags: Sentences) -> Sentences:
    return [[tag.replace("M-", "I-") for tag in sentence] for sentence in tags]


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("scheme", PIECES)
def test_entity_metrics_equal_seqeval(scheme: str, share: float) -> None:
    truth = sentences(scheme, 1)
    predicted = spoilt(truth, share, 2)
    measure = tagging(truth, predicted)
    found = find_scheme(truth, predicted)
    assert found and found.name == scheme
    chosen = np.random.default_rng(3).integers(len(truth), size=len(truth))
    for figures, rows in ((measure(), range(len(truth))), (measure.compute(chosen), chosen)):
        true, given_ = [truth[row] for row in rows], [predicted[row] for row in rows]
        precision, recall, f1, _ = precision_recall_fscore_support(
            with_inside(true), with_inside(given_), average="micro", scheme=RULES[scheme], zero_division=0
        )
        assert figures == pytest.approx(
            {
                "accuracy": seqeval.metrics.accuracy_score(true, given_),
                "precision": precision,
                "recall": recall,
                "f1": f1,
            },
            abs=1e-6,
        )
    by_type = precision_recall_fscore_support(
        with_inside(truth), with_inside(predicted), scheme=RULES[scheme], zero_division=0
    )
    assert list(measure.details["per_class"]) == ["X", "Y", "Z"]
    found = np.array([list(row.values()) for row in measure.details["per_class"].values()])
    assert found == pytest.approx(np.transpose(by_type), abs=1e-6)


TAG = st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"])


@given(st.lists(st.lists(st.tuples(TAG, TAG), max_size=8), min_size=1, max_size=5))
def test_f1_of_arbitrary_tags_equals_seqeval(rows: list[list[tuple[str, str]]]) -> None:
    # The well-formed tags at the start make IOB2 the detected scheme.
    truth = [["O", "B-X", "I-X"], *([true for true, _ in row] for row in rows)]
    predicted = [["O", "O", "B-Y"], *([given_ for _, given_ in row] for row in rows)]
    assert tagging(truth, predicted)()["f1"] == pytest.approx(
        seqeval.metrics.f1_score(truth, predicted, mode="strict", scheme=schemes.IOB2, zero_division=0), abs=1e-6
    )


@pytest.mark.parametrize(
    ("truth", "predicted", "scheme"),
    [
        ("O O", "O O", "IOB2"),
        ("O B-X", "O O", "IOB2"),
        ("O I-X", "O O", "IOB1"),
        ("O B-X", "O S-X", "IOBES"),  # only the predictions contain S
        ("B M E S", "B E S S", "BMES"),  # word segmentation: one entity type without a name
        ("O B I B I", "O B O B I", "IOB2"),
        ("B_X I_X", "B_X O", "IOB2"),
        ("B-X I-X", "B-X NOUN", "IOB2"),
        ("NOUN VERB", "NOUN NOUN", None),
        ("n v", "v v", None),
        ("B-X NOUN", "B-X O", None),
    ],
)
def test_find_scheme(truth: str, predicted: str, scheme: str | None) -> None:
    found = find_scheme([truth.split()], [predicted.split()])
    assert (found.name if found else None) == scheme


def test_entity_metrics_equal_hand_computed_values() -> None:
    measure = tagging([["B-X", "I-X", "O", "B-Y"]], [["B-X", "I-X", "I-Y", "O"]])
    assert measure() == {"accuracy": 0.5, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}
    assert measure.details["per_class"]["Y"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    segmented = tagging([list("BMESBE")], [list("BMESSS")])
    assert segmented()["precision"] == 0.5
    assert segmented()["recall"] == pytest.approx(2 / 3)


def test_predicted_tag_outside_scheme_counts_as_no_entity() -> None:
    figures = tagging([["B-X", "I-X", "O"]], [["B-X", "I-X", "NOUN"]])()
    assert figures == {"accuracy": pytest.approx(2 / 3), "precision": 1, "recall": 1, "f1": 1}


def test_metrics_of_tags_without_scheme_equal_scikit_learn() -> None:
    generator = random.Random(0)
    tags = ["NOUN", "VERB", "ADJ", "PUNCT"]
    truth = [generator.choices(tags, k=generator.randrange(1, 9)) for _ in range(40)]
    predicted = spoilt(truth, 0.4, 1)
    measure = tagging(truth, predicted)
    chosen = np.random.default_rng(1).integers(40, size=40)
    for figures, rows in ((measure(), range(40)), (measure.compute(chosen), chosen)):
        true = [tag for row in rows for tag in truth[row]]
        given_ = [tag for row in rows for tag in predicted[row]]
        assert figures == pytest.approx(
            {
                "accuracy": np.mean(np.array(true) == np.array(given_)),
                "f1": f1_score(true, given_, average="macro", zero_division=0),
            },
            abs=1e-6,
        )
    assert sum(row["support"] for row in measure.details["per_class"].values()) == sum(map(len, truth))


def test_entity_metrics_are_zero_without_entities() -> None:
    assert tagging([[]], [[]])() == {"accuracy": 0, "precision": 0, "recall": 0, "f1": 0}
    assert tagging([["O"]], [["O"]])() == {"accuracy": 1, "precision": 0, "recall": 0, "f1": 0}
