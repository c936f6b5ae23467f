"""Baseline predictions checked by hand on a few rows, and the features of the linear models."""

import pytest

from elektron.finetuning import baselines
from elektron.finetuning.baselines import logistic_regression, sampled_rows, tf_idf
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.classification import Classification, Regression
from elektron.finetuning.tasks.embedding import Embedding
from elektron.finetuning.tasks.multiple_choice import MultipleChoice
from elektron.finetuning.tasks.sequence_to_sequence import Generation, Summarization, lead
from elektron.finetuning.tasks.token_classification import TokenClassification

READING = {"max_length": 8, "truncation": "head", "stride": 0}
CLASSES = Classification(labels=["bad", "good"], pairs=False, **READING)


def rows(role, *pairs):
    """Records with a text and one other value."""
    return [Record({"text": text, role: value}, {}, "") for text, value in pairs]


TRAIN = rows("label", *[("fine film", "good"), ("dull film", "bad")] * 4, ("fine", "good"))


def test_tf_idf_baseline_predicts_class_from_words():
    test = rows("label", ("fine !", "good"), ("dull story", "bad"), ("dull", "good"))
    constant, learned = CLASSES.baselines(test, TRAIN)
    assert constant.name == "always 'good'"
    assert learned.name == "TF-IDF with logistic regression"
    assert [row["label"] for row in learned.predictions] == ["good", "bad", "bad"]
    assert CLASSES.measure(test, learned.predictions)()["accuracy"] == pytest.approx(2 / 3)


def test_only_constant_baseline_without_training_rows():
    assert [found.name for found in CLASSES.baselines(TRAIN, [])] == ["always 'good'"]


def test_no_linear_baseline_for_one_class_or_blank_texts():
    assert len(CLASSES.baselines(TRAIN, TRAIN[:1])) == 1
    assert len(CLASSES.baselines(TRAIN, rows("label", (" ", "good"), ("", "bad")))) == 1


def test_multi_label_baseline_learns_each_label_separately():
    task = Classification(labels=["a", "b", "never"], several=True, pairs=False, **READING)
    train = rows("label", *[("apple", ["a"]), ("bean", ["b"]), ("apple bean", ["a", "b"])] * 4)
    test = rows("label", ("apple", ["a"]), ("bean apple", []), ("other", ["a"]))
    _, learned = task.baselines(test, train)
    assert [row["labels"] for row in learned.predictions[:2]] == [["a"], ["a", "b"]]


def test_regression_baseline_uses_ridge_regression():
    task = Regression(mean=0.0, spread=1.0, pairs=False, **READING)
    train = rows("label", *[("low", 1), ("high", 5)] * 50)
    (_, learned) = task.baselines(rows("label", ("high", 5), ("low", 1), ("new", 3)), train)
    assert learned.name == "TF-IDF with ridge regression"
    # With n rows of unit features, a penalty of 1 shrinks the deviation from the mean to n / (n + 2) of its size.
    scores = [row["score"] for row in learned.predictions]
    assert scores == pytest.approx([3 + 2 * 50 / 51, 3 - 2 * 50 / 51, 3.0], abs=0.01)


def test_pair_baseline_uses_cosine_of_texts():
    def pair(text, other, label):
        return Record({"text": text, "pair": other, "label": label}, {}, "")

    words = ["amber", "wool", "glass", "iron", "silk", "clay", "salt", "wood"]
    train = [pair(word, word, "same") for word in words]
    train += [pair(word, words[place - 1], "other") for place, word in enumerate(words)]
    test = [pair("silk iron", "iron silk", "same"), pair("silk", "salt", "other")]
    _, found = logistic_regression(train, [row.values["label"] for row in train], test)
    assert found.tolist() == ["same", "other"]


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("Ab c!", {"ab", "c", "!", "ab c", "c !"}),
        ("北京", {"北", "京", "北京"}),
        ("ไทย", {"ไ", "ท", "ย", "ไท", "ทย", "ไทย"}),
    ],
)
def test_tf_idf_features_are_word_or_character_n_grams(text, features):
    assert set(tf_idf([text]).get_feature_names_out()) == features


def test_baseline_subsamples_many_or_long_texts(monkeypatch):
    assert sampled_rows(TRAIN) == list(range(9))
    monkeypatch.setattr(baselines, "MAX_ROWS", 4)
    assert len(sampled_rows(TRAIN)) == 4
    name, _ = logistic_regression(TRAIN, [row.values["label"] for row in TRAIN], TRAIN)
    assert name == "TF-IDF with logistic regression on 4 of 9 rows"
    monkeypatch.setattr(baselines, "MAX_CHARACTERS", 24)
    assert sampled_rows(TRAIN) == [0, 8]


def test_tag_baseline_predicts_most_common_tag_of_each_token():
    def tagged(*pairs):
        tokens, tags = zip(*pairs, strict=True)
        return Record({"tokens": list(tokens), "tags": list(tags)}, {}, "")

    task = TokenClassification(labels=["B-X", "O"], max_length=8, stride=0)
    train = [tagged(("Li", "B-X"), ("ran", "O"), ("on", "O")), tagged(("Li", "B-X"), ("Li", "O"))]
    test = [tagged(("Li", "B-X"), ("Wei", "B-X"), ("ran", "O"))]
    _, found = task.baselines(test, train)
    assert found.predictions == [{"tags": ["B-X", "O", "O"]}]
    assert task.measure(test, found.predictions)()["accuracy"] == pytest.approx(2 / 3)
    assert len(task.baselines(test, [])) == 1


def test_lead_baseline_has_length_of_typical_summary():
    assert lead("One two. Three four five! Six.", 3) == "One two.\nThree four five!"
    assert lead("One two. Three.", 1) == "One two."
    assert lead("A: hi\nB: so\nA: no", 4) == "A: hi\nB: so"
    assert lead("One. Two.", 99) == "One.\nTwo."
    assert lead("", 3) == ""
    records = [
        Record({"source": f"Rain fell. It {word}. Then sun.", "target": f"it {word}"}, {}, "")
        for word in ("poured", "stopped")
    ]
    name, texts = Summarization.copied(None, records, records)
    assert (name, texts[0]) == ("the first sentences of the source", "Rain fell.")
    assert Generation.copied(None, records, records)[1][0] == "Rain fell. It poured. Then sun."


def test_embedding_baseline_ranks_by_tf_idf_cosine():
    pairs = [("red wool", "the red wool"), ("iron", "old iron gate"), ("clay", "salt")]
    records = rows("pair", *pairs)
    task = Embedding(scored=False, max_length=8)
    (found,) = task.baselines(records, [])
    # No text shares a word with the third query: all three cosines are 0.
    assert [row["rank"] for row in found.predictions] == [1, 1, 3]
    scored = [Record(row.values | {"label": 1.0}, {}, "") for row in records]
    (found,) = Embedding(scored=True, max_length=8).baselines(scored, scored)
    cosines = [row["score"] for row in found.predictions]
    assert cosines[0] > 0.4 and cosines[2] == 0
    assert "rank" not in found.predictions[0]


def test_multiple_choice_has_only_constant_baseline():
    choices = [Record({"text": "x", "choices": ["a", "b"], "label": 1}, {}, "")] * 2
    (found,) = MultipleChoice(max_length=8).baselines(choices, choices)
    assert [row["label"] for row in found.predictions] == [1, 1]
