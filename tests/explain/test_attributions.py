"""Integrated gradients against their closed form, and their completeness in every family and task."""

import pytest
import torch
from torch import nn

from elektron.explain.attributions import Attribution, integrated_gradients
from elektron.explain.config import ExplainConfig
from elektron.explain.explainer import Explainer
from elektron.explain.reading import Answer, Choice, Reading, Word
from elektron.finetuning.readers.records import Record
from tests.explain.conftest import CLASSES, FAMILIES

pytestmark = pytest.mark.extras
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


def test_of_a_linear_model_they_are_weight_times_difference_from_the_baseline():
    torch.manual_seed(0)
    model = Linear(5, 1).eval()
    answer = Answer("a", (Choice(lambda output: output),))
    ids, words = [1, 5, 6, 7, 2], [(1,), (2, 3)]
    found = integrated_gradients(model, reading_of(ids, words, answer), answer, MASK, 2)
    embeddings, weights = model.embeddings.weight.detach(), model.weights[0].detach()
    by_position = [
        float(weights[place] @ (embeddings[its] - embeddings[MASK]))
        for place, its in enumerate(ids)
    ]
    assert found.words == pytest.approx([by_position[1], by_position[2] + by_position[3]], abs=1e-5)
    assert found.gap < 1e-5


def test_special_tokens_stay_and_score_and_baseline_are_the_models_own():
    torch.manual_seed(0)
    model = Linear(3, 4).eval()
    answer = Answer("a", (Choice(lambda output: output, 2),))
    found = integrated_gradients(model, reading_of([1, 5, 2], [(1,)], answer), answer, MASK, 64)
    with torch.no_grad():
        text, masked = (
            float(answer.score(model(torch.tensor([ids])))) for ids in ([1, 5, 2], [1, MASK, 2])
        )
    assert (found.score, found.baseline_score) == pytest.approx((text, masked), abs=1e-5)
    assert sum(found.words) == pytest.approx(text - masked, rel=1e-4)


def test_the_gap_is_relative_to_the_change():
    assert Attribution([1.0, 0.5], 2.0, 0.0).gap == pytest.approx(0.25)
    assert Attribution([], 1.0, 1.0).gap == 0


RECORDS = {
    "classification": {"text": "the cat sees an apple ."},
    "regression": {"text": "the cat sees an apple ."},
    "token-classification": {"tokens": ["the", "cat", "sees", "an", "apple", "."]},
    "question-answering": {"question": "who sees ?", "context": "the cat sees an apple ."},
    "discriminator": {"text": "the cat sees an apple ."},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", CLASSES)
def test_attributions_add_up(models, family, task):
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
