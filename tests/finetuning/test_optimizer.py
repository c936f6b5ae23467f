import copy
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    get_linear_schedule_with_warmup,
)

from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import load_encoder
from elektron.finetuning.optimizer import ChainedOptimizer, freeze_encoder, make_optimizer
from elektron.finetuning.tasks.sequence_to_sequence import new_encoder_decoder
from elektron.muon import Muon


def settings(**options):
    return FinetuneConfig(
        task="classification",
        model="m",
        train=["t"],
        out=Path("o"),
        **{"learning_rate": 1.0, "layer_decay": 0.5, "weight_decay": 0.1} | options,
    )


def rates(model, **options):
    optimizer = make_optimizer(model, settings(**options))
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("family", ["elektron", "electra"])
def test_layer_decay_scales_learning_rate_by_layer(encoders, family):
    model = AutoModelForSequenceClassification.from_pretrained(encoders[family])
    found = rates(model)
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, (rate, _) in found.items():
        expected = 1.0
        if ".embeddings" in name:
            expected = 0.125  # below two layers with rates 0.5 and 0.25
        elif ".layer.0." in name or ".layers.0." in name:
            expected = 0.25
        elif ".layer.1." in name or ".layers.1." in name:
            expected = 0.5
        assert rate == pytest.approx(expected), name


@pytest.mark.parametrize("family", ["elektron", "electra", "bert"])
def test_freeze_encoder_leaves_only_head_parameters(families, family):
    model = AutoModelForSequenceClassification.from_pretrained(families[family])
    freeze_encoder(model)
    found = rates(model, layer_decay=0.0)
    head = {name for name, _ in model.named_parameters() if name.startswith(("classifier.", "bert.pooler."))}
    assert head
    assert {name: rate for name, (rate, _) in found.items()} == dict.fromkeys(head, 1.0)


def test_weight_decay_applies_only_to_matrices(encoders):
    model = AutoModelForSequenceClassification.from_pretrained(encoders["electra"])
    parameters = dict(model.named_parameters())
    for name, (_, decay) in rates(model).items():
        assert decay == (0.1 if parameters[name].ndim >= 2 else 0.0)


@pytest.mark.parametrize("family", ["elektron", "electra"])
def test_layer_decay_1_gives_equal_rates_without_frozen_parameters(encoders, family):
    model = AutoModelForSequenceClassification.from_pretrained(encoders[family])
    model.base_model.embeddings.requires_grad_(False)
    found = rates(model, layer_decay=1.0)
    assert {rate for rate, _ in found.values()} == {1.0}
    frozen = {name for name, _ in model.named_parameters() if ".embeddings." in name}
    assert frozen
    assert found.keys() == dict(model.named_parameters()).keys() - frozen


def muon_for(model, **options):
    """The chained optimizer of a model, and the parameter groups of Muon by parameter name."""
    optimizer = make_optimizer(model, settings(**{"optimizer": "muon", "muon_learning_rate": 0.5} | options))
    assert isinstance(optimizer, ChainedOptimizer)
    _, muon = optimizer.optimizers
    assert isinstance(muon, Muon)
    names = {parameter: name for name, parameter in model.named_parameters()}
    every = [names[p] for group in optimizer.param_groups for p in group["params"]]
    assert sorted(every) == sorted(names.values())
    return optimizer, {names[p]: group for group in muon.param_groups for p in group["params"]}


def test_muon_updates_layer_matrices_with_constant_norm(encoders):
    model = AutoModelForSequenceClassification.from_pretrained(encoders["elektron"])
    optimizer, found = muon_for(model)
    matrices = ("attention.qkv", "attention.output", "feed_forward.inner", "feed_forward.output")
    assert found.keys() == {f"elektron.layers.{layer}.{matrix}.weight" for layer in (0, 1) for matrix in matrices}
    for name, group in found.items():
        assert group["parts"] == (3 if "qkv" in name else 1)
        assert group["constant_norm"]
        assert group["weight_decay"] == 0.0
        assert group["lr"] == (0.125 if ".0." in name else 0.25)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


SMALL = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.mark.parametrize(
    ("make", "config", "matrices"),
    [
        (BertForSequenceClassification, BertConfig(**SMALL), 12),
        (
            DebertaV2ForSequenceClassification,
            DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"]),
            16,
        ),
        (
            ModernBertForSequenceClassification,
            ModernBertConfig(**SMALL, pad_token_id=0, cls_token_id=1, sep_token_id=2),
            8,
        ),
    ],
)
def test_muon_has_no_constant_norm_in_other_families(make, config, matrices):
    _, found = muon_for(make(config))
    assert len(found) == matrices
    assert all(".layers.1." in n or ".layer.1." in n for n in found if ".0." not in n)
    assert not any("embeddings" in name for name in found)
    for group in found.values():
        assert not group["constant_norm"]
        assert group["weight_decay"] == 0.1


def test_muon_updates_decoder_matrices_without_constant_norm(encoders):
    encoder = load_encoder(str(encoders["elektron"]))
    model = new_encoder_decoder(encoder, encoder.tokenizer, layers=1, positions=16, dropout=0.0)
    _, found = muon_for(model)
    ours = {name for name, group in found.items() if group["constant_norm"]}
    assert len(ours) == 8
    assert all(name.startswith("encoder.") for name in ours)
    # Self-attention, cross-attention, feed-forward.
    assert len(found.keys() - ours) == 4 + 4 + 2
    assert all(name.startswith("decoder.") for name in found.keys() - ours)
    assert {found[name]["lr"] for name in found.keys() - ours} == {0.5}


def test_chained_optimizer_equals_separate_optimizers_after_reload():
    torch.manual_seed(0)
    chained = [torch.nn.Parameter(torch.randn(4, 3)), torch.nn.Parameter(torch.randn(3))]
    apart = copy.deepcopy(chained)

    def optimizers(parameters):
        return [
            torch.optim.AdamW([parameters[1]], lr=0.1, fused=True),
            Muon([{"params": [parameters[0]]}], lr=0.3, dtype=torch.float32),
        ]

    chain = ChainedOptimizer(optimizers(chained))
    schedule = get_linear_schedule_with_warmup(chain, 2, 8)
    both = optimizers(apart)
    schedules = [get_linear_schedule_with_warmup(optimizer, 2, 8) for optimizer in both]
    for step in range(6):
        if step in (0, 3):
            chain.load_state_dict(copy.deepcopy(chain.state_dict()))
        for mine, theirs in zip(chained, apart, strict=True):
            mine.grad = torch.randn_like(mine)
            theirs.grad = mine.grad.clone()
        for each in (chain, schedule, *both, *schedules):
            each.step()
        rates = [group["lr"] for optimizer in both for group in optimizer.param_groups]
        assert [group["lr"] for group in chain.param_groups] == rates
        for mine, theirs in zip(chained, apart, strict=True):
            assert torch.equal(mine, theirs)
    assert rates == pytest.approx([0.1 * 2 / 6, 0.3 * 2 / 6])
    chain.zero_grad()
    assert all(parameter.grad is None for parameter in chained)
