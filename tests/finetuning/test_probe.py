"""Pretrained against scratch: both sides alike in everything but their weights."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from elektron.finetuning.probe import ProbeRecipe, Texts, accuracy, fine_tune, probe
from elektron.pretraining.loop import pretrain
from tests.conftest import SUBJECTS, sentences
from tests.pretraining.conftest import tiny_config

RECIPE = ProbeRecipe(epochs=6, batch=8, pretrained_lr=5e-3, scratch_lr=5e-3)


def labelled(count: int, seed: int) -> list[tuple[str, str]]:
    """Sentences and what they begin with."""
    return [
        (text, next(subject for subject in SUBJECTS if text.startswith(subject)))
        for text in sentences(count, seed)
    ]


@pytest.fixture(scope="module")
def discriminator(blocks, tmp_path_factory):
    out = tmp_path_factory.mktemp("probe") / "run"
    pretrain(tiny_config(blocks, out))
    return out / "discriminator"


def test_what_comes_out(discriminator):
    result = probe(discriminator, "the subject", labelled(120, 1), labelled(60, 2), (1, 2), RECIPE)
    assert result["train_documents"] == 120
    assert result["test_documents"] == 60
    assert result["classes"] == sorted(SUBJECTS)
    for side in ("pretrained", "scratch"):
        accuracies = result[side]["accuracies"]
        assert len(accuracies) == 2
        assert result[side]["mean"] == pytest.approx(sum(accuracies) / 2)
        assert result[side]["spread"] == pytest.approx(np.std(accuracies, ddof=1))
        assert result[side]["mean"] > result["majority_accuracy"] + 0.1


def test_the_sides_differ_in_their_weights_and_scratch_has_the_familys_own(
    discriminator, monkeypatch
):
    seen = []
    monkeypatch.setattr(
        "elektron.finetuning.probe.fine_tune", lambda model, *_: seen.append(model.state_dict())
    )
    probe(discriminator, "the subject", labelled(20, 1), labelled(20, 2), (1,), RECIPE)
    pretrained, scratch = seen
    name = "elektron.embeddings.word_embeddings.weight"
    assert not torch.equal(pretrained[name], scratch[name])
    assert scratch[name].std() == pytest.approx(0.02, rel=0.1)
    assert scratch["elektron.layers.0.attention.output.weight"].abs().max() == 0
    assert pretrained["elektron.layers.0.attention.output.weight"].abs().max() > 0
    assert torch.equal(pretrained["classifier.linear.weight"], scratch["classifier.linear.weight"])


def test_batches_pad_to_their_longest_and_lose_nothing():
    texts = Texts([[2, 5, 3], [2, 6, 7, 8, 3], [2, 9, 3]], np.array([0, 1, 2]))
    (first, labels), (second, _) = texts.batches(np.array([1, 0, 2]), 2, pad_id=0)
    assert first["input_ids"].tolist() == [[2, 6, 7, 8, 3], [2, 5, 3, 0, 0]]
    assert first["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert labels.tolist() == [1, 0]
    assert second["input_ids"].tolist() == [[2, 9, 3]]


def test_a_seed_gives_the_same_model_twice(discriminator):
    config = AutoConfig.from_pretrained(discriminator, num_labels=2)
    texts = Texts([[2, 10 + i, 3] for i in range(20)], np.arange(20) % 2)
    states = []
    for _ in range(2):
        torch.manual_seed(4)
        model = AutoModelForSequenceClassification.from_config(config)
        fine_tune(model, texts, RECIPE, 1e-3, seed=4)
        states.append(model.state_dict())
        assert 0 <= accuracy(model, texts) <= 1
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
