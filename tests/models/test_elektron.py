"""The encoder: its computation, and loading with transformers, with and without elektron."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModel

import elektron.models
from elektron.models.elektron import (
    AUTO_MAP,
    INITIAL_GAIN,
    ElektronConfig,
    ElektronModel,
    rms_norm,
    rotary_angles,
    rotate,
)

CONFIG = {
    "vocab_size": 50,
    "embedding_size": 12,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_labels": 3,
}
INPUT_IDS = torch.tensor([[2, 10, 11, 12, 3], [2, 20, 21, 3, 0]])
ATTENTION_MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])


@pytest.fixture
def model() -> ElektronModel:
    torch.manual_seed(0)
    return ElektronModel(ElektronConfig(**CONFIG)).eval()


def test_rotate_turns_by_position_angle():
    cosines, sines = rotary_angles(torch.tensor([[0, 1]]), head_size=2, theta=10_000.0)
    heads = torch.tensor([1.0, 0.0]).expand(1, 2, 1, 1, 2)
    turned = rotate(heads, cosines, sines)[0, :, 0, 0]
    expected = torch.tensor([[1.0, 0.0], [0.5403023, 0.8414710]])
    torch.testing.assert_close(turned, expected)


def test_states_do_not_depend_on_position_offset(model):
    positions = torch.arange(5)[None]
    with torch.no_grad():
        here = model(INPUT_IDS[:1], position_ids=positions).last_hidden_state
        far = model(INPUT_IDS[:1], position_ids=positions + 300).last_hidden_state
    torch.testing.assert_close(here, far, atol=1e-5, rtol=1e-4)


def test_each_sublayer_adds_a_normalised_output_times_its_gain(model):
    states = model(INPUT_IDS, output_hidden_states=True).hidden_states
    layer = model.layers[0]
    rotary = rotary_angles(torch.arange(5)[None], 8, 10_000.0)
    added = layer.attention(rms_norm(states[0], 1e-6), None, rotary)[0]
    middle = states[0] + INITIAL_GAIN * added / added.square().mean(-1, keepdim=True).sqrt()
    added = layer.feed_forward(rms_norm(middle, 1e-6))
    expected = middle + INITIAL_GAIN * added / added.square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(states[1], expected, atol=1e-4, rtol=1e-4)


def test_norms_of_matrices_do_not_change_states(model):
    with torch.no_grad():
        before = model(INPUT_IDS).last_hidden_state
        for number, matrix in enumerate(p for p in model.layers.parameters() if p.ndim == 2):
            matrix.mul_(0.5 + number)
        torch.testing.assert_close(model(INPUT_IDS).last_hidden_state, before, atol=1e-4, rtol=1e-4)
        model.normalize_matrices()
        torch.testing.assert_close(model(INPUT_IDS).last_hidden_state, before, atol=1e-4, rtol=1e-4)
    norms = [part.norm().item() for part in model.layers[0].attention.qkv.weight.view(3, 16, 16)]
    assert norms == pytest.approx([4.0] * 3)
    assert model.layers[0].feed_forward.inner.weight.norm().item() == pytest.approx(32**0.5)


def test_residual_stream_is_bf16_under_autocast(model):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        states = model(INPUT_IDS, output_hidden_states=True).hidden_states
    assert {state.dtype for state in states} == {torch.bfloat16}


def test_padding_does_not_change_states(model):
    with torch.no_grad():
        padded = model(INPUT_IDS, attention_mask=ATTENTION_MASK).last_hidden_state
        alone = model(INPUT_IDS[1:, :4]).last_hidden_state
    torch.testing.assert_close(padded[1:, :4], alone, atol=1e-6, rtol=1e-5)


def test_eager_attention_equals_fused(model):
    with torch.no_grad():
        fused = model(INPUT_IDS, attention_mask=ATTENTION_MASK).last_hidden_state
        model.set_attn_implementation("eager")
        out = model(INPUT_IDS, attention_mask=ATTENTION_MASK, output_attentions=True)
    real = ATTENTION_MASK.bool()
    torch.testing.assert_close(fused[real], out.last_hidden_state[real], atol=1e-6, rtol=1e-5)
    assert len(out.attentions) == 2
    assert out.attentions[0].shape == (2, 2, 5, 5)
    assert out.attentions[0][1, :, :4, 4].max() == 0


@pytest.mark.parametrize("auto_class", [name for name in AUTO_MAP if name != "AutoConfig"])
def test_auto_classes_save_and_load(auto_class, tmp_path):
    config = ElektronConfig(**CONFIG)
    torch.manual_seed(1)
    model = getattr(transformers, auto_class).from_config(config)
    model.save_pretrained(tmp_path)
    again = getattr(transformers, auto_class).from_pretrained(tmp_path).eval()
    inputs = {"input_ids": INPUT_IDS, "attention_mask": ATTENTION_MASK}
    if auto_class == "AutoModelForMultipleChoice":
        inputs = {name: value[None] for name, value in inputs.items()}
    with torch.no_grad():
        before, after = model(**inputs), again(**inputs)
        as_tuple = model(**inputs, return_dict=False)
    assert before.keys() == after.keys()
    assert not model.accepts_loss_kwargs  # else Trainer leaves the mean over accumulated batches to the model
    assert all(map(torch.equal, as_tuple, before.to_tuple()))
    for name, value in before.items():
        torch.testing.assert_close(value, after[name])


LABELS = {
    "ElektronForPreTraining": {"labels": torch.tensor([[-100, 0, 1, 0, -100], [-100, 1, 0, -100, -100]])},
    "ElektronForMaskedLM": {"labels": torch.tensor([[-100, 7, -100, -100, -100], [-100, -100, 9, -100, -100]])},
    "ElektronForSequenceClassification": {"labels": torch.tensor([2, 0])},
    "ElektronForTokenClassification": {"labels": torch.tensor([[-100, 1, 2, 0, -100], [-100, 1, 1, -100, -100]])},
    "ElektronForQuestionAnswering": {"start_positions": torch.tensor([1, 9]), "end_positions": torch.tensor([2, 9])},
}  # fmt: skip


@pytest.mark.parametrize("class_name", LABELS)
def test_loss_is_over_labelled_positions_only(class_name):
    torch.manual_seed(1)
    model = getattr(elektron.models, class_name)(ElektronConfig(**CONFIG))
    with torch.no_grad():
        out = model(INPUT_IDS, attention_mask=ATTENTION_MASK, **LABELS[class_name])
    if class_name == "ElektronForQuestionAnswering":  # 9 is past the end and ignored
        expected = -(out.start_logits[0].log_softmax(-1)[1] + out.end_logits[0].log_softmax(-1)[2]) / 2
    elif class_name == "ElektronForPreTraining":
        probability = out.logits.sigmoid()
        p = [probability[0, 1], probability[0, 2], probability[0, 3], probability[1, 1], probability[1, 2]]
        chances = [1 - p[0], p[1], 1 - p[2], p[3], 1 - p[4]]
        expected = -torch.stack(chances).log().mean()
    else:
        labels = LABELS[class_name]["labels"]
        looked_at = labels != -100
        log_probabilities = out.logits.log_softmax(-1)[looked_at]
        expected = -log_probabilities.gather(-1, labels[looked_at][:, None]).mean()
    torch.testing.assert_close(out.loss, expected)


@pytest.mark.parametrize(
    ("num_labels", "labels"), [(1, torch.tensor([0.5, -1.0])), (3, torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]))]
)
def test_classification_loss_of_regression_and_multilabel(num_labels, labels):
    torch.manual_seed(1)
    config = ElektronConfig(**(CONFIG | {"num_labels": num_labels}))
    model = elektron.models.ElektronForSequenceClassification(config).eval()
    with torch.no_grad():
        out = model(INPUT_IDS, attention_mask=ATTENTION_MASK, labels=labels)
    if num_labels == 1:
        expected = ((out.logits[:, 0] - labels) ** 2).mean()
    else:
        p = out.logits.sigmoid()
        expected = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    torch.testing.assert_close(out.loss, expected)


def test_mean_pooling_skips_padding_and_cls_pooling_takes_first():
    torch.manual_seed(1)
    model = elektron.models.ElektronForSequenceClassification(ElektronConfig(**CONFIG)).eval()
    with torch.no_grad():
        states = model.elektron(INPUT_IDS, ATTENTION_MASK).last_hidden_state
        mean = model(INPUT_IDS, attention_mask=ATTENTION_MASK).logits
        torch.testing.assert_close(mean[1], model.classifier.linear(states[1, :4].mean(0)))
        model.classifier.pooling = "cls"
        first = model(INPUT_IDS, attention_mask=ATTENTION_MASK).logits
        torch.testing.assert_close(first[1], model.classifier.linear(states[1, 0]))


def test_saved_model_loads_and_resaves_without_elektron_installed(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved/config.json").read_text())["auto_map"] == AUTO_MAP
    with torch.no_grad():
        expected = model(INPUT_IDS).last_hidden_state
    script = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "elektron":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import torch, transformers
model = transformers.AutoModel.from_pretrained({str(tmp_path / "saved")!r}, trust_remote_code=True)
states = model.eval()(torch.tensor({INPUT_IDS.tolist()})).last_hidden_state
torch.testing.assert_close(states, torch.tensor({expected.tolist()}))
model.save_pretrained({str(tmp_path / "again")!r})
transformers.AutoModelForTokenClassification.from_pretrained({str(tmp_path / "again")!r}, trust_remote_code=True)
"""
    environment = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_modelling_files_import_only_torch_and_transformers():
    """Apart from the standard library and each other: both files are saved with a model."""
    for name in ("elektron", "heads"):
        tree = ast.parse(Path(elektron.models.__file__).with_name(f"{name}.py").read_text())
        imported = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add("." * node.level + (node.module or ""))
        relative = {module for module in imported if module.startswith(".")}
        packages = {module.partition(".")[0] for module in imported - relative}
        assert relative <= {".elektron", ".heads"}
        assert packages - sys.stdlib_module_names == {"torch", "transformers"}


def test_auto_model_loads_elektron_model(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)) is ElektronModel


@pytest.mark.parametrize("head", ["ForPreTraining", "ForMaskedLM", "ForSequenceClassification"])
def test_encoder_loads_from_model_with_head_without_key_mismatches(tmp_path, head):
    model = getattr(elektron.models, f"Elektron{head}")
    model(ElektronConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1)).save_pretrained(tmp_path)
    _, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
