"""Attention in three operations: equal to SDPA within rounding, used where it is faster, not saved in configs."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    MPNetConfig,
    PreTrainedModel,
    RobertaConfig,
)

from elektron.models import attention
from elektron.models.attention import LONGEST_ROW, NAME, use_fast_attention
from elektron.models.families import FAMILIES, Sizes
from elektron.models.loading import load_network

SIZES = Sizes(
    num_hidden_layers=2,
    hidden_size=32,
    intermediate_size=64,
    num_attention_heads=2,
    embedding_size=16,
    max_position_embeddings=64,
    dropout=0.0,
)
SMALL = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
LAYER = SimpleNamespace(is_causal=False)
IDS = torch.arange(5, 29).view(2, 12)
PADDING = torch.tensor([[1] * 12, [1] * 7 + [0] * 5])


def config_of(family: str):
    if family in FAMILIES:
        return FAMILIES[family].make_config(SIZES, 50, {"pad": 0, "cls": 1, "sep": 2})
    return {"bert": BertConfig, "roberta": RobertaConfig, "mpnet": MPNetConfig}[family](**SMALL)


def network(family: str) -> PreTrainedModel:
    """An encoder whose weights are moved off their initial values."""
    torch.manual_seed(0)
    model = AutoModel.from_config(config_of(family), dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def heads(dtype: torch.dtype, length: int = 12) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, 3, length, 8).to(dtype).requires_grad_() for _ in range(3)]


def masks() -> dict[str, torch.Tensor | None]:
    padding = PADDING.bool()[:, None, None, :].expand(2, 1, 12, 12)
    return {
        "none": None,
        "padding": padding,
        "additive": torch.zeros(2, 1, 12, 12).masked_fill(~padding, torch.finfo(torch.float32).min),
        "window": (torch.arange(12)[:, None] - torch.arange(12)).abs() < 4,
    }


@pytest.fixture
def product_calls(monkeypatch):
    """One entry for each call of `Tensor.softmax`, which SDPA does not call."""
    calls = []
    softmax = torch.Tensor.softmax
    monkeypatch.setattr(torch.Tensor, "softmax", lambda *args, **kw: calls.append(1) or softmax(*args, **kw))
    return calls


@pytest.mark.parametrize("mask", list(masks()))
def test_equals_sdpa_with_gradients(mask, product_calls):
    bias = masks()[mask]
    results = {}
    for dtype in (torch.float64, torch.bfloat16):
        query, key, value = heads(torch.bfloat16)
        query, key, value = (each.detach().to(dtype).requires_grad_() for each in (query, key, value))
        given = bias.to(dtype) if bias is not None and bias.is_floating_point() else bias
        output, weights = attention.attention(LAYER, query, key, value, given, scaling=0.3)
        assert weights is None
        (output * torch.arange(8)).sum().backward()
        results[dtype] = [output, query.grad, key.grad, value.grad]
    assert len(product_calls) == 1  # for bf16 only
    for exact, ours in zip(results[torch.float64], results[torch.bfloat16], strict=True):
        assert (ours - exact).norm() < 0.015 * exact.norm()


def test_default_scaling_equals_sdpa():
    query, key, value = heads(torch.bfloat16)
    ours, _ = attention.attention(LAYER, query, key, value, None)
    with torch.no_grad():
        sdpa, _ = attention.attention(LAYER, query, key, value, None)
    torch.testing.assert_close(ours, sdpa, atol=0.02, rtol=0.02)


def test_fully_masked_position_is_finite():
    query, key, value = heads(torch.bfloat16)
    mask = torch.ones(2, 1, 12, 12, dtype=torch.bool)
    mask[0, 0, 3] = False
    output, _ = attention.attention(LAYER, query, key, value, mask)
    output.sum().backward()
    assert output.isfinite().all() and query.grad.isfinite().all()


def test_dropout_drops_weights():
    query, key, value = heads(torch.bfloat16)
    torch.manual_seed(1)
    ones = torch.ones_like(value)
    dropped, _ = attention.attention(LAYER, query, key, ones, None, dropout=0.5)
    kept, _ = attention.attention(LAYER, query, key, ones, None, dropout=0.0)
    torch.testing.assert_close(kept, torch.ones_like(kept), atol=0.02, rtol=0)
    assert 0.9 < dropped.mean() < 1.1 and dropped.std() > 0.1


@pytest.mark.parametrize("case", ["fp32", "no gradient", "long", "causal"])
def test_sdpa_is_used_where_it_is_faster(case, product_calls):
    long = LONGEST_ROW + 1 if case == "long" else 12
    query, key, value = heads(torch.float32 if case == "fp32" else torch.bfloat16, long)
    if case == "no gradient":
        query = query.detach()
    attention.attention(LAYER, query, key, value, None, is_causal=case == "causal")
    assert not product_calls


def test_causal_rows_without_mask_ignore_later_positions():
    query, key, value = heads(torch.bfloat16)
    before, _ = attention.attention(LAYER, query, key, value, None, is_causal=True)
    changed = value.detach().clone()
    changed[:, :, 6:] = 9
    after, _ = attention.attention(LAYER, query, key, changed, None, is_causal=True)
    assert torch.equal(before[:, :6], after[:, :6])


@pytest.mark.parametrize("family", [*FAMILIES, "bert", "roberta", "mpnet"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_fast_attention_equals_default_in_every_family(family, precision):
    tolerance = 1e-5 if precision == "fp32" else 0.03
    found = []
    for switch in (False, True):
        model = network(family)
        if switch:
            use_fast_attention(model)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            states = model(input_ids=IDS, attention_mask=PADDING).last_hidden_state.float()
        real = states[PADDING.bool()]
        (real * torch.linspace(-1, 1, 32)).sum().backward()
        matrices = [p.grad for p in model.parameters() if p.grad is not None and p.ndim == 2]
        found.append([real.detach(), torch.cat([grad.flatten() for grad in matrices])])
    for before, after in zip(*found, strict=True):
        assert (before - after).norm() <= tolerance * before.norm()


@pytest.mark.parametrize("family", FAMILIES)
def test_fast_attention_is_used_by_all_families_but_deberta(family, product_calls):
    model = use_fast_attention(network(family))
    with torch.autocast("cpu", torch.bfloat16):
        model(input_ids=IDS, attention_mask=PADDING)
    if family == "deberta-v2":
        assert model.config._attn_implementation == "eager"
    else:
        assert model.config._attn_implementation == NAME
        assert len(product_calls) == 2


def test_saved_config_has_no_attn_implementation(tmp_path):
    model = use_fast_attention(network("electra"))
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert not any("attn_implementation" in key for key in saved)
    assert AutoModel.from_pretrained(tmp_path).config._attn_implementation == "sdpa"
    assert load_network(AutoModel, str(tmp_path)).config._attn_implementation == NAME


def test_attention_weights_can_be_returned():
    model = use_fast_attention(network("elektron"))
    model.set_attn_implementation("eager")
    assert len(model(input_ids=IDS, output_attentions=True).attentions) == 2
    config = config_of("electra")
    config.output_attentions = True
    model = use_fast_attention(AutoModel.from_config(config))
    assert model.config._attn_implementation == "eager"


def test_encoder_decoder_uses_fast_attention_in_supported_parts():
    config = EncoderDecoderConfig.from_encoder_decoder_configs(config_of("electra"), config_of("electra"))
    model = use_fast_attention(EncoderDecoderModel(config))
    assert model.encoder.config._attn_implementation == NAME
    assert model.decoder.config._attn_implementation == NAME
    mixed = EncoderDecoderConfig.from_encoder_decoder_configs(config_of("mpnet"), config_of("electra"))
    model = use_fast_attention(EncoderDecoderModel(mixed))
    assert model.encoder.config._attn_implementation == "eager"


def test_compiles_without_graph_breaks():
    model = use_fast_attention(BertModel(BertConfig(**SMALL)))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    outputs = []
    for each in (model, compiled):
        with torch.autocast("cpu", torch.bfloat16):
            outputs.append(each(input_ids=IDS, attention_mask=PADDING).last_hidden_state)
    assert outputs[1].requires_grad
    torch.testing.assert_close(*outputs, atol=0.02, rtol=0.02)
