"""Features, targets and predictions of each task with a transformers head, checked by hand."""

from pathlib import Path

import numpy as np
import pytest

from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.classification import Classification, Regression
from elektron.finetuning.tasks.multiple_choice import MultipleChoice, right_choice
from elektron.finetuning.tasks.token_classification import TokenClassification, first_pieces, tokens_of
from tests.finetuning.tasks.test_question_answering import byte_level_tokenizer, learned

CODER, THUMB = "\U0001f469\u200d\U0001f4bb", "\U0001f44d\U0001f3fd"
"""Two emoji of several characters each."""


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    return load_tokenizer(str(tokenizer_folder))


def record(**values):
    return Record(values, {}, "f.tsv, line 2")


def config(task="classification", **options):
    settings = {"max_length": 16, "truncation": "head", "stride": 4} | options
    return FinetuneConfig(task=task, model="m", train=["t"], out=Path("o"), **settings)


class TestClassification:
    def learn(self, *labels, **options):
        records = [record(text="the cat .", label=label) for label in labels]
        return Classification.from_records(records, config(**options), None)

    def test_labels_are_sorted_numerically_then_alphabetically(self):
        assert self.learn("10", "9", 2.0, True).labels == ["2", "9", "10", "True"]
        assert self.learn("pos", "neg").labels == ["neg", "pos"]

    def test_classes_of_a_data_set_keep_their_ids(self):
        records = [
            Record({"text": "a", "label": label}, {}, "", classes=["world", "art", "sport"])
            for label in ("art", "world")
        ]
        assert Classification.from_records(records, config(), None).labels == ["world", "art", "sport"]
        records = [Record({"tokens": ["a"] * 2, "tags": ["B-X", "O"]}, {}, "", classes=["O", "B-X", "I-X"])]
        assert TokenClassification.from_records(records, config("ner"), None).labels == ["O", "B-X", "I-X"]

    def test_probabilities_are_softmax(self):
        said = self.learn("a", "b").prediction(np.array([0.0, np.log(3.0)], np.float32))
        assert said == {"label": "b", "score": pytest.approx(0.75)}

    def test_multi_label_targets_and_predictions_are_independent(self):
        task = self.learn(["a", "b"], ["b"], [])
        assert task.several
        assert task.target(record(label=["b"])) == [0.0, 1.0]
        said = task.prediction(np.array([3.0, -3.0], np.float32))
        assert said["labels"] == ["a"]
        assert task.prediction(np.array([-1.0, -1.0], np.float32))["labels"] == []

    def test_label_separator_of_training_is_kept(self):
        task = self.learn(["a", "b"], ["b"], label_separator="|")
        assert task.files().label_separator == "|"

    def test_windows_share_label_and_average_logits(self, tokenizer):
        task = self.learn("a", "b", truncation="windows")
        rows = [record(text="the cat sees the blue house . " * 4, label="b")]
        features = task.features(rows, tokenizer, labelled=True)
        assert len(features) > 2
        assert {feature["labels"] for feature in features} == {1}
        outputs = [np.array([0.0, float(n)], np.float32) for n in range(len(features))]
        (said,) = task.predictions(rows, features, outputs)
        mean = sum(range(len(features))) / len(features)
        assert said["score"] == pytest.approx(1 / (1 + np.exp(-mean)), abs=1e-5)

    def test_many_distinct_labels_raise(self):
        with pytest.raises(ElektronError, match="is --label the right column"):
            self.learn(*map(str, range(100)))

    @pytest.mark.parametrize(
        ("predicted", "true", "collapsed"),
        [
            ("a" * 100, "ab" * 50, "it predicts 'a' for every text"),
            ("a" * 199 + "b", "ab" * 100, "it predicts 'a' for 99.5 % of the texts"),
            ("a" * 199 + "b", "a" * 199 + "b", None),
            ("a" * 98 + "bb", "ab" * 50, None),
            ("a" * 9, "a" * 9, None),
        ],
    )
    def test_almost_constant_predictions_of_several_labels_are_collapse(self, predicted, true, collapsed):
        found = self.learn("a", "b").variation(
            [record(label=name) for name in true], [{"label": name} for name in predicted]
        )
        assert (found.summary if found.collapsed else None) == collapsed

    def test_constant_baseline_is_most_common_label(self):
        rows = [record(label=name) for name in "abb"]
        constant = self.learn("a", "b").baselines(rows, [])[0]
        assert constant.name == "always 'b'"
        assert self.learn("a", "b").measure(rows, constant.predictions)()["accuracy"] == 2 / 3

    def test_multi_label_constant_baseline_has_highest_micro_f1(self):
        rows = [record(text="x", label=list(names)) for names in ("ab", "ab", "ac", "")]
        task = Classification.from_records(rows, config("classification"), None)
        constant = task.baselines(rows, [])[0]
        assert constant.name == "always 'a', 'b'"
        # 5 labels match, of 8 predicted and 6 true ones.
        figures = task.measure(rows, constant.predictions)()
        assert figures["f1_micro"] == pytest.approx(2 * 5 / (8 + 6))
        assert task.variation(rows, constant.predictions).collapsed
        assert task.compared == ("f1_micro",)


class TestRegression:
    def test_targets_are_standardised_and_predictions_scaled_back(self):
        rows = [record(text="x", label=value) for value in ("1", "3", "5")]
        task = Regression.from_records(rows, config("regression"), None)
        assert [task.target(row) for row in rows] == pytest.approx([-1.224745, 0, 1.224745])
        assert task.prediction(np.array([1.0], np.float32)) == {"score": pytest.approx(3 + (8 / 3) ** 0.5, abs=1e-5)}

    @pytest.mark.parametrize("label", ["high", "", "nan", "inf", None, ["1"]])
    def test_non_numeric_label_raises(self, label):
        with pytest.raises(ElektronError, match=r"line 2.*is not a number"):
            Regression.from_records([record(text="x", label=label)], config("regression"), None)

    @pytest.mark.parametrize(
        ("predicted", "collapsed"), [((2009.0, 2011.0), False), ((2010.0, 2010.1), False), ((2010.0, 2010.01), True)]
    )
    def test_collapse_is_relative_to_spread_of_labels(self, predicted, collapsed):
        rows = [record(text="x", label=value) for value in (2008, 2012)]
        task = Regression.from_records(rows, config("regression"), None)
        predictions = [{"score": score} for score in predicted]
        assert task.variation(rows, predictions).collapsed is collapsed
        assert not task.variation([rows[0], rows[0]], predictions).collapsed

    def test_constant_baseline_is_mean(self):
        rows = [record(text="x", label=value) for value in (2008, 2010, 2012)]
        task = Regression.from_records(rows, config("regression"), None)
        constant = task.baselines(rows, [])[0]
        figures = task.measure(rows, constant.predictions)()
        assert (constant.name, figures["pearson"]) == ("always 2010", 0)
        assert figures["mse"] == pytest.approx(8 / 3)

    def test_equal_labels_raise(self):
        with pytest.raises(ElektronError, match="same number, 2"):
            Regression.from_records([record(text="x", label=2)] * 3, config("regression"), None)


class TestTokenClassification:
    def task(self, *tags, **options):
        rows = [record(tokens=["the"] * len(tags), tags=list(tags))]
        return TokenClassification.from_records(rows, config("token-classification", **options), None)

    def test_first_piece_of_word_has_its_tag(self, tokenizer):
        task = self.task("O", "B-X")
        rows = [record(tokens=["the", "zzcat", "sees"], tags=["O", "B-X", "O"])]
        (feature,) = task.features(rows, tokenizer, labelled=True)
        labels = [label for label in feature["labels"] if label != -100]
        assert [task.labels[label] for label in labels] == ["O", "B-X", "O"]
        assert feature["labels"][0] == feature["labels"][-1] == -100
        assert len(feature["labels"]) == len(feature["input_ids"]) == len(feature["words"])

    @pytest.mark.parametrize("kind", ["bytes", "wordpiece", "bpe", "unigram"])
    def test_words_are_tokenized_as_in_running_text(self, kind):
        reader = byte_level_tokenizer() if kind == "bytes" else learned(kind)
        (feature,) = self.task("O", "B-X").features([record(tokens=["x", "the", "at"])], reader, labelled=False)
        assert feature["input_ids"] == reader(" x the at")["input_ids"]
        assert [word for word in feature["words"] if word is not None] == [0, 1, 2]

    def test_constant_tag_is_collapse_only_if_tags_differ(self):
        task = self.task("O", "B-X")
        rows = [record(tags=["O", "O"]), record(tags=["B-X"])]
        constant = task.baselines(rows, [])[0]
        assert constant == ("always 'O'", [{"tags": ["O", "O"]}, {"tags": ["O"]}])
        found = task.variation(rows, constant.predictions)
        assert (found.collapsed, found.summary) == (True, "it predicts 'O' for every token")
        assert not task.variation(rows[:1], constant.predictions[:1]).collapsed

    def test_first_pieces_keeps_first_piece_of_each_word(self):
        assert first_pieces([None, 0, 0, 1, 2, 2, None]) == [None, 0, None, 1, 2, None, None]

    def test_overlapping_windows_use_tag_with_most_context(self, tokenizer):
        task = self.task("O", "B-X")
        tokens = ["the", "cat"] * 20
        rows = [record(tokens=tokens)]
        features = task.features(rows, tokenizer, labelled=False)
        assert len(features) > 3
        outputs = []
        for feature in features:
            # Each window predicts B-X for its outermost words and O for the others.
            inner = range(2, len(feature["words"]) - 2)
            outer = [0.0 if place in inner else 1.0 for place in range(len(feature["words"]))]
            outputs.append(np.array([[x, 1 - x] for x in outer], np.float32))
        (said,) = task.predictions(rows, features, outputs)
        assert len(said["tags"]) == len(tokens)
        wrong = [n for n, tag in enumerate(said["tags"]) if tag == "B-X"]
        # Only the first and the last word are outermost in every window that has them.
        assert wrong == [0, len(tokens) - 1]

    def test_overlap_of_windows_is_divided_in_its_middle(self, tokenizer):
        task = self.task("O", "B-X")
        rows = [record(tokens=["the", "cat"] * 20)]
        features = task.features(rows, tokenizer, labelled=False)
        outputs = [
            np.tile(np.array([number % 2, 1 - number % 2], np.float32), (len(feature["words"]), 1))
            for number, feature in enumerate(features)
        ]
        (said,) = task.predictions(rows, features, outputs)
        # Windows of 14 words overlap by 4, of which the first 2 are nearer to the middle of the earlier window.
        assert said["tags"] == ["O"] * 12 + ["B-X"] * 10 + ["O"] * 10 + ["B-X"] * 8

    @pytest.mark.parametrize(
        ("text", "tokens"),
        [
            ("हिन्दी में।", ["हिन्दी", "में", "।"]),
            ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
            ("ที่นี่ ไทย", ["ที่นี่", "ไทย"]),
            ("שָׁלוֹם עוֹלָם!", ["שָׁלוֹם", "עוֹלָם", "!"]),
            ("Cafe\u0301, gro\u0308\u00dfer", ["Cafe\u0301", ",", "gro\u0308\u00dfer"]),
            ("テ\u3099ータ", ["テ\u3099", "ー", "タ"]),
            ("\u0645\u06cc\u200c\u062e\u0648", ["\u0645\u06cc\u200c\u062e\u0648"]),
            (f"ok {CODER}{THUMB}", ["ok", CODER, THUMB]),
            ("a_b 3.5% x²", ["a_b", "3", ".", "5", "%", "x²"]),
        ],
    )
    def test_combined_characters_are_not_split(self, text, tokens):
        assert tokens_of(record(tokens=text)) == tokens

    def test_text_is_split_into_words_and_chinese_characters(self):
        assert tokens_of(record(tokens="Li Wei, 北京大学!")) == [*("Li", "Wei", ","), *("北", "京", "大", "学", "!")]

    def test_zero_width_word_gets_tag(self, tokenizer):
        task = self.task("O", "B-X")
        rows = [record(tokens=["the", "\u200b", "cat"])]
        features = task.features(rows, tokenizer, labelled=False)
        outputs = [np.tile(np.array([1.0, 0.0], np.float32), (len(f["words"]), 1)) for f in features]
        (said,) = task.predictions(rows, features, outputs)
        assert len(said["tags"]) == 3


class TestMultipleChoice:
    @pytest.mark.parametrize(("label", "place"), [(1, 1), ("1", 1), (1.0, 1), ("B", 1), ("b", 1), ("dog", 1)])
    def test_the_right_choice_by_number_letter_or_text(self, label, place):
        assert right_choice(record(choices=["cat", "dog"], label=label)) == place

    @pytest.mark.parametrize("label", [2, "C", "bird", -1, ""])
    def test_label_matching_no_choice_raises(self, label):
        with pytest.raises(ElektronError, match=r"line 2.*none of the 2 choices"):
            right_choice(record(choices=["cat", "dog"], label=label))

    def test_choice_keys_take_precedence_over_indices(self):
        choices = {"text": ["cat", "dog", "hen"], "label": ["1", "2", "3"]}
        assert [right_choice(record(choices=choices, label=key)) for key in (1, "3", "hen")] == [*(0, 2, 2)]
        with pytest.raises(ElektronError, match="'0' is none of the 3 choices"):
            right_choice(record(choices=choices, label="0"))

    def test_ambiguous_label_raises(self):
        choices = ["1", "2", "0"]
        with pytest.raises(ElektronError, match=r"line 2: .*'1' is the number of one choice"):
            right_choice(record(choices=choices, label="1"))
        assert right_choice(record(choices=choices, label="B")) == 1

    def test_constant_choice_is_collapse_only_if_labels_differ(self):
        rows = [record(choices=["cat", "dog"], label=label) for label in (1, "A", "dog")]
        task = MultipleChoice(max_length=16)
        constant = task.baselines(rows, [])[0]
        assert constant.name == "always choice 1"
        assert task.measure(rows, constant.predictions)()["accuracy"] == 2 / 3
        assert task.variation(rows, constant.predictions).collapsed
        assert not task.variation(rows[::2], constant.predictions[:2]).collapsed

    def test_single_choice_raises(self):
        with pytest.raises(ElektronError, match="two choices or more"):
            right_choice(record(choices=["cat"], label=0))

    def test_padding_repeats_a_wrong_choice(self, tokenizer):
        rows = [record(text="who", choices=["cat", "dog"], label=label) for label in (0, 1)]
        rows.append(record(text="who", choices=["cat", "dog", "hen"], label=2))
        task = MultipleChoice(max_length=16)
        features = task.features(rows, tokenizer, labelled=True)
        first, second, _ = task.collate(features, tokenizer)["input_ids"]
        assert first[2].equal(first[1]) and second[2].equal(second[0])

    def test_passage_is_encoded_before_question_and_choice(self, tokenizer):
        choices = ["the dog", "the cat"]
        rows = [record(context="a long road .", text="who sees", choices=choices, label=label) for label in (0, 1)]
        task = MultipleChoice(max_length=64)
        read = task.features(rows, tokenizer, labelled=True)[1]["choices"][1]["input_ids"]
        assert read == tokenizer("a long road .", "who sees the cat")["input_ids"]
        task = MultipleChoice.from_records(rows, config("multiple-choice"), None)
        # Passages are required if the training records have them, and not read otherwise.
        needed = {role.name: role.needed for role in task.files().roles}
        assert needed["context"] == "always"
        without = [record(text="who", choices=choices, label=label) for label in (0, 1)]
        task = MultipleChoice.from_records(without, config("multiple-choice"), None)
        assert "context" not in {role.name for role in task.files().roles}

    def test_long_passage_is_truncated_before_question_and_choice(self, tokenizer):
        task = MultipleChoice(max_length=16)
        row = record(context="a long road " * 20, text="who sees", choices=["the dog", "a cat"])
        for choice in task.features([row], tokenizer, labelled=False)[0]["choices"]:
            assert len(choice["input_ids"]) == 16
        end = tokenizer("who sees a cat", add_special_tokens=False)["input_ids"]
        assert choice["input_ids"][-len(end) - 1 : -1] == end

    def test_padded_choices_are_never_predicted(self, tokenizer):
        rows = [
            record(text="the cat .", choices=["a long road", "an apple", "the river"], label=2),
            record(text="the dog .", choices=["an apple", "the river"], label=0),
        ]
        task = MultipleChoice.from_records(rows, config("multiple-choice"), None)
        features = task.features(rows, tokenizer, labelled=True)
        batch = task.collate(features, tokenizer)
        assert batch["input_ids"].shape[:2] == (2, 3)
        assert batch["labels"].tolist() == [2, 0]
        outputs = [np.array([0.0, 1.0, 2.0], np.float32)] * 2
        said = task.predictions(rows, features, outputs)
        assert [row["label"] for row in said] == [2, 1]
        assert said[1]["choice"] == "the river"
