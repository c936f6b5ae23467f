"""Pretrained against scratch: both sides alike in everything but their weights."""

import pytest
import torch

from elektron.finetuning.probe import ProbeRecipe, probe
from elektron.models.elektron import INITIAL_GAIN
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
        assert sum(accuracies) / 2 > result["majority_accuracy"] + 0.1


def test_the_sides_differ_in_their_weights_and_scratch_has_the_familys_own(
    discriminator, monkeypatch
):
    seen = []
    monkeypatch.setattr(
        "elektron.finetuning.probe.train_model",
        lambda task, model, *_: seen.append(model.state_dict()),
    )
    probe(discriminator, "the subject", labelled(20, 1), labelled(20, 2), (1,), RECIPE)
    pretrained, scratch = seen
    name = "elektron.embeddings.word_embeddings.weight"
    assert not torch.equal(pretrained[name], scratch[name])
    assert scratch[name].std() == pytest.approx(0.02, rel=0.1)
    gain = "elektron.layers.0.attention_gain.weight"
    assert (scratch[gain] == INITIAL_GAIN).all()
    assert (pretrained[gain] != INITIAL_GAIN).any()
    assert torch.equal(pretrained["classifier.linear.weight"], scratch["classifier.linear.weight"])
