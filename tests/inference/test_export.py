"""Models exported to ONNX give the same predictions as in PyTorch, through the same commands."""

import dataclasses
import json
import operator
import sys
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch

from elektron.cli import main
from elektron.errors import ElektronError
from elektron.finetuning.encoders import load_encoder
from elektron.finetuning.predictor import Predictor
from elektron.finetuning.tasks.classification import Classification, Regression
from elektron.finetuning.tasks.embedding import Embedding
from elektron.finetuning.tasks.multiple_choice import MultipleChoice
from elektron.finetuning.tasks.question_answering import QuestionAnswering
from elektron.finetuning.tasks.token_classification import TokenClassification
from elektron.inference import export as module
from elektron.inference.models import CPU, load_predictor
from elektron.models.onnx_model import FILE, QUANTIZED_FILE, OnnxModel
from tests.conftest import OBJECTS, sentences
from tests.finetuning.conftest import write_jsonl

pytestmark = pytest.mark.extras

FAMILIES = ("elektron", "electra", "bert")
TEXT = {"pairs": False, "truncation": "windows", "stride": 4, "max_length": 16}
TASKS = {
    "classification": Classification(labels=["a", "b", "c"], **TEXT),
    "several labels": Classification(labels=["a", "b", "c"], several=True, **TEXT),
    "pairs": Classification(labels=["a", "b"], pairs=True, truncation="head", stride=0, max_length=40),
    "regression": Regression(mean=0.0, spread=1.0, **TEXT),
    "tags": TokenClassification(labels=["O", "B-X", "I-X"], stride=4, max_length=16),
    "answers": QuestionAnswering(max_length=32, stride=8, no_answers=True),
    "choices": MultipleChoice(max_length=32),
    "embedding": Embedding(scored=None, max_length=32),
}


GRAPHS = ("classification", "tags", "answers", "choices", "embedding")
"""Tasks whose networks differ by more than the width of the last layer."""


def labelled_rows(task: str) -> list[dict]:
    """Labelled rows, of which every third text is longer than the model's window."""
    texts = [" ".join(sentences(4 if n % 3 == 0 else 1, seed=n)) for n in range(12)]
    made = {
        "classification": lambda n, text: {"text": text, "label": "abc"[n % 3]},
        "several labels": lambda n, text: {"text": text, "label": ["a", "b", "c"][: n % 4]},
        "pairs": lambda n, text: {"text": text, "pair": OBJECTS[n % 6], "label": "ab"[n % 2]},
        "regression": lambda n, text: {"text": text, "label": n / 2},
        "tags": lambda n, text: {
            "tokens": text.split(),
            "tags": [("O", "B-X")[place % 2] for place in range(len(text.split()))],
        },
        "answers": lambda n, text: {
            "question": OBJECTS[n % 6],
            "context": text,
            "answers": {"text": [text.split()[1]], "answer_start": [text.index(text.split()[1])]},
        },
        "choices": lambda n, text: {"text": text, "choices": OBJECTS[: 2 + n % 2], "label": n % 2},
        "embedding": lambda n, text: {"text": text, "pair": OBJECTS[n % 6], "label": n % 5},
    }
    return [made[task](n, text) for n, text in enumerate(texts)]


@pytest.fixture(scope="module")
def model(families, tmp_path_factory):
    """A function that saves a model of a task and family with a random head and returns its folder."""

    def make(task: str, family: str = "elektron") -> Path:
        encoder = load_encoder(str(families[family]))
        torch.manual_seed(3)
        network = TASKS[task].new_model(encoder, None)
        for parameter in network.parameters():  # a new head's logits are too close to 0 to tell labels apart
            if parameter.ndim == 2 and parameter.shape[0] <= 3:
                torch.nn.init.normal_(parameter, std=1.0)
        folder = tmp_path_factory.mktemp(family)
        Predictor(TASKS[task], network, encoder.tokenizer, CPU).save(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def classifier(model, tmp_path_factory) -> tuple[Path, Path]:
    """A classifier and its exported folder."""
    folder, out = model("classification"), tmp_path_factory.mktemp("exported") / "out"
    assert main(["export", str(folder), "--out", str(out)]) == 0
    return folder, out


def answers_of(folder: Path, source: Path, *options: str) -> list[dict]:
    out = source.with_suffix(".out.jsonl")
    assert main(["predict", str(folder), "--input", str(source), "--output", str(out), *options]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def assert_close(ours: object, theirs: object, tolerance: float = 1e-4) -> None:
    """Compare floats within the tolerance and everything else exactly."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert_close(ours[name], value, tolerance)
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_close(one, other, tolerance)
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, abs=tolerance)
    else:
        assert ours == theirs


@pytest.mark.parametrize(
    ("task", "family"),
    [(task, family) for family in FAMILIES for task in TASKS if family == FAMILIES[0] or task in GRAPHS],
)
def test_predictions_and_metrics_equal_pytorch(task, family, model, tmp_path, capsys):
    folder, out = model(task, family), tmp_path / "exported"
    rows = write_jsonl(tmp_path / "rows.jsonl", labelled_rows(task))
    assert main(["export", str(folder), "--out", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["largest_difference"] <= 1e-4
    assert [1, 1] in result["shapes"]
    assert not list(out.rglob("*.safetensors"))
    assert str(Path(module.__file__).parents[2]).encode() not in (out / FILE).read_bytes()

    theirs = answers_of(folder, rows, "--precision", "fp32")
    assert_close(answers_of(out, rows), theirs)
    capsys.readouterr()
    metrics = []
    for side in (folder, out):
        assert main(["evaluate", str(side), str(rows), "--precision", "fp32", "--json"]) == 0
        metrics.append(json.loads(capsys.readouterr().out))
    assert_close(metrics[1], metrics[0], tolerance=5e-3)  # correlations amplify differences
    assert_close(metrics[1]["loss"], metrics[0]["loss"])
    assert main(["verify", str(out)]) == 0


def test_batch_and_sequence_sizes_are_dynamic(classifier, families):
    folder, out = classifier
    network = load_predictor(str(folder), precision="fp32").model
    exported = load_predictor(str(out)).model
    assert isinstance(exported, OnnxModel)
    for rows, length in ((1, 1), (1, 64), (7, 3), (2, 2), (40, 17)):
        ids = torch.randint(5, 60, (rows, length))
        mask = (torch.arange(length) < torch.randint(1, length + 1, (rows, 1))).long()
        with torch.no_grad():
            expected = network(input_ids=ids, attention_mask=mask).logits
        np.testing.assert_allclose(exported(input_ids=ids, attention_mask=mask).logits, expected, atol=1e-4)


def test_predictions_with_documents_equal_pytorch(model, tmp_path):
    documents = tmp_path / "documents.txt"
    documents.write_text("\n\n".join(sentences(12, seed=5)))
    questions = {"answers": "question", "embedding": "text"}
    for task, column in questions.items():
        folder, out = model(task), tmp_path / f"{column}-out"
        assert main(["export", str(folder), "--out", str(out)]) == 0
        rows = write_jsonl(tmp_path / f"{task}.jsonl", [{column: each} for each in OBJECTS])
        options = ("--documents", str(documents), "--passages", "2")
        theirs = answers_of(folder, rows, *options, "--precision", "fp32")
        assert_close(answers_of(out, rows, *options), theirs)


@pytest.mark.parametrize("family", ["elektron", "electra"])
def test_discriminator_equals_pytorch_on_blimp_and_detect_and_rejects_predict(family, encoders, tmp_path, capsys):
    out = tmp_path / "exported"
    assert main(["export", str(encoders[family]), "--out", str(out)]) == 0
    pairs = [{"good": one, "bad": f"{one} {one}"} for one in OBJECTS]
    rows = write_jsonl(tmp_path / "pairs.jsonl", pairs)
    found, words = [], []
    capsys.readouterr()
    texts = write_jsonl(tmp_path / "texts.jsonl", [{"text": text} for text in sentences(6, seed=4)])
    for side in (encoders[family], out):
        scored = tmp_path / "scored.jsonl"
        detect = ["detect", str(side), "--input", str(texts), "--threshold", "0", "--suggestions", "0"]
        assert main([*detect, "--precision", "fp32", "--output", str(scored)]) == 0
        words.append([json.loads(line)["predicted_suspicious"] for line in scored.read_text().splitlines()])
        capsys.readouterr()
        blimp = ["evaluate", str(side), "--blimp", str(rows), "--precision", "fp32", "--json"]
        assert main(blimp) == 0
        found.append(next(iter(json.loads(capsys.readouterr().out)["models"].values())))
    assert_close(found[1], found[0])
    assert_close(words[1], words[0], tolerance=2e-4)  # probabilities are rounded to 4 decimal places
    assert len({word["probability"] for row in words[0] for word in row}) > 10
    assert main(["predict", str(out), "--input", str(rows)]) == 2
    assert "has not been fine-tuned" in capsys.readouterr().err


def bytes_of_matrices(file: Path) -> int:
    """The bytes of all weights of two dimensions in an ONNX file."""
    import onnx

    arrays = map(onnx.numpy_helper.to_array, onnx.load(file).graph.initializer)
    return sum(array.nbytes for array in arrays if array.ndim == 2)


def test_int8_predicts_mostly_the_same_labels(classifier, tmp_path, capsys):
    folder, exported = classifier
    out = tmp_path / "quantized"
    rows = write_jsonl(tmp_path / "rows.jsonl", labelled_rows("classification"))
    capsys.readouterr()
    assert main(["export", str(folder), "--int8", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    result = json.loads((out / "export.json").read_text())
    assert printed.startswith("onnx/model_quantized.onnx: int8, ")
    assert (result["file"], result["precision"]) == (QUANTIZED_FILE, "int8")
    assert 0 < result["largest_difference"] < 1
    assert not (out / FILE).exists()
    assert bytes_of_matrices(out / QUANTIZED_FILE) < 0.3 * bytes_of_matrices(exported / FILE)
    sides = [[row["predicted_label"] for row in answers_of(side, rows)] for side in (folder, out)]
    assert sum(map(operator.eq, *sides)) > 6
    assert main(["verify", str(out)]) == 0


def test_difference_above_tolerance_is_rejected_and_leaves_no_files(classifier, tmp_path, monkeypatch, capsys):
    folder, _ = classifier

    def disturbed(source, file, name, original=module.export_network):
        with torch.no_grad():
            source.network.classifier.linear.weight[0] += 0.01
        original(source, file, name)
        with torch.no_grad():
            source.network.classifier.linear.weight[0] -= 0.01

    monkeypatch.setattr(module, "export_network", disturbed)
    assert main(["export", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert "differ from PyTorch's" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_damaged_and_mismatched_files_are_rejected(classifier, model, tmp_path, capsys):
    _, out = classifier
    truncated = copytree(out, tmp_path / "truncated")
    (truncated / FILE).write_bytes((truncated / FILE).read_bytes()[:-2000])
    empty = copytree(out, tmp_path / "empty")
    (empty / FILE).write_bytes(b"")
    other_task = copytree(out, tmp_path / "other-task")
    Embedding(scored=None, max_length=8).save(other_task)
    other_labels = copytree(out, tmp_path / "other-labels")
    dataclasses.replace(TASKS["classification"], labels=["a", "b"]).save(other_labels)
    config = json.loads((other_labels / "config.json").read_text())
    config["id2label"], config["label2id"] = {"0": "a", "1": "b"}, {"a": 0, "b": 1}
    (other_labels / "config.json").write_text(json.dumps(config))
    longer = copytree(out, tmp_path / "longer")
    dataclasses.replace(TASKS["classification"], max_length=65).save(longer)
    choices = copytree(out, tmp_path / "choices")
    MultipleChoice(max_length=8).save(choices)
    rows = write_jsonl(tmp_path / "rows.jsonl", labelled_rows("choices"))
    for folder, message in (
        (truncated, "export the model again"),
        (empty, "export the model again"),
        (other_task, "last_hidden_state"),
        (other_labels, "3 logits"),
        (longer, "max_length in task.json is 65"),
        (choices, "cannot be run on"),
    ):
        capsys.readouterr()
        assert main(["predict", str(folder), "--input", str(rows)]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert message in error, error
    assert main(["verify", str(truncated)]) == 2


def test_unsupported_exports_and_uses_of_exported_models_are_rejected(classifier, encoders, tmp_path, capsys):
    folder, out = classifier
    generator = encoders["elektron"].with_name("generator")
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"text": "a"}])
    for arguments, message in (
        ([str(out)], "is an exported model"),
        ([str(generator)], "has not been fine-tuned"),
        ([str(folder), "--input", str(rows)], "unknown option --input"),
        ([str(folder), "--to", "tflite"], "--to must be onnx"),
        ([str(tmp_path / "missing")], "missing: no such folder"),
    ):
        assert main(["export", *arguments, "--out", str(tmp_path / "new")]) == 2
        assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert main(["explain", str(out), "--input", str(rows)]) == 2
    assert "has no gradients" in capsys.readouterr().err
    labelled = write_jsonl(tmp_path / "labelled.jsonl", labelled_rows("classification"))
    new = str(tmp_path / "new")
    training = ["classification", "--model", str(out), "--train", str(labelled), "--out", new]
    assert main(["finetune", *training]) == 2
    assert "is an exported model, without PyTorch weights" in capsys.readouterr().err
    assert main(["predict", str(out), "--precision", "bf16", "--input", str(rows)]) == 2
    assert "--precision bf16 has no effect on" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_push_of_exported_folder_requires_a_model_card(classifier, tmp_path, capsys):
    out = copytree(classifier[1], tmp_path / "out")
    assert main(["push", str(out), "me/reviews"]) == 2
    assert "is an exported model, without the metrics" in capsys.readouterr().err
    (out / "README.md").write_text("# Reviews\n")
    assert main(["push", str(out), "me/reviews"]) == 0
    assert "The card begins:\n  # Reviews\n" in capsys.readouterr().out
    assert main(["push", str(out), "me/reviews", "--json"]) == 0
    pushed = json.loads(capsys.readouterr().out)
    assert {"README.md", "export.json", FILE, "task.json"} <= pushed["files"].keys()
    assert not pushed["left_out"]


def test_export_of_generative_model_raises(monkeypatch, tmp_path):
    from elektron.finetuning.tasks.sequence_to_sequence import Translation
    from elektron.inference.config import ExportConfig

    task = object.__new__(Translation)
    predictor = dataclasses.make_dataclass("Loaded", ["task", "model", "accelerator"])(task, None, None)
    monkeypatch.setattr(module, "load_predictor", lambda *_: predictor)
    monkeypatch.setattr(module, "load_discriminator", lambda *_: None)
    with pytest.raises(ElektronError, match="generate text"):
        module.load_source(ExportConfig(model="m", out=tmp_path / "o"))


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript"])
def test_missing_package_error_names_the_extra(package, classifier, tmp_path, monkeypatch, capsys):
    folder, out = classifier
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["export", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'elektron[onnx]'" in capsys.readouterr().err
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"text": "a"}])
    runs = package != "onnxruntime"
    assert main(["predict", str(out), "--input", str(rows)]) == (0 if runs else 2)
    assert ("pip install 'elektron[onnx]'" in capsys.readouterr().err) != runs


def test_graph_inputs_and_outputs_follow_optimum_conventions(classifier):
    _, out = classifier
    import onnxruntime

    session = onnxruntime.InferenceSession(str(out / "onnx" / "model.onnx"))
    assert [each.name for each in session.get_inputs()] == ["input_ids", "attention_mask"]
    assert [each.name for each in session.get_outputs()] == ["logits"]
    assert {each.shape[0] for each in session.get_inputs()} == {"batch"}
    assert {each.shape[1] for each in session.get_inputs()} == {"sequence"}
