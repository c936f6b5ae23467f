"""Sharing modes: shared parameters, gradients, and export that loads in plain transformers."""

import dataclasses

import pytest
import torch
from transformers import AutoModel, AutoModelForPreTraining, AutoModelForTokenClassification, ElectraForPreTraining

from elektron.errors import ElektronError
from elektron.models.families import FAMILIES
from elektron.models.pair import exported_weights
from elektron.models.released import load_pair
from elektron.models.sharing import GdesEmbedding
from tests.models.conftest import SIZES, alone, make_pair
from tests.models.test_pair import NoTokenizer, replaced_logits, save

IDS = torch.tensor([[2, 11, 12, 4, 3]])


def common_parameters(pair):
    return set(pair.generator.parameters()) & set(pair.discriminator.parameters())


@pytest.mark.parametrize("family", list(FAMILIES))
def test_none_shares_nothing_and_ties_output_matrix_to_generator(family):
    pair = make_pair(family, sharing="none")
    assert not common_parameters(pair)
    table = pair.generator.get_input_embeddings().weight
    assert pair.generator.get_output_embeddings().weight is table


@pytest.mark.parametrize("family", list(FAMILIES))
def test_tokens_shares_the_token_table_only(family):
    pair = make_pair(family, sharing="tokens")
    table = pair.discriminator.get_input_embeddings().weight
    assert common_parameters(pair) == {table}
    assert pair.generator.get_output_embeddings().weight is table


def test_embeddings_shares_all_embeddings_and_norm():
    pair = make_pair("electra")
    assert common_parameters(pair) == set(pair.discriminator.electra.embeddings.parameters())
    assert len(common_parameters(pair)) == 5


@pytest.mark.parametrize("family", list(FAMILIES))
def test_all_shares_the_encoder_and_not_the_heads(family):
    sizes = SIZES if family != "modernbert" else dataclasses.replace(SIZES, embedding_size=SIZES.hidden_size)
    pair = make_pair(family, sizes, generator_sizes=sizes, sharing="all")
    assert pair.generator.base_model is pair.discriminator.base_model
    assert common_parameters(pair) == set(pair.discriminator.base_model.parameters())


@pytest.mark.parametrize("family", list(FAMILIES))
def test_gdes_embedding_is_generator_embedding_plus_difference(family):
    pair = make_pair(family, sharing="gdes")
    embeddings = pair.discriminator.get_input_embeddings()
    base = pair.generator.get_input_embeddings().weight
    assert isinstance(embeddings, GdesEmbedding)
    assert (embeddings.weight == 0).all()
    assert torch.equal(embeddings(IDS), base[IDS])
    torch.nn.init.normal_(embeddings.weight)
    torch.testing.assert_close(embeddings(IDS), (base + embeddings.weight)[IDS])
    assert not common_parameters(pair)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_gdes_detection_gradients_do_not_reach_generator(family):
    pair = make_pair(family, sharing="gdes")
    replaced_logits(pair, IDS).sum().backward()
    assert all(parameter.grad is None for parameter in pair.generator.parameters())
    difference = pair.discriminator.get_input_embeddings().weight
    assert difference.grad.abs().sum() > 0
    difference.grad = None
    pair.token_logits(pair.generator_states(IDS, alone(IDS))).logsumexp(-1).sum().backward()
    assert pair.generator.get_input_embeddings().weight.grad.abs().sum() > 0
    assert difference.grad is None


@pytest.mark.parametrize("family", list(FAMILIES))
def test_gdes_is_merged_at_export(family, tmp_path):
    pair = make_pair(family, sharing="gdes")
    torch.nn.init.normal_(pair.discriminator.get_input_embeddings().weight, std=0.1)
    pair.save(tmp_path, NoTokenizer(), "rtd", detects=True)
    with torch.no_grad():
        states = pair.discriminator_states(IDS, alone(IDS))
        logits = replaced_logits(pair, IDS)
    folder = tmp_path / "discriminator"
    encoder = AutoModel.from_pretrained(folder).eval()
    assert type(encoder.get_input_embeddings()) is torch.nn.Embedding
    with torch.no_grad():
        torch.testing.assert_close(encoder(IDS).last_hidden_state, states, atol=1e-5, rtol=1e-5)
    if family == "electra":
        again = ElectraForPreTraining.from_pretrained(folder).eval()(IDS).logits
    elif family in ("deberta-v2", "modernbert"):
        again = AutoModelForTokenClassification.from_pretrained(folder).eval()(IDS).logits[..., 1]
    else:
        again = AutoModelForPreTraining.from_pretrained(folder).eval()(IDS).logits
    torch.testing.assert_close(again, logits, atol=1e-5, rtol=1e-5)


def test_released_pair_keeps_embeddings_under_gdes(tmp_path):
    pair = make_pair("electra", sharing="none")
    save(pair, tmp_path)
    halves = str(tmp_path / "discriminator"), str(tmp_path / "generator")
    again = load_pair(*halves, SIZES, "gdes").eval()
    with torch.no_grad():
        torch.testing.assert_close(replaced_logits(again, IDS), replaced_logits(pair, IDS))
    merged = exported_weights(again.discriminator)["electra.embeddings.word_embeddings.weight"]
    torch.testing.assert_close(merged, pair.discriminator.get_input_embeddings().weight)


def test_released_discriminator_alone_keeps_embeddings_under_gdes(tmp_path):
    pair = make_pair("electra", sharing="none")
    save(pair, tmp_path)
    folder = str(tmp_path / "discriminator")
    again = load_pair(folder, None, SIZES.smaller(0.5, 1), "gdes").eval()
    with torch.no_grad():
        torch.testing.assert_close(replaced_logits(again, IDS), replaced_logits(pair, IDS))


def test_sharing_all_with_different_sizes_raises(tmp_path):
    save(make_pair("electra", sharing="none"), tmp_path)
    halves = str(tmp_path / "discriminator"), str(tmp_path / "generator")
    with pytest.raises(ElektronError, match="needs networks of equal size"):
        load_pair(*halves, SIZES, "all")
