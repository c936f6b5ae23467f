"""Words have the offsets and positions that the model reads, and answers equal those of `predict`."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from elektron.errors import ElektronError
from elektron.explain.reading import (
    Answer,
    entities_of,
    joined,
    log_odds,
    read_question,
    read_sentence,
    read_tokens,
    read_with_discriminator,
)
from elektron.finetuning.readers.records import Record
from elektron.inference.models import load_predictor
from tests.explain.conftest import FAMILIES

LONG = " ".join(["the cat follows the blue house ."] * 12)


def record(**values):
    return Record(values, dict(values), "file, line 1")


def predictor_of(models, task, family="bert"):
    return load_predictor(str(models[task, family]), precision="fp32")


@pytest.mark.parametrize("truncation", ["head", "head-tail", "windows"])
@pytest.mark.parametrize("text", ["the  cat\tsees her brother.", LONG])
def test_read_sentence_equals_task_features(models, truncation, text):
    predictor = predictor_of(models, "classification")
    task = replace(predictor.task, truncation=truncation, max_length=16, pairs=False, stride=4)
    its = record(text=text)
    reading = read_sentence(task, predictor.model, predictor.tokenizer, its)
    feature = task.features([its], predictor.tokenizer, labelled=False)[0]
    assert reading.inputs["input_ids"][0].tolist() == feature["input_ids"]
    assert reading.truncated == (text == LONG)
    ids = reading.inputs["input_ids"][0].tolist()
    for word in reading.words:
        pieces = predictor.tokenizer.convert_ids_to_tokens([ids[p] for p in word.positions])
        assert "".join(piece.removeprefix("##") for piece in pieces) == reading.text(word)
    special = set(range(len(ids))) - set(reading.word_positions)
    assert [ids[place] for place in sorted(special)] == predictor.tokenizer("")["input_ids"]


def test_a_pair_has_two_parts(models):
    predictor = predictor_of(models, "classification")
    reading = read_sentence(
        predictor.task, predictor.model, predictor.tokenizer, record(text="the cat", pair="an apple .")
    )
    assert [(word.part, reading.text(word)) for word in reading.words] == [
        (0, "the"),
        (0, "cat"),
        (1, "an"),
        (1, "apple"),
        (1, "."),
    ]
    assert reading.inputs["token_type_ids"][0].tolist()[-2:] == [1, 1]


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_equal_predictions(models, family):
    text = "the dog likes some warm bread ."
    labelled = predictor_of(models, "classification", family)
    reading = read_sentence(labelled.task, labelled.model, labelled.tokenizer, record(text=text))
    predicted = labelled.predict([record(text=text)])[0]
    assert reading.prediction["label"] == predicted["label"] == reading.answers[0].name
    with torch.no_grad():
        output = labelled.model(**reading.inputs)
    assert float(reading.answers[0].strength(output)) == pytest.approx(predicted["score"], abs=1e-5)

    number = predictor_of(models, "regression", family)
    reading = read_sentence(number.task, number.model, number.tokenizer, record(text=text))
    with torch.no_grad():
        score = float(reading.answers[0].score(number.model(**reading.inputs)))
    assert score == pytest.approx(number.predict([record(text=text)])[0]["score"], abs=1e-5)

    tagger = predictor_of(models, "token-classification", family)
    its = record(tokens=text.split())
    reading = read_tokens(tagger.task, tagger.model, tagger.tokenizer, its, None)
    tags = tagger.predict([its])[0]["tags"]
    assert reading.prediction["tags"] == tags
    about = sorted(word for answer in reading.answers for word in answer.words)
    assert about == [number for number, tag in enumerate(tags) if tag != "O"]
    assert [reading.text(word) for word in reading.words] == text.split()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("context", ["the cat sees an apple .", LONG])
def test_span_is_explained_in_the_window_containing_it(models, family, context):
    answering = predictor_of(models, "question-answering", family)
    task = replace(answering.task, max_length=24, stride=6)
    its = record(question="who sees ?", context=context)
    reading = read_question(task, answering.model, answering.tokenizer, its)
    outputs = []
    features = task.features([its], answering.tokenizer, labelled=False)
    with torch.no_grad():
        for feature in features:
            outputs += task.forward(
                answering.model,
                {name: torch.tensor([feature[name]]) for name in ("input_ids", "token_type_ids") if name in feature},
            )
    expected = task.predictions([its], features, outputs)[0]
    assert reading.prediction == expected
    answer = reading.answers[0]
    about = [reading.words[number] for number in answer.words]
    assert {word.part for word in about} == {1}
    assert answer.name in context[about[0].start : about[-1].end]  # it may begin inside a word
    assert reading.truncated == (context == LONG)


def test_no_answer_is_scored_at_the_special_token(models):
    answering = predictor_of(models, "question-answering")
    task = replace(answering.task, no_answers=True, null_threshold=-1e9)
    its = record(question="who sees ?", context="the cat sees an apple .")
    answer = read_question(task, answering.model, answering.tokenizer, its).answers[0]
    assert (answer.name, answer.words) == ("no answer", ())
    ends = SimpleNamespace(start_logits=torch.tensor([[9.0, 0.0, 0.0]]), end_logits=torch.tensor([[8.0, 0.0, 0.0]]))
    assert float(answer.score(ends)) == pytest.approx(9 + 8 - 2 * math.log(2))


@pytest.mark.parametrize("family", ["elektron", "electra"])
def test_most_suspicious_or_requested_word_is_explained(models, family):
    from elektron.corpus.tokenizer import load_tokenizer
    from elektron.models.loading import load_network

    folder = str(models["discriminator", family])
    from transformers import AutoModelForPreTraining

    model = load_network(AutoModelForPreTraining, folder).eval()
    tokenizer = load_tokenizer(folder)
    its = record(text="the cat sees an apple .")
    reading = read_with_discriminator(model, tokenizer, its, 48, None)
    replaced = reading.prediction["replaced"]
    assert reading.answers[0].words == (replaced.index(max(replaced)),)
    with torch.no_grad():
        output = model(**reading.inputs)
    assert float(reading.answers[0].strength(output)) == pytest.approx(max(replaced), abs=1e-5)
    second = read_with_discriminator(model, tokenizer, its, 48, 2)
    assert second.answers[0].words == (1,)
    with pytest.raises(ElektronError, match=r"line 1.*--word 99"):
        read_with_discriminator(model, tokenizer, its, 48, 99)


def test_log_odds_and_strength_match_softmax_and_sigmoid():
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -3.0, 4.0]])
    choice = log_odds(lambda output: output, 1)
    p = logits.softmax(1)[:, 1]
    torch.testing.assert_close(choice(logits), (p / (1 - p)).log())
    single = log_odds(lambda output: output[:, :1])
    torch.testing.assert_close(single(logits), logits[:, 0])
    both = Answer("both", (choice, single))
    torch.testing.assert_close(both.score(logits), choice(logits) + single(logits))
    torch.testing.assert_close(both.strength(logits), (p + logits[:, 0].sigmoid()) / 2)


@pytest.mark.parametrize(
    ("tags", "labels", "expected"),
    [
        ("O B-X I-X B-Y O", "B-X I-X B-Y O", [("X", 1, 3), ("Y", 3, 4)]),
        ("B-N M-N E-N O S-N", "B-N M-N E-N S-N O", [("N", 0, 3), ("N", 4, 5)]),
        ("O I-X B-X", "B-X I-X O", [("I-X", 1, 2), ("X", 2, 3)]),
        ("NOUN VERB O", "NOUN VERB O", [("NOUN", 0, 1), ("VERB", 1, 2)]),
    ],
)
def test_entities_include_every_tag_except_o(tags, labels, expected):
    assert entities_of(tags.split(), labels.split()) == expected


def test_joined_tokens_and_offsets():
    assert joined(["The", "cat", "."]) == ("The cat.", [(0, 3), (4, 7), (7, 8)])
    assert joined(["吴", "重", "阳"])[0] == "吴重阳"
