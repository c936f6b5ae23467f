from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.optimizer import make_optimizer


def rates(model, **options):
    config = FinetuneConfig(
        task="classification",
        model="m",
        train=["t"],
        out=Path("o"),
        **{"learning_rate": 1.0, "layer_decay": 0.5, "weight_decay": 0.1} | options,
    )
    optimizer = make_optimizer(model, config)
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("family", ["elektron", "electra"])
def test_each_layer_learns_at_a_share_of_the_one_above(encoders, family):
    model = AutoModelForSequenceClassification.from_pretrained(encoders[family])
    found = rates(model)
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, (rate, _) in found.items():
        expected = 1.0
        if ".embeddings" in name:
            expected = 0.125  # two layers: 0.5 and 0.25
        elif ".layer.0." in name or ".layers.0." in name:
            expected = 0.25
        elif ".layer.1." in name or ".layers.1." in name:
            expected = 0.5
        assert rate == pytest.approx(expected), name


def test_weight_decay_falls_on_matrices_only(encoders):
    model = AutoModelForSequenceClassification.from_pretrained(encoders["electra"])
    parameters = dict(model.named_parameters())
    for name, (_, decay) in rates(model).items():
        assert decay == (0.1 if parameters[name].ndim >= 2 else 0.0)


def test_without_decay_all_learn_alike_and_frozen_ones_do_not(encoders):
    model = AutoModelForSequenceClassification.from_pretrained(encoders["elektron"])
    model.base_model.embeddings.requires_grad_(False)
    found = rates(model, layer_decay=1.0)
    assert {rate for rate, _ in found.values()} == {1.0}
    assert not any("embeddings.word" in name for name in found)
    assert isinstance(model.base_model.embeddings.word_embeddings.weight, torch.nn.Parameter)
