"""The pair of generator and discriminator: shared parameters, and loading of saved folders."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from elektron.errors import ElektronError
from elektron.models.families import FAMILIES
from elektron.models.pair import build_pair
from elektron.models.released import load_pair
from tests.models.conftest import SIZES, SPECIAL_IDS, VOCABULARY, alone, make_pair


class NoTokenizer:
    model_input_names = ("input_ids", "attention_mask")

    def save_pretrained(self, folder):
        """Write nothing: the tests of a pair need no tokenizer in the folder."""


def save(pair, folder):
    pair.save(folder, NoTokenizer(), "rtd", detects=True)


def replaced_logits(pair, ids):
    return pair.replaced_logits(pair.discriminator_states(ids, alone(ids)))


def test_embeddings_are_shared_and_tied_to_output_matrix(pair):
    generator, discriminator = pair.generator, pair.discriminator
    assert generator.base_model.embeddings is discriminator.base_model.embeddings
    table = discriminator.get_input_embeddings().weight
    assert generator.get_input_embeddings().weight is table
    assert generator.get_output_embeddings().weight is table


def test_only_embeddings_are_shared(pair):
    embeddings = set(pair.discriminator.base_model.embeddings.parameters())
    behind = [set(network.parameters()) - embeddings for network in (pair.generator, pair.discriminator)]
    assert not behind[0] & behind[1]


def test_shared_embeddings_get_gradients_from_both_networks(pair):
    table = pair.discriminator.get_input_embeddings().weight
    ids = torch.tensor([[2, 9, 3]])
    pair.token_logits(pair.generator_states(ids, alone(ids))).logsumexp(-1).sum().backward()
    from_generator = table.grad.clone()
    table.grad = None
    pair.replaced_logits(pair.discriminator_states(ids, alone(ids))).sum().backward()
    assert from_generator.abs().sum() > 0
    assert table.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("width", "hidden", "feed_forward", "heads"), [(1 / 3, 256, 1024, 4), (1 / 4, 192, 768, 3), (1.0, 768, 3072, 12)]
)
def test_generator_sizes_equal_those_of_paper(width, hidden, feed_forward, heads):
    base = replace(SIZES, hidden_size=768, intermediate_size=3072, num_attention_heads=12)
    generator = base.smaller(width, 2)
    assert (generator.hidden_size, generator.intermediate_size, generator.num_attention_heads) == (
        hidden,
        feed_forward,
        heads,
    )
    assert generator.num_hidden_layers == base.num_hidden_layers


@pytest.mark.parametrize(
    ("change", "width", "message"),
    [
        ({"num_attention_heads": 3}, 1.0, "heads divide the width"),
        ({}, 0.001, "size of 0"),
        ({"hidden_size": 12}, 1.0, "even width"),
    ],
)
def test_impossible_sizes_raise(change, width, message):
    with pytest.raises(ElektronError, match=message):
        sizes = replace(SIZES, **change)
        build_pair(FAMILIES["elektron"], sizes, sizes.smaller(width, 2), VOCABULARY, SPECIAL_IDS)


CLASSES = {
    "electra": ("ElectraForPreTraining", "ElectraForMaskedLM"),
    "elektron": ("AutoModelForPreTraining", "AutoModelForMaskedLM"),
    "deberta-v2": ("DebertaV2ForTokenClassification", "DebertaV2ForMaskedLM"),
    "modernbert": ("ModernBertForTokenClassification", "ModernBertForMaskedLM"),
}
WITHOUT_ELEKTRON = """
import json, sys, torch, transformers
for network in json.load(open(sys.argv[1])):
    name = network["class"]
    trust = {"trust_remote_code": True} if name.startswith("Auto") else {}
    model = getattr(transformers, name).from_pretrained(network["folder"], **trust)
    logits = model.eval()(torch.tensor(network["ids"])).logits
    if "TokenClassification" in name:
        assert model.config.id2label == {0: "original", 1: "replaced"}
        assert (logits[..., 0] == 0).all()
        logits = logits[..., 1]
    torch.testing.assert_close(logits, torch.tensor(network["logits"]), atol=1e-5, rtol=1e-5)
assert "elektron" not in sys.modules
"""


def test_saved_folders_give_the_same_logits_in_a_process_without_elektron(tmp_path):
    ids = torch.tensor([[2, 11, 12, 4, 3]])
    networks = []
    for family, classes in CLASSES.items():
        pair = make_pair(family)
        save(pair, tmp_path / family)
        with torch.no_grad():
            expected = {
                "discriminator": replaced_logits(pair, ids),
                "generator": pair.token_logits(pair.generator_states(ids, alone(ids))),
            }
        networks += [
            {"class": name, "folder": str(tmp_path / family / folder), "ids": ids.tolist(), "logits": logits.tolist()}
            for name, (folder, logits) in zip(classes, expected.items(), strict=True)
        ]
    (tmp_path / "networks.json").write_text(json.dumps(networks))
    environment = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ELEKTRON, str(tmp_path / "networks.json")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_load_pair_restores_saved_pair(pair, tmp_path):
    save(pair, tmp_path)
    again = load_pair(str(tmp_path / "discriminator"), str(tmp_path / "generator"), SIZES).eval()
    ids = torch.tensor([[2, 11, 12, 4, 3]])
    with torch.no_grad():
        torch.testing.assert_close(replaced_logits(again, ids), replaced_logits(pair, ids))
        torch.testing.assert_close(again.generator_states(ids, alone(ids)), pair.generator_states(ids, alone(ids)))
    assert again.generator.base_model.embeddings is again.discriminator.base_model.embeddings


def test_new_generator_uses_released_embeddings(pair, tmp_path):
    save(pair, tmp_path)
    sizes = replace(SIZES, embedding_size=pair.discriminator.get_input_embeddings().embedding_dim)
    again = load_pair(str(tmp_path / "discriminator"), None, sizes.smaller(1, 1))
    assert again.generator.config.num_hidden_layers == 1
    table = pair.discriminator.get_input_embeddings().weight
    assert torch.equal(again.generator.get_output_embeddings().weight, table)


def test_mismatched_pairs_raise(tmp_path):
    save(make_pair("electra"), tmp_path)
    with pytest.raises(ElektronError, match=r"weights do not fit: .* missing"):
        load_pair(str(tmp_path / "generator"), str(tmp_path / "discriminator"), None)
    with pytest.raises(ElektronError, match="no such folder"):
        load_pair(str(tmp_path / "nothing"), None, SIZES)
    other = make_pair("electra", replace(SIZES, embedding_size=16))
    save(other, tmp_path / "other")
    with pytest.raises(ElektronError, match="embedding_size is 16"):
        load_pair(str(tmp_path / "discriminator"), str(tmp_path / "other/generator"), None, "embeddings")
    apart = load_pair(str(tmp_path / "discriminator"), str(tmp_path / "other/generator"), None)
    assert apart.generator.get_input_embeddings().embedding_dim == 16
