"""Answer spans checked by hand, offsets in any script, and a model overfitted on eight questions."""

import dataclasses
import functools
import json
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from elektron.corpus.config import TokenizerConfig
from elektron.corpus.vocabulary import train_backend_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.question_answering import CLS, QuestionAnswering, answer_positions, best_spans
from elektron.models.families import FAMILIES, Sizes

SIZES = Sizes(
    num_hidden_layers=2,
    hidden_size=64,
    intermediate_size=128,
    num_attention_heads=4,
    embedding_size=32,
    max_position_embeddings=64,
    dropout=0.0,
)
CONTEXT = "the cat sees the blue house . my old friend likes some warm bread ."


def record(question: str, context: str, *answers: str) -> Record:
    values = {"id": "1", "question": question, "context": context}
    places = [{"text": text, "answer_start": context.index(text)} for text in answers]
    return Record(values | {"answers": places}, {}, "train.json, question 1")


def task(**settings: object) -> QuestionAnswering:
    return QuestionAnswering(**{"max_length": 40, "stride": 8, "no_answers": True} | settings)


def config(**settings: object) -> FinetuneConfig:
    needed = {"task": "question-answering", "model": "m", "train": ["t"], "out": Path("o")}
    return FinetuneConfig(**needed | {"max_length": 40, "stride": 8} | settings)


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    return AutoTokenizer.from_pretrained(tokenizer_folder)


def make_encoder(family: str, tokenizer) -> Encoder:
    special = {"pad": tokenizer.pad_token_id, "cls": tokenizer.cls_token_id}
    special |= {"sep": tokenizer.sep_token_id}
    configuration = FAMILIES[family].make_config(SIZES, len(tokenizer), special)
    return Encoder(family, configuration, tokenizer, None)


def logits(feature, **scores: float) -> tuple[np.ndarray, np.ndarray]:
    """Start and end logits: `s3=2.0` scores passage token 3 as start, `e3` as end, and `null` scores [CLS]."""
    length = len(feature["input_ids"])
    start, end = np.full(length, -9.0, np.float32), np.full(length, -9.0, np.float32)
    start[CLS] = end[CLS] = scores.pop("null", -18.0) / 2
    for name, score in scores.items():
        side = start if name[0] == "s" else end
        side[feature["begins"] + int(name[1:])] = score
    return start, end


def positions(feature) -> tuple[int, int]:
    """The labels of a feature."""
    return feature["start_positions"], feature["end_positions"]


def token_at(feature, character: int) -> int:
    """The index of the passage token that contains a character."""
    return int(np.searchsorted(feature["offsets"][:, 1], character, side="right"))


# Task settings


def test_no_answers_is_set_from_training_records(tokenizer):
    encoder = make_encoder("elektron", tokenizer)
    with_answer, without = record("who ?", CONTEXT, "the cat"), record("who ?", CONTEXT)
    assert not QuestionAnswering.from_records([with_answer], config(), encoder).no_answers
    learned = QuestionAnswering.from_records([with_answer, without], config(null_threshold=2.0), encoder)
    assert learned.no_answers
    assert (learned.null_threshold, learned.null_threshold_given) == (2.0, True)
    with pytest.raises(ElektronError, match=r"^train\.json: none of the 1 .* nothing to learn$"):
        QuestionAnswering.from_records([without], config(), encoder)


def test_stride_as_long_as_window_raises(tokenizer):
    encoder = make_encoder("elektron", tokenizer)
    with pytest.raises(ElektronError, match=r"^--stride 27 must be below 27, .* --max-length 40 "):
        QuestionAnswering.from_records([record("who ?", CONTEXT, "cat")], config(stride=27), encoder)


def test_check_raises_only_without_answers_field():
    unlabelled = Record({"question": "who ?", "context": CONTEXT}, {}, "dev.json, question 7")
    with pytest.raises(ElektronError, match=r"^dev\.json, question 7: no answers are given"):
        task().check([unlabelled])
    task().check([record("who ?", CONTEXT)])


def test_saved_task_loads_equal(tmp_path):
    written = task(null_threshold=-1.5)
    written.save(tmp_path)
    content = json.loads((tmp_path / "task.json").read_text())
    assert QuestionAnswering.load(content, str(tmp_path)) == written


# Features


def test_long_passage_is_split_into_overlapping_windows(tokenizer):
    context = " ".join(f"{CONTEXT}" for _ in range(5))
    features = task().features([record("who ?", context, "the cat")], tokenizer, labelled=True)
    assert len(features) > 2
    assert all(len(feature["input_ids"]) <= 40 for feature in features)
    for left, right in pairwise(features):
        assert left["offsets"][-8:].tolist() == right["offsets"][:8].tolist()
    assert features[0]["offsets"][0, 0] == 0
    assert features[-1]["offsets"][-1, 1] == len(context)
    assert [positions(feature) == (CLS, CLS) for feature in features] == [False] + [True] * (len(features) - 1)


def test_long_question_is_truncated_to_question_length(tokenizer):
    question = " ".join(["which long road"] * 50)
    records = [record(question, CONTEXT, "the cat"), record("who ?", CONTEXT)]
    long, *_, short = task(question_length=10).features(records, tokenizer, labelled=False)
    assert long["begins"] == 1 + 10 + 1
    assert short["begins"] == 1 + len(tokenizer.tokenize("who ?")) + 1
    assert short["record"] == 1


def test_question_whose_first_character_is_too_long_is_dropped():
    # The emoji is four bytes, each of which is a token.
    (feature,) = task(question_length=2).features([record("👩 ?", "cat")], byte_level_tokenizer(), labelled=False)
    assert feature["begins"] == 3  # after <s></s></s>


@pytest.mark.parametrize(
    ("begin", "end", "found"),
    [
        (14, 21, (6, 7)),
        (10, 13, (5, 5)),
        (9, 13, (CLS, CLS)),
        (18, 22, (CLS, CLS)),
        (15, 16, (6, 6)),  # part of a token: the whole token
    ],
)
def test_answer_cut_by_window_has_cls_position(begin, end, found):
    feature = {"begins": 5, "offsets": np.array([[10, 13], [14, 17], [18, 21]])}
    answer = {"text": "x" * (end - begin), "answer_start": begin}
    assert answer_positions(feature, Record({"answers": [answer]}, {}, "")) == found
    assert answer_positions(feature, Record({"answers": []}, {}, "")) == (CLS, CLS)


def test_batch_keys_match_arguments_of_transformers_heads(tokenizer):
    records = [record("who ?", CONTEXT, "the cat"), record("what is it ?", CONTEXT)]
    features = task().features(records, tokenizer, labelled=True)
    batch = task().collate(features, tokenizer)
    assert batch.keys() == {"input_ids", "token_type_ids", "attention_mask", "start_positions", "end_positions"}
    assert batch["start_positions"].tolist() == [row["start_positions"] for row in features]
    unlabelled = task().collate(task().features(records, tokenizer, labelled=False), tokenizer)
    assert "start_positions" not in unlabelled


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer like that of RoBERTa: spaces inside tokens, no token types."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<s>", "<pad>", "</s>", *alphabet]
    vocabulary = {token: number for number, token in enumerate(names)}
    merges = [("Ġ", "t"), ("Ġ", "a")]
    vocabulary |= {"".join(pair): len(vocabulary) + n for n, pair in enumerate(merges)}
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        sep_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
    )


VOCABULARY = ["cat", "the", "blue", "house", "貓", "看見", "藍色", "房子", "。", "Éa", "x"]
WORDS = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=60)


@functools.cache
def learned(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer as `elektron tokenizer` trains it."""
    config = TokenizerConfig([], Path(), vocab_size=300)
    backend = train_backend_tokenizer(kind, config, lambda _: iter([" ".join(VOCABULARY)] * 5))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )  # fmt: skip


SPACES = st.sampled_from([" ", "  ", "\n", "\t ", "\u3000", "\u00a0", " \n\n "])


@pytest.mark.parametrize("kind", ["small", "bytes", "wordpiece", "bpe", "unigram"])
@settings(deadline=None, max_examples=60)
@given(words=WORDS, data=st.data())
def test_token_positions_reproduce_answer_exactly(kind, tokenizer, words, data):
    own = {"small": tokenizer, "bytes": byte_level_tokenizer()}
    reader = own[kind] if kind in own else learned(kind)
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, min(len(words) - 1, first + 3)))
    context, places = "", []
    for word in words:
        context += data.draw(SPACES)
        places.append((len(context), len(context) + len(word)))
        context += word
    begin, end = places[first][0], places[last][1]
    answer = {"text": context[begin:end], "answer_start": begin}
    asked = Record({"question": "who ?", "context": context, "answers": [answer]}, {}, "")
    learner = task(answer_length=80, max_length=100, stride=60, no_answers=False)
    features = learner.features([asked], reader, labelled=True)
    inside = [positions(feature) != (CLS, CLS) for feature in features]
    assert any(inside)
    outputs = []
    for feature, holds in zip(features, inside, strict=True):
        start, end_scores = np.zeros((2, len(feature["input_ids"])), np.float32)
        if holds:
            first_token, last_token = positions(feature)
            start[first_token] = end_scores[last_token] = 5.0
        outputs.append((start, end_scores))
    (prediction,) = learner.predictions([asked], features, outputs)
    assert prediction["answer"] == context[begin:end]
    assert (prediction["start"], prediction["end"]) == (begin, end)


# Span selection


def test_best_spans_are_ordered_and_at_most_longest():
    start = np.array([0.0, 5.0, 0.0, 1.0], np.float32)
    end = np.array([9.0, 0.0, 1.0, 4.0], np.float32)

    def best(longest: int, count: int) -> set[tuple[int, int, float]]:
        return set(best_spans(start, end, longest, count))

    assert best(longest=4, count=2) == {(0, 0, 9.0), (1, 3, 9.0)}
    assert best(longest=2, count=2) == {(0, 0, 9.0), (1, 2, 6.0)}
    assert len(best(longest=4, count=50)) == 10
    assert len(best(longest=1, count=50)) == 4


def test_best_spans_equal_exhaustive_search():
    random_numbers = np.random.default_rng(1)
    for tokens, longest in ((1, 30), (7, 3), (50, 30)):
        start, end = random_numbers.normal(size=(2, tokens)).astype(np.float32)
        every = [
            (float(start[first] + end[last]), first, last)
            for first in range(tokens)
            for last in range(first, min(tokens, first + longest))
        ]
        found = [(score, *span) for *span, score in best_spans(start, end, longest, 20)]
        assert sorted(found) == sorted(sorted(every)[-20:])


def test_answer_is_extracted_from_passage_with_offsets(tokenizer):
    asked = record("who ?", "the  cat\nsees the Blue house .")
    (feature,) = task().features([asked], tokenizer, labelled=False)
    first, last = token_at(feature, 9), token_at(feature, 27)
    given = logits(feature, **{f"s{first}": 3.0, f"e{last}": 2.0})
    (prediction,) = task().predictions([asked], [feature], [given])
    assert prediction["answer"] == "sees the Blue house"
    assert prediction["start"] == 9
    assert prediction["end"] == 28
    assert prediction["no_answer_margin"] == -18.0 - 5.0
    assert prediction["score"] == pytest.approx(1.0, abs=1e-3)
    json.dumps(prediction)


def test_the_answer_is_the_best_of_all_windows(tokenizer):
    context = " ".join([CONTEXT] * 4)
    asked = record("who ?", context)
    features = task().features([asked], tokenizer, labelled=False)
    outputs = [logits(feature, s0=1.0, e0=1.0, null=4.0) for feature in features]
    outputs[1] = logits(features[1], s2=3.0, e3=4.0, null=2.0)
    (prediction,) = task().predictions([asked], features, outputs)
    offsets = features[1]["offsets"]
    assert prediction["answer"] == context[offsets[2, 0] : offsets[3, 1]]
    assert prediction["no_answer_margin"] == 2.0 - 7.0  # the smallest margin of all windows


def test_no_answer_is_predicted_above_null_threshold(tokenizer):
    asked = record("who ?", CONTEXT)
    (feature,) = task().features([asked], tokenizer, labelled=False)
    given = logits(feature, s0=2.0, e0=1.0, null=4.0)

    def predicted(**settings: object) -> dict:
        return task(**settings).predictions([asked], [feature], [given])[0]

    nothing = predicted()
    assert (nothing["answer"], nothing["start"], nothing["end"]) == ("", -1, -1)
    assert (nothing["span"], nothing["no_answer_margin"]) == ("the", 1.0)
    assert nothing["score"] == pytest.approx(1 / (1 + np.exp(-1.0)), abs=1e-3)
    assert predicted(null_threshold=1.0)["answer"] == "the"
    assert predicted(null_threshold=1.0)["score"] == pytest.approx(1 - nothing["score"], abs=1e-3)
    always = predicted(no_answers=False)
    assert always["answer"] == "the"
    assert always["score"] == pytest.approx(1.0, abs=1e-3)


def test_an_empty_passage_has_no_answer(tokenizer):
    asked = record("who ?", "")
    features = task().features([asked], tokenizer, labelled=True)
    assert list(map(positions, features)) == [(CLS, CLS)]
    for learner in (task(), task(no_answers=False)):
        (prediction,) = learner.predictions([asked], features, [logits(features[0])])
        assert (prediction["answer"], prediction["start"], prediction["score"]) == ("", -1, 1.0)
        json.dumps(prediction, allow_nan=False)


def test_null_threshold_is_tuned_for_best_f1(tokenizer):
    records = [record("who ?", CONTEXT, "cat"), record("who ?", CONTEXT)] * 2
    features = task().features(records, tokenizer, labelled=False)
    first, last = token_at(features[0], 4), token_at(features[0], 6)
    outputs = [
        logits(feature, **{f"s{first}": 1.0, f"e{last}": 1.0, "null": null})
        for feature, null in zip(features, (3.0, 6.0, 4.0, 5.5), strict=True)
    ]
    predictions = task().predictions(records, features, outputs)
    assert task().measure(records, predictions)()["f1"] == 50
    tuned = task().tuned(records, predictions)
    assert 2.0 <= tuned.null_threshold < 3.5
    again = tuned.predictions(records, features, outputs)
    assert tuned.measure(records, again)()["f1"] == 100
    metrics = tuned.measure(records, again)()
    assert (metrics["answered"], metrics["null_threshold"]) == (0.5, tuned.null_threshold)
    given = task(null_threshold=0.0, null_threshold_given=True)
    assert given.tuned(records, predictions) == given
    assert task(no_answers=False).tuned(records, predictions).null_threshold is None


def test_no_answers_with_nearly_equal_margins_are_collapse():
    def said(*margins: float) -> list[dict]:
        return [{"answer": "", "no_answer_margin": margin} for margin in margins]

    def collapsed(predictions: list[dict], answered: bool = True) -> bool:
        unanswerable = record("who?", "the cat")
        last = record("what?", "the cat", "cat") if answered else unanswerable
        return task().variation([unanswerable, unanswerable, last], predictions).collapsed

    assert collapsed(said(3.0, 3.05, 2.98))
    assert not collapsed(said(3.0, 5.0, 2.0))
    assert not collapsed([*said(3.0, 3.0), {"answer": "a", "no_answer_margin": 3.0}])
    assert not collapsed(said(3.0, 3.05, 2.98), answered=False)


def test_constant_baseline_is_no_answer():
    records = [record("who?", "the cat"), record("what?", "the cat", "cat")]
    constant = task().baselines(records, [])[0]
    assert task().measure(records, constant.predictions)()["f1"] == 50
    assert [baseline.name for baseline in task().baselines(records, records)] == [constant.name]


# Training


EIGHT = [
    ("who sees ?", "the cat sees the blue house .", "the cat"),
    ("what is seen ?", "the cat sees the blue house .", "the blue house"),
    ("who likes ?", "my old friend likes some warm bread .", "my old friend"),
    ("what is liked ?", "my old friend likes some warm bread .", "some warm bread"),
    ("who finds ?", "a small bird finds an apple .", "a small bird"),
    ("what is found ?", "a small bird finds an apple .", "an apple"),
    ("who forgets ?", "the red fox meets her brother .", None),
    ("what is met ?", "the red fox meets her brother .", "her brother"),
]


@pytest.mark.parametrize("family", ["elektron", "electra"])
def test_model_overfits_eight_questions(family, tokenizer):
    records = [record(question, text, *filter(None, [answer])) for question, text, answer in EIGHT]
    encoder = make_encoder(family, tokenizer)
    learner = QuestionAnswering.from_records(records, config(), encoder)
    torch.manual_seed(1)
    random.seed(1)
    model = learner.new_model(encoder, dropout=0.0)
    features = learner.features(records, tokenizer, labelled=True)
    batch = learner.collate(features, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        if loss < 0.02:
            break
    model.eval()
    with torch.no_grad():
        outputs = learner.forward(model, learner.collate(features, tokenizer))
    predictions = learner.predictions(records, features, outputs)
    assert [prediction["answer"] for prediction in predictions] == [answer or "" for _, _, answer in EIGHT]
    assert learner.measure(records, predictions)()["exact_match"] == 100
    assert dataclasses.asdict(learner)["no_answers"]
