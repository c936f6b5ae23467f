"""Models of any origin are loaded as data, and none of their code is executed."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    ElectraConfig,
    ElectraModel,
    RobertaConfig,
)

from elektron import hub
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning.encoders import load_encoder
from elektron.inference.models import load_predictor
from elektron.inference.pretrained import load_scorer
from elektron.io.datasets import parse_repo
from elektron.models import ElektronConfig, ElektronForPreTraining, ElektronForSequenceClassification, loading
from elektron.models.released import load_pair

EVIL = "import pathlib\npathlib.Path(__file__).with_name('was_here').touch()\n"
EVIL_CLASSES = "class C: pass\nclass M: pass\nclass T: pass\n"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    tokenizer = load_tokenizer(str(tokenizer_folder))
    config = ElektronConfig(
        vocab_size=len(tokenizer),
        embedding_size=8,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
    )
    config.pretraining_objective = "rtd"
    ElektronForPreTraining(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    """The folder of a complete model, which tests may change."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: v for key, v in content.items() if v is not None}))


def test_folder_name_with_at_sign_loads(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    model.rename("model@home")
    assert parse_repo("model@home") == ("model@home", "main")
    assert load_encoder("model@home").pretrained


def test_revision_is_used_for_config_weights_and_tokenizer(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    tokenizer = load_tokenizer(str(model))

    def fetch(name: str, file: str, revision: str, **_: Any) -> str:
        asked.append((name, revision))
        return str(model / file)

    class Identity(torch.nn.Identity):
        base_model_prefix = ""

        @property
        def base_model(self) -> torch.nn.Module:
            return self

    def auto_class(result: Any) -> SimpleNamespace:
        def from_pretrained(name: str, revision: str, **_: Any) -> Any:
            asked.append((name, revision))
            return result

        return SimpleNamespace(from_pretrained=from_pretrained)

    network, report = Identity(), {"missing_keys": set(), "unexpected_keys": set(), "mismatched_keys": set()}
    monkeypatch.setattr(hub, "hub_is_reachable", lambda: True)
    monkeypatch.setattr(hub, "cached_file", fetch)
    monkeypatch.setattr(hub, "AutoTokenizer", auto_class(tokenizer))
    assert loading.load_network(auto_class((network, report)), "some/model@abc") is network
    hub.load_tokenizer_files("some/model@abc")
    assert set(asked) == {("some/model", "abc")} and len(asked) > 5


def test_token_type_ids_only_for_models_with_segments(model: Path, tmp_path: Path) -> None:
    load_tokenizer(str(model)).save_pretrained(tmp_path)
    RobertaConfig(type_vocab_size=1).save_pretrained(tmp_path)
    for folder, has_segments in ((model, True), (tmp_path, False)):
        assert ("token_type_ids" in hub.load_tokenizer_files(str(folder))("a", "b")) == has_segments


def test_unreachable_hub_is_not_requested(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fetch(*_: Any, local_files_only: bool, **options: Any) -> str:
        assert local_files_only
        raise OSError("not here.")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    monkeypatch.setattr(hub, "hub_is_reachable", lambda: False)
    monkeypatch.setattr(hub, "cached_file", fetch)
    with pytest.raises(ElektronError, match=r": not here: did you mean model\?$"):
        hub.load_configuration("modle")
    monkeypatch.setattr(hub, "hub_is_reachable", lambda: pytest.fail("the hub was asked"))
    with pytest.raises(ElektronError, match=r"no such folder: did you mean \S*/model\?$"):
        hub.load_configuration(str(tmp_path / "modle"))


def test_unsafe_config_keys_are_dropped_and_logged_once(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit(
        model / "config.json",
        favourite_colour="red",
        save_pretrained="shadowed",
        _attn_implementation="someone/kernel",
        attn_implementation="someone/kernel",
        __class__="x",
        quantization_config={"quant_method": "custom"},
    )
    with caplog.at_level(logging.INFO, "elektron"):
        config = load_encoder(str(model)).config
    (line,) = [r.getMessage() for r in caplog.records if "ignored" in r.getMessage()]
    assert line.startswith(f"{model}: ignored keys of its config.json: ")
    assert set(line.rpartition(": ")[2].split(", ")) == {
        *("save_pretrained", "_attn_implementation", "attn_implementation"),
        *("__class__", "quantization_config"),
    }
    assert callable(config.save_pretrained)
    assert config._attn_implementation != "someone/kernel"
    assert config.pretraining_objective == "rtd"


def test_saved_config_has_no_ignored_keys(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "elektron"):
        load_encoder(str(saved))
    assert "ignored" not in caplog.text


def test_unsafe_keys_are_dropped_from_encoder_and_decoder_configs(saved: Path, tmp_path: Path) -> None:
    encoder = json.loads((saved / "config.json").read_text()) | {"_attn_implementation": "x/y"}
    decoder = {"model_type": "electra", "is_decoder": True, "auto_map": {"AutoModel": "evil.M"}}
    content = {"model_type": "encoder-decoder", "encoder": encoder, "decoder": decoder}
    (tmp_path / "config.json").write_text(json.dumps(content))
    config = hub.load_configuration(str(tmp_path))
    assert config.encoder.model_type == "elektron" and config.decoder.model_type == "electra"
    assert not hasattr(config.decoder, "auto_map") and config.encoder.vocab_size > 10
    _, dropped = hub._without_ignored_keys(content)
    assert dropped == ["encoder._attn_implementation", "decoder.auto_map"]


def test_undeclared_config_setting_is_kept(tmp_path: Path) -> None:
    """The layers of deberta-v2 read `norm_rel_ebd`, which its configuration class does not declare."""
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2", "norm_rel_ebd": "layer_norm"}')
    assert hub.load_configuration(str(tmp_path)).norm_rel_ebd == "layer_norm"


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": "wide"},
        {"id2label": 5},
        {"attribute_map": 3},
        {"per_layer_config": 5},
        {"sub_configs": {}},
        {"dtype": "float9"},
        {"architectures": [5]},
        {"num_hidden_layers": 10**9},
        {"hidden_size": 2**60},
        {"vocab_size": -3},
        {"num_attention_heads": 0},
        {"model_type": ["x"]},
    ],
)
def test_invalid_config_raises_one_line_error(model: Path, change: dict[str, Any]) -> None:
    edit(model / "config.json", **change)
    with pytest.raises(ElektronError) as caught:
        loading.load_network(AutoModel, str(model))
    assert str(model) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("known", [True, False], ids=["known type", "unknown type"])
def test_auto_map_is_never_followed(model: Path, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question is asked"))
    (model / "evil.py").write_text(EVIL + EVIL_CLASSES)
    edit(
        model / "config.json",
        model_type="elektron" if known else "evil",
        auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.M", "AutoTokenizer": ["evil.T"] * 2},
    )
    edit(model / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.T"]}, tokenizer_class="T")
    assert load_tokenizer(str(model)).tokenize("the cat")
    if known:
        assert load_encoder(str(model)).pretrained
    else:
        with pytest.raises(ElektronError, match="code that comes with a model is not run"):
            load_encoder(str(model))
    assert not any("was_here" in path.name for path in model.parent.rglob("*"))
    assert not any("evil" in name for name in sys.modules)


def test_tokenizer_loads_without_prompt_if_family_is_unregistered(model: Path) -> None:
    """Where the family is not registered, transformers only sees the `auto_map` of the model."""
    program = (
        "import sys; from elektron.corpus.tokenizer import load_tokenizer\n"
        "load_tokenizer(sys.argv[1]); assert 'elektron.models' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(model)], check=True, stdin=subprocess.DEVNULL)


def test_tokenizer_that_panics_raises_elektron_error(model: Path) -> None:
    charsmap = {"type": "Precompiled", "precompiled_charsmap": "/////w=="}
    edit(model / "tokenizer.json", normalizer=charsmap)
    with pytest.raises(ElektronError, match=r"tokenizer\.json: damaged") as caught:
        load_tokenizer(str(model))
    assert "\n" not in str(caught.value)


def test_oversized_tokenizer_file_raises(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MAX_BYTES", 1000)
    with pytest.raises(ElektronError, match="larger than 1,000 bytes"):
        load_tokenizer(str(model))


def pickle_weights(folder: Path) -> dict[str, torch.Tensor]:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    return weights


def test_pickled_weights_raise_with_working_conversion_command(model: Path) -> None:
    weights = pickle_weights(model)
    with pytest.raises(ElektronError) as caught:
        load_encoder(str(model))
    message = str(caught.value)
    assert "pytorch_model*.bin" in message and "\n" not in message
    words = shlex.split(message[message.index("python -c") :])
    subprocess.run([sys.executable, *words[1:]], check=True)
    converted = load_file(model / "model.safetensors")
    assert all(torch.equal(converted[name], weight) for name, weight in weights.items())
    assert load_encoder(str(model)).pretrained


def test_pickled_weights_on_hub_raise_with_download_command(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Network:
        @classmethod
        def from_pretrained(cls, *_: Any, **options: Any) -> None:
            assert options["use_safetensors"]
            raise OSError("no file named model.safetensors")

    monkeypatch.setattr(hub, "hub_is_reachable", lambda: True)
    monkeypatch.setattr(hub, "cached_file", lambda name, file, **_: str(model / file))
    monkeypatch.setattr(loading, "has_file", lambda name, file, **_: file.endswith(".bin"))
    with pytest.raises(ElektronError, match=r"hf download some/old --revision v2 --local-dir old"):
        loading.load_network(Network, "some/old@v2")


def test_invalid_safetensors_raise(model: Path) -> None:
    torch.save({"a": torch.ones(2)}, model / "model.safetensors")
    with pytest.raises(ElektronError, match=r"weights of .* cannot be read"):
        load_encoder(str(model))
    (model / "model.safetensors").write_bytes(b"\0\0\0\0\0\0\0\x10{}")
    with pytest.raises(ElektronError, match=r"weights of .* cannot be read"):
        loading.load_network(AutoModel, str(model))


def test_auto_map_is_ignored_for_transformers_class(tmp_path: Path, model: Path) -> None:
    config = ElectraConfig(vocab_size=9, hidden_size=8, num_attention_heads=1, num_hidden_layers=1)
    ElectraModel(config).save_pretrained(model)
    edit(model / "config.json", auto_map={"AutoModel": "evil.M"})
    network = loading.load_network(AutoModel, str(model))
    assert isinstance(network, ElectraModel)


Weights = dict[str, torch.Tensor]
OF_A_LAYER = "layers.0.attention.qkv.weight"


def key_of(weights: Weights, ending: str) -> str:
    return next(key for key in weights if key.endswith(ending))


def without_a_layer(weights: Weights) -> None:
    for key in [key for key in weights if "layers.0." in key]:
        del weights[key]


def with_another_layer(weights: Weights) -> None:
    for key in [key for key in weights if "layers.0." in key]:
        weights[key.replace("layers.0.", "layers.1.")] = weights[key].clone()


def of_another_shape(weights: Weights) -> None:
    key = key_of(weights, OF_A_LAYER)
    weights[key] = weights[key][:-1].contiguous()


def without_a_number(weights: Weights) -> None:
    weights[key_of(weights, OF_A_LAYER)][0, 0] = float("nan")


def with_an_infinity(weights: Weights) -> None:
    weights[key_of(weights, OF_A_LAYER)][-1, -1] = float("-inf")


@pytest.fixture(scope="module")
def classifier(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text classifier with the encoder of `saved`."""
    folder = tmp_path_factory.mktemp("classifier")
    load_tokenizer(str(saved)).save_pretrained(folder)
    ElektronForSequenceClassification.from_pretrained(saved).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (without_a_layer, r"missing \(such as \S*layers\.0\."),
        (with_another_layer, r"unexpected \(such as \S*layers\.1\."),
        (of_another_shape, rf"1 of another shape \(such as \S*{OF_A_LAYER}\)"),
        (without_a_number, rf"{OF_A_LAYER} are not all finite"),
        (with_an_infinity, rf"{OF_A_LAYER} are not all finite"),
    ],
)
def test_mismatched_or_non_finite_weights_raise_with_name(
    model: Path, classifier: Path, tmp_path: Path, damage: Any, complaint: str
) -> None:
    """Every loader raises: for continued pre-training, fine-tuning, prediction and sentence scoring."""
    fine_tuned = Path(shutil.copytree(classifier, tmp_path / "classifier"))
    for folder in (model, fine_tuned):
        weights = load_file(folder / "model.safetensors")
        damage(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for use in (
        lambda: load_pair(str(model), None, None),
        lambda: load_encoder(str(model)),
        lambda: load_predictor(str(fine_tuned)),
        lambda: load_scorer(str(model)),
    ):
        with pytest.raises(ElektronError, match=complaint):
            use()


def test_missing_head_raises_in_prediction_but_not_in_fine_tuning(classifier: Path, tmp_path: Path) -> None:
    headless = Path(shutil.copytree(classifier, tmp_path / "headless"))
    weights = load_file(headless / "model.safetensors")
    weights = {key: weight for key, weight in weights.items() if key.startswith("elektron.")}
    save_file(weights, headless / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ElektronError, match=r"2 missing \(such as classifier\."):
        load_predictor(str(headless))
    assert load_encoder(str(headless)).pretrained
    assert load_predictor(str(classifier)).task.name == "classification"


@pytest.mark.parametrize("change", [{"model_type": "electra"}, {"num_hidden_layers": 2}])
def test_config_of_another_model_raises(model: Path, change: dict[str, Any]) -> None:
    edit(model / "config.json", **change)
    for use in (load_encoder, lambda name: loading.load_network(AutoModelForPreTraining, name)):
        with pytest.raises(ElektronError, match=r"weights do not fit: .* missing"):
            use(str(model))


def test_missing_pooler_is_counted_as_new(tmp_path: Path, tokenizer_folder: Path) -> None:
    tokenizer = load_tokenizer(str(tokenizer_folder))
    tokenizer.save_pretrained(tmp_path)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(tokenizer), num_hidden_layers=1, **sizes)
    BertForMaskedLM(config).save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path))
    model = AutoModelForSequenceClassification.from_config(encoder.config)
    encoder.load_into(model.base_model)
    head = [*model.bert.pooler.parameters(), *model.classifier.parameters()]
    assert encoder.count_loaded(model)["new"] == sum(weight.numel() for weight in head)


def test_token_types_are_dropped_from_a_copy(tokenizer_folder: Path) -> None:
    tokenizer = load_tokenizer(str(tokenizer_folder))
    assert hub.without_unused_token_types(tokenizer, ElectraConfig()) is tokenizer
    without = hub.without_unused_token_types(tokenizer, RobertaConfig(type_vocab_size=1))
    assert "token_type_ids" not in without("a", "b") and without("a", "b").input_ids == tokenizer("a", "b").input_ids
    assert 1 in tokenizer("a", "b").token_type_ids
