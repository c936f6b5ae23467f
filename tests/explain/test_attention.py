"""Attention between words: the model's own weights, summed over pieces and normalised."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from elektron.explain.attention import attention_between_words, received
from elektron.explain.config import ExplainConfig
from elektron.explain.explainer import Explainer
from elektron.finetuning.readers.records import Record
from tests.explain.conftest import CLASSES, FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", CLASSES)
def test_rows_add_up_to_one(models, family, task):
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
        assert answer.importance == pytest.approx(
            found.attention[:, :, :-1, :-1].mean((0, 1, 2)).tolist()
        )


def test_the_weights_are_those_of_the_model(models):
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
