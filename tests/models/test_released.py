"""Pairs that continue from small checkpoints of every released family, written by transformers."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForTokenClassification

from elektron.errors import ElektronError
from elektron.models.families import FAMILIES, RELEASED_FAMILIES, sizes_of
from elektron.models.loading import RENAMED
from elektron.models.packed import PackedPositions, make_packed_positions
from elektron.models.pair import Pair
from elektron.models.released import load_pair
from tests.models.conftest import VOCABULARY
from tests.models.test_pair import NoTokenizer

KIN = [name for name in RELEASED_FAMILIES if name not in FAMILIES]
POSITIONS = 40
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
}
OF_FAMILY: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 32, "n_layers": 4, "n_heads": 4, "hidden_dim": 48},
    "roberta": {"max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1},
    "xlm-roberta": {"max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1},
    "camembert": {"max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1},
    "mpnet": {"max_position_embeddings": POSITIONS + 2},
    "electra": {"embedding_size": 24},
    "elektron": {"embedding_size": 24},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
    },
    "modernbert": {"local_attention": 8},
}
SPECIAL = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
# Texts of 5 and of 4 tokens, with ids that no family uses for padding.
TEXTS = [[5, 9, 10, 11, 6], [5, 12, 13, 6]]


def make(family: str, head: str, folder: Path, **changes: Any) -> Path:
    """Save a random checkpoint as on the hub: the encoder alone, or with a head such as `ForMaskedLM`."""
    torch.manual_seed(5)
    special = {"pad_token_id": 0} if family in ("bert", "distilbert", "electra") else SPECIAL
    config = AutoConfig.for_model(family, **SIZES | special | OF_FAMILY.get(family, {}) | changes)
    auto = getattr(transformers, f"AutoModel{head}")
    network = auto.from_config(config).eval()
    for parameter in network.parameters():
        if parameter.ndim >= 1:
            torch.nn.init.normal_(parameter, std=0.1)
    network.save_pretrained(folder)
    return folder


def packed_row() -> tuple[torch.Tensor, PackedPositions]:
    ids = torch.tensor([[*TEXTS[0], *TEXTS[1], 1, 1]])
    documents = torch.tensor([[0] * 5 + [1] * 4 + [-1] * 2])
    positions = torch.tensor([[*range(5), *range(4), 0, 0]])
    return ids, make_packed_positions(documents, positions, torch.zeros_like(ids))


def packed_states(pair: Pair) -> tuple[torch.Tensor, torch.Tensor]:
    """The discriminator's and the generator's hidden states `(tokens, width)` of the packed row's texts."""
    ids, packed = packed_row()
    with torch.no_grad():
        both = pair.discriminator_states(ids, packed), pair.generator_states(ids, packed)
    return both[0][0, :9], both[1][0, :9]


def plain_states(encoder: Any) -> torch.Tensor:
    """Hidden states `(tokens, width)` of each text on its own, by plain transformers."""
    with torch.no_grad():
        states = [encoder.eval()(torch.tensor([text])).last_hidden_state[0] for text in TEXTS]
    return torch.cat(states)


def load(folder: Path, **options: Any) -> Pair:
    width = 0.5 if AutoConfig.from_pretrained(folder).model_type in ("electra", "elektron") else 1.0
    sizes = sizes_of(AutoConfig.from_pretrained(folder)).smaller(width, 2)
    return load_pair(str(folder), options.pop("generator", None), sizes, **options).eval()


@pytest.mark.parametrize("family", RELEASED_FAMILIES)
@pytest.mark.parametrize("head", ["", "ForMaskedLM"])
def test_hidden_states_of_packed_rows_equal_transformers(family: str, head: str, tmp_path: Path) -> None:
    folder = make(family, head, tmp_path)
    expected = plain_states(AutoModel.from_pretrained(folder))
    states, _ = packed_states(load(folder))
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", RELEASED_FAMILIES)
def test_dropout_of_a_checkpoint_can_be_changed(family: str, tmp_path: Path) -> None:
    folder = make(family, "ForMaskedLM", tmp_path)
    expected = plain_states(AutoModel.from_pretrained(folder))
    states, _ = packed_states(load(folder, dropout=0.0).train())
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
    states, _ = packed_states(load(folder, dropout=0.5).train())
    assert not torch.allclose(states, expected, atol=1e-2)


@pytest.mark.parametrize("family", RELEASED_FAMILIES)
def test_hidden_states_of_one_text_per_row_equal_transformers(family: str, tmp_path: Path) -> None:
    folder = make(family, "ForMaskedLM", tmp_path)
    ids = torch.tensor([TEXTS[0]])
    packed = make_packed_positions(torch.zeros_like(ids), torch.arange(5)[None], torch.zeros_like(ids))
    with torch.no_grad():
        expected = AutoModel.from_pretrained(folder).eval()(ids).last_hidden_state
        states = load(folder).discriminator_states(ids, packed)
    torch.testing.assert_close(states, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("family", RELEASED_FAMILIES)
def test_generator_from_same_checkpoint_keeps_its_logits(family: str, tmp_path: Path) -> None:
    folder = make(family, "ForMaskedLM", tmp_path)
    pair = load(folder, same=True)
    plain = AutoModelForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = torch.cat([plain(torch.tensor([text])).logits[0] for text in TEXTS])
        logits = pair.token_logits(packed_states(pair)[1])
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
        pair.add_masked_lm()
        corrected = pair.lm_logits(packed_states(pair)[0])
    torch.testing.assert_close(corrected, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", RELEASED_FAMILIES)
def test_a_small_generator_starts_from_embeddings_and_bottom_layers(family: str, tmp_path: Path) -> None:
    folder = make(family, "ForMaskedLM", tmp_path)
    pair = load(folder)
    assert pair.generator is not None
    assert sizes_of(pair.generator.config).num_hidden_layers == 2
    table = pair.discriminator.get_input_embeddings().weight
    assert torch.equal(table, AutoModel.from_pretrained(folder).get_input_embeddings().weight)
    assert pair.generator.get_output_embeddings().weight is table
    if family in ("electra", "elektron"):  # whose generator `load` makes narrower, so that its layers are new
        pair = load_pair(str(folder), None, sizes_of(pair.discriminator.config).smaller(1.0, 2))
        assert pair.generator is not None
    path = RELEASED_FAMILIES[family].encoder_layers
    layers = [network.base_model.get_submodule(path) for network in (pair.generator, pair.discriminator)]
    for own, theirs in zip(*(found[:2].parameters() for found in layers), strict=True):
        assert torch.equal(own, theirs) and own is not theirs


@pytest.mark.parametrize("family", RELEASED_FAMILIES)
def test_saved_pair_loads_in_plain_transformers(family: str, tmp_path: Path) -> None:
    start = AutoModel.from_pretrained(make(family, "", tmp_path / "start"))
    pair = load(tmp_path / "start")
    pair.save(tmp_path, NoTokenizer(), "rtd", detects=True)
    encoder, info = AutoModel.from_pretrained(tmp_path / "discriminator", output_loading_info=True)
    assert type(encoder) is type(start)
    assert not info["missing_keys"]
    torch.testing.assert_close(plain_states(encoder), plain_states(start), atol=1e-5, rtol=1e-5)
    generator = AutoModelForMaskedLM.from_pretrained(tmp_path / "generator").eval()
    with torch.no_grad():
        expected = pair.token_logits(packed_states(pair)[1][:5])
        logits = generator(torch.tensor([TEXTS[0]])).logits[0]
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
        if RELEASED_FAMILIES[family].classifies_tokens:
            plain = AutoModelForTokenClassification.from_pretrained(tmp_path / "discriminator")
            assert plain.config.id2label == {0: "original", 1: "replaced"}
            logits = plain.eval()(torch.tensor([TEXTS[0]])).logits[0]
            assert (logits[:, 0] == 0).all()
            replaced = pair.replaced_logits(packed_states(pair)[0][:5])
            torch.testing.assert_close(logits[:, 1], replaced, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "camembert", "mpnet"])
def test_the_pooler_is_kept(family: str, tmp_path: Path) -> None:
    start = AutoModel.from_pretrained(make(family, "", tmp_path / "start"))
    for number, folder in enumerate((tmp_path / "start", tmp_path / "0" / "discriminator")):
        load(folder).save(tmp_path / str(number), NoTokenizer(), "rtd", detects=True)
        end, report = AutoModel.from_pretrained(tmp_path / str(number) / "discriminator", output_loading_info=True)
        assert not report["missing_keys"]
        torch.testing.assert_close(end.pooler.dense.weight, start.pooler.dense.weight, rtol=0, atol=0)


@pytest.mark.parametrize("family", RELEASED_FAMILIES)
def test_saved_pair_reloads_with_equal_states_and_logits(family: str, tmp_path: Path) -> None:
    pair = load(make(family, "ForMaskedLM", tmp_path / "start"))
    pair.save(tmp_path, NoTokenizer(), "rtd", detects=True)
    again = load(tmp_path / "discriminator", generator=str(tmp_path / "generator"))
    for first, second in zip(packed_states(pair), packed_states(again), strict=True):
        torch.testing.assert_close(second, first)
        with torch.no_grad():
            torch.testing.assert_close(
                again.token_logits(packed_states(again)[1]), pair.token_logits(packed_states(pair)[1])
            )
    with torch.no_grad():
        torch.testing.assert_close(
            again.replaced_logits(packed_states(again)[0]), pair.replaced_logits(packed_states(pair)[0])
        )


@pytest.mark.parametrize("family", RELEASED_FAMILIES)
def test_positions_are_extended_to_longer_rows(family: str, tmp_path: Path) -> None:
    pair = load(make(family, "ForMaskedLM", tmp_path / "start"), length=60)
    for network in (pair.discriminator, pair.generator):
        assert network is not None
        assert sizes_of(network.config).max_position_embeddings == 60
    ids = torch.randint(4, VOCABULARY, (1, 60))
    packed = make_packed_positions(torch.zeros_like(ids), torch.arange(60)[None], torch.zeros_like(ids))
    pair.save(tmp_path, NoTokenizer(), "rtd", detects=True)
    with torch.no_grad():
        states = pair.discriminator_states(ids, packed)
        plain = AutoModel.from_pretrained(tmp_path / "discriminator").eval()(ids).last_hidden_state
    torch.testing.assert_close(states, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "mpnet"])
def test_learned_positions_keep_their_ends_when_interpolated(family: str, tmp_path: Path) -> None:
    folder = make(family, "", tmp_path)
    before = AutoModel.from_pretrained(folder).embeddings.position_embeddings.weight
    pair = load(folder, length=79)
    after = pair.discriminator.base_model.embeddings.position_embeddings.weight
    first = len(before) - POSITIONS
    assert len(after) == first + 79
    assert torch.equal(after[[first, -1]], before[[first, -1]])
    # 79 positions interpolate 40, so every second one equals an old one.
    torch.testing.assert_close(after[first::2], before[first:], atol=1e-5, rtol=1e-5)


def test_head_of_other_token_classifier_is_not_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make("bert", "ForTokenClassification", tmp_path, id2label={0: "O", 1: "LOC"})
    before = AutoModelForTokenClassification.from_pretrained(folder).classifier.weight
    with caplog.at_level(logging.INFO, "elektron"):
        pair = load(folder)
    assert not torch.equal(pair.discriminator.classifier.weight[1], before[1])
    assert "the replaced-token-detection head" in caplog.text
    assert pair.discriminator.config.id2label == {0: "original", 1: "replaced"}


def test_generator_from_checkpoint_without_lm_head_raises(tmp_path: Path) -> None:
    with pytest.raises(ElektronError, match="no masked-language-model head"):
        load(make("bert", "", tmp_path), same=True)


def test_different_embeddings_are_kept_unless_sharing_is_requested(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make("bert", "", tmp_path / "a")
    pair = load(folder)
    assert pair.generator is not None
    torch.nn.init.normal_(pair.generator.get_input_embeddings().weight)
    pair.generator.base_model.embeddings.position_embeddings.weight.data += 1
    pair.generator.save_pretrained(tmp_path / "b")
    again = load(folder, generator=str(tmp_path / "b"))
    assert again.generator is not None
    theirs = again.generator.base_model.embeddings.position_embeddings.weight
    ours = again.discriminator.base_model.embeddings.position_embeddings.weight
    assert torch.equal(theirs, pair.generator.base_model.embeddings.position_embeddings.weight)
    with caplog.at_level(logging.WARNING, "elektron"):
        shared = load(folder, generator=str(tmp_path / "b"), sharing="embeddings")
    assert "are replaced by the discriminator's" in caplog.text
    assert shared.generator is not None
    assert shared.generator.base_model.embeddings is shared.discriminator.base_model.embeddings
    assert torch.equal(shared.discriminator.base_model.embeddings.position_embeddings.weight, ours)


def test_lm_head_of_bert_for_pretraining_is_found(tmp_path: Path) -> None:
    pair = load(make("bert", "ForPreTraining", tmp_path), same=True)
    assert pair.masked_lm is not None


def test_generator_loads_head_under_deberta_key_names(tmp_path: Path) -> None:
    folder = make("deberta-v2", "ForMaskedLM", tmp_path / "start")
    plain = AutoModelForMaskedLM.from_pretrained(folder).eval()
    weights = load_file(folder / "model.safetensors")
    for theirs, ours in RENAMED.items():
        for key in [key for key in weights if key.startswith(ours)]:
            weights[theirs + key.removeprefix(ours)] = weights.pop(key)
    assert not [key for key in weights if key.startswith("cls.")]
    weights["mask_predictions.dense.weight"] = torch.ones(32, 32)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    pair = load(folder, same=True)
    pair.save(tmp_path, NoTokenizer(), "rtd", detects=True)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path / "generator").eval()
    assert torch.equal(load(folder).generator.cls.predictions.bias, plain.cls.predictions.bias)
    with torch.no_grad():
        expected = torch.cat([plain(torch.tensor([text])).logits[0] for text in TEXTS])
        saved = torch.cat([again(torch.tensor([text])).logits[0] for text in TEXTS])
        torch.testing.assert_close(saved, expected, atol=1e-4, rtol=1e-4)
        logits = pair.token_logits(packed_states(pair)[1])
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_sizes_of_reads_released_configs(tmp_path: Path) -> None:
    for family in KIN:
        sizes = sizes_of(AutoConfig.from_pretrained(make(family, "", tmp_path / family)))
        assert dataclasses.astuple(sizes)[:6] == (4, 32, 48, 4, 32, POSITIONS)


@pytest.mark.parametrize("options", [{"is_decoder": True}, {"is_decoder": True, "add_cross_attention": True}])
def test_decoder_raises(options: dict[str, bool], tmp_path: Path) -> None:
    with pytest.raises(ElektronError, match=r"is a bert used as a decoder \(is_decoder\): give an encoder"):
        load_pair(str(make("bert", "ForMaskedLM", tmp_path, **options)), None, None)


def test_positions_without_padding_id_raise(tmp_path: Path) -> None:
    with pytest.raises(ElektronError, match="a roberta needs a pad_token_id in its config"):
        load_pair(str(make("roberta", "ForMaskedLM", tmp_path, pad_token_id=None)), None, None)
