"""Integrated gradients against their closed form, their sums in every family and task, and attention of the model."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from elektron.explain.config import ExplainConfig
from elektron.explain.explainer import Explainer
from elektron.explain.importance import Attribution, attention_between_words, integrated_gradients, received
from elektron.explain.reading import Answer, Reading, Word, log_odds
from elektron.finetuning.readers.records import Record
from tests.explain.conftest import CLASSES, FAMILIES

MASK = 3


class Linear(nn.Module):
    """Logits are linear in the embeddings of each position."""

    def __init__(self, length, outputs):
        super().__init__()
        self.embeddings = nn.Embedding(10, 4)
        self.weights = nn.Parameter(torch.randn(outputs, length, 4))

    @property
    def base_model(self):
        return self

    def forward(self, input_ids):
        return torch.einsum("ble,kle->bk", self.embeddings(input_ids), self.weights)


def reading_of(ids, words, answer):
    parts = ("x" * len(ids),)
    words = [Word(0, place[0], place[-1] + 1, place) for place in words]
    return Reading({"input_ids": torch.tensor([ids])}, parts, words, False, {}, [answer])


@pytest.mark.extras
def test_integrated_gradients_of_linear_model_match_closed_form():
    torch.manual_seed(0)
    model = Linear(5, 1).eval()
    answer = Answer("a", (log_odds(lambda output: output),))
    ids, words = [1, 5, 6, 7, 2], [(1,), (2, 3)]
    found = integrated_gradients(model, reading_of(ids, words, answer), answer, MASK, 2)
    embeddings, weights = model.embeddings.weight.detach(), model.weights[0].detach()
    by_position = [float(weights[place] @ (embeddings[its] - embeddings[MASK])) for place, its in enumerate(ids)]
    assert found.words == pytest.approx([by_position[1], by_position[2] + by_position[3]], abs=1e-5)
    assert found.gap < 1e-5


@pytest.mark.extras
def test_baseline_masks_words_and_keeps_special_tokens():
    torch.manual_seed(0)
    model = Linear(3, 4).eval()
    answer = Answer("a", (log_odds(lambda output: output, 2),))
    found = integrated_gradients(model, reading_of([1, 5, 2], [(1,)], answer), answer, MASK, 64)
    with torch.no_grad():
        text, masked = (float(answer.score(model(torch.tensor([ids])))) for ids in ([1, 5, 2], [1, MASK, 2]))
    assert (found.score, found.baseline_score) == pytest.approx((text, masked), abs=1e-5)
    assert sum(found.words) == pytest.approx(text - masked, rel=1e-4)


def test_gap_is_relative_to_change_of_score():
    assert Attribution([1.0, 0.5], 2.0, 0.0).gap == pytest.approx(0.25)
    assert Attribution([], 1.0, 1.0).gap == 0


RECORDS = {
    "classification": {"text": "the cat sees an apple ."},
    "regression": {"text": "the cat sees an apple ."},
    "token-classification": {"tokens": ["the", "cat", "sees", "an", "apple", "."]},
    "question-answering": {"question": "who sees ?", "context": "the cat sees an apple ."},
    "discriminator": {"text": "the cat sees an apple ."},
}


@pytest.mark.extras
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", CLASSES)
def test_attributions_sum_to_change_of_score(models, family, task):
    if (task, family) not in models:
        pytest.skip("no such model")
    explainer = Explainer.of(ExplainConfig(model=str(models[task, family]), steps=100))
    found = explainer.explain(Record(RECORDS[task], RECORDS[task], "here"))
    assert len(found.answers) == len(found.reading.answers)
    for answer in found.answers:
        assert len(answer.importance) == len(found.reading.words)
        assert any(abs(value) > 1e-4 for value in answer.importance)
        attribution = answer.attribution
        change = attribution.score - attribution.baseline_score
        assert sum(answer.importance) == pytest.approx(change, rel=0.02, abs=0.02)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", CLASSES)
def test_attention_rows_sum_to_one(models, family, task):
    if (task, family) not in models:
        pytest.skip("no such model")
    config = ExplainConfig(model=str(models[task, family]), method="attention")
    values = {
        "text": "the cat sees an apple .",
        "tokens": ["the", "cat", "."],
        "question": "who ?",
        "context": "the cat sees .",
    }
    found = Explainer.of(config).explain(Record(values, values, "here"))
    words = len(found.reading.words)
    assert found.attention.shape == (2, 2, words + 1, words + 1)
    np.testing.assert_allclose(found.attention.sum(-1), 1, atol=1e-5)
    for answer in found.answers:
        assert answer.attribution is None
        assert answer.importance == pytest.approx(found.attention[:, :, :-1, :-1].mean((0, 1, 2)).tolist())


def test_attention_between_words_aggregates_model_attention(models):
    folder = str(models["classification", "bert"])
    explainer = Explainer.of(ExplainConfig(model=folder, method="attention"))
    reading = explainer.read(Record({"text": "the cat houses"}, {}, "here"))
    found = attention_between_words(explainer.model, reading)
    plain = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager")
    with torch.no_grad():
        weights = plain.eval()(**reading.inputs, output_attentions=True).attentions[1][0]
    pieces = list(reading.words[2].positions)
    assert len(pieces) > 1
    cat = reading.words[1].positions[0]
    assert found[1, :, 1, 2] == pytest.approx(weights[:, cat, pieces].sum(-1).tolist(), abs=1e-6)
    assert found[1, :, 2, 1] == pytest.approx(weights[:, pieces, cat].mean(-1).tolist(), abs=1e-6)
    special = weights[:, cat, 0] + weights[:, cat, -1]
    assert found[1, :, 1, -1] == pytest.approx(special.tolist(), abs=1e-6)
    assert received(found).shape == (2, 2, 4)
