import shutil

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForSequenceClassification, BertConfig, BertModel

from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning.encoders import UNLIMITED, load_encoder, longest_input, scratch_encoder
from elektron.models import ElektronConfig, ElektronForPreTraining
from elektron.models.elektron import INITIAL_GAIN


def head(encoder):
    config = encoder.config_for({"num_labels": 3}, dropout=0.3)
    return AutoModelForSequenceClassification.from_config(config)


@pytest.mark.parametrize("family", ["elektron", "electra"])
def test_load_into_copies_and_counts_all_encoder_weights(encoders, family):
    encoder = load_encoder(str(encoders[family]))
    model = head(encoder)
    encoder.load_into(model.base_model)
    for name, weight in model.base_model.state_dict().items():
        assert torch.equal(weight, encoder.weights[name])
    counts = encoder.count_loaded(model)
    inside = sum(p.numel() for p in model.base_model.parameters())
    assert counts["loaded"] == inside
    assert counts["new"] == sum(p.numel() for p in model.parameters()) - inside > 0
    assert model.config.hidden_dropout_prob == 0.3


def test_elektron_weights_are_rescaled_without_changing_outputs(encoders, tmp_path, tokenizer_folder):
    torch.manual_seed(0)
    trained = AutoModel.from_pretrained(encoders["elektron"]).eval()
    with torch.no_grad():
        trained.embeddings.word_embeddings.weight.mul_(7.0)
        for layer in trained.layers:
            query, key, value = layer.attention.qkv.weight.chunk(3)
            for number, matrix in enumerate(
                (query, key, value, layer.attention.output.weight, layer.feed_forward.inner.weight)
            ):
                matrix.mul_(2.0 + number)
    trained.save_pretrained(tmp_path)
    tokenizer = load_tokenizer(str(tokenizer_folder))
    tokenizer.save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path))
    embeddings = encoder.weights["embeddings.word_embeddings.weight"]
    assert embeddings.square().mean(dim=1).sqrt().numpy() == pytest.approx(0.4)
    for part in encoder.weights["layers.1.attention.qkv.weight"].chunk(3):
        assert float(part.norm()) == pytest.approx(32**0.5)
    loaded = AutoModel.from_config(encoder.config).eval()
    encoder.load_into(loaded)
    tokens = tokenizer(["the cat sees the river ."], return_tensors="pt")
    with torch.no_grad():
        before, after = (m(**tokens).last_hidden_state for m in (trained, loaded))
    assert torch.allclose(before, after, atol=1e-2)


def test_from_scratch_loads_no_weights(encoders):
    encoder = load_encoder(str(encoders["elektron"]))
    scratch = encoder.from_scratch()
    torch.manual_seed(0)
    model = head(scratch)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    scratch.load_into(model.base_model)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert scratch.count_loaded(model)["loaded"] == 0
    for name, weight in model.base_model.state_dict().items():
        assert weight.shape == encoder.weights[name].shape
        assert not torch.equal(weight, encoder.weights[name]), name
    # The weights keep the initialization of the family.
    assert (model.base_model.layers[0].attention_gain.weight == INITIAL_GAIN).all()


def test_bert_encoder_of_transformers_is_loaded(tmp_path, tokenizer_folder):
    tokenizer = load_tokenizer(str(tokenizer_folder))
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path))
    model = head(encoder)
    encoder.load_into(model.base_model)
    assert encoder.count_loaded(model)["loaded"] > 0


def test_run_folder_loads_discriminator(encoders, caplog):
    caplog.set_level("INFO", "elektron")
    encoder = load_encoder(str(encoders["elektron"].parent))
    assert encoder.name == str(encoders["elektron"])
    assert "is a pre-training run" in caplog.text


def test_loading_generator_is_logged(encoders, caplog):
    load_encoder(str(encoders["electra"].with_name("generator")))
    assert "is a generator" in caplog.text
    caplog.clear()
    load_encoder(str(encoders["electra"]))
    assert not caplog.text


def test_tokenizer_larger_than_model_vocabulary_raises(tmp_path, tokenizer_folder):
    config = ElektronConfig(vocab_size=20, embedding_size=16, hidden_size=16, num_hidden_layers=1, intermediate_size=16)
    ElektronForPreTraining(config).save_pretrained(tmp_path)
    for path in tokenizer_folder.iterdir():
        shutil.copy(path, tmp_path / path.name)
    with pytest.raises(ElektronError, match="do not belong to the same model"):
        load_encoder(str(tmp_path))


def test_folder_without_model_raises_elektron_error(tmp_path):
    with pytest.raises(ElektronError, match="no model can be read"):
        load_encoder(str(tmp_path))


def test_scratch_encoder_has_recipe_architecture_and_no_weights(tokenizer_folder):
    tokenizer = load_tokenizer(str(tokenizer_folder))
    encoder = scratch_encoder("quickstart", tokenizer)
    assert encoder.weights is None
    assert encoder.config.vocab_size == len(tokenizer)
    assert encoder.config.num_hidden_layers == 4
    with pytest.raises(ElektronError, match="did you mean quickstart"):
        scratch_encoder("quikstart", tokenizer)


SMALL = {
    "vocab_size": 90,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}


def random_encoder(folder, tokenizer_folder, family, **sizes):
    load_tokenizer(str(tokenizer_folder)).save_pretrained(folder)
    AutoModel.from_config(CONFIG_MAPPING[family](**sizes)).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("family", "changes", "longest"),
    [
        ("bert", {}, 40),
        ("roberta", {}, 39),
        ("longformer", {"attention_window": 8}, 39),
        ("luke", {"entity_vocab_size": 5, "entity_emb_size": 8}, 39),
        ("xmod", {"languages": ["en_XX"], "default_language": "en_XX"}, 39),
        ("xlm-roberta-xl", {}, 39),
        ("data2vec-text", {"pad_token_id": 1}, 38),
        ("ibert", {}, 39),
        ("esm", {"position_embedding_type": "absolute", "token_dropout": False}, 39),
        ("mpnet", {}, 38),
        ("yoso", {}, 40),
    ],
)
def test_longest_input_equals_position_limit_of_model(tmp_path, tokenizer_folder, family, changes, longest):
    encoder = load_encoder(random_encoder(tmp_path, tokenizer_folder, family, **SMALL | changes))
    assert longest_input(encoder.config) == longest
    model = AutoModel.from_config(encoder.config).eval()
    model(torch.full((1, longest), 7), attention_mask=torch.ones(1, longest))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, longest + 1), 7), attention_mask=torch.ones(1, longest + 1))


def test_relative_positions_allow_unlimited_input(tmp_path, tokenizer_folder):
    sizes = {"vocab_size": 90, "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16}
    encoder = load_encoder(random_encoder(tmp_path, tokenizer_folder, "xlnet", **sizes))
    assert longest_input(encoder.config) == UNLIMITED


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_loading_decoder_raises(tmp_path, tokenizer_folder, family):
    name = random_encoder(tmp_path, tokenizer_folder, family, **SMALL)
    with pytest.raises(ElektronError, match=rf"{family}.* decoder.*: give an encoder"):
        load_encoder(name)
