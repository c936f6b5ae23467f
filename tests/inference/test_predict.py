"""Prediction from the command line: streams, formats, order, and nothing but rows on standard output."""

import io
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from io import BufferedReader

import pytest
import torch
from transformers import ElectraConfig, ElectraForSequenceClassification

from elektron.cli import main
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning.readers.lines import open_lines
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.base import FORMAT
from elektron.finetuning.tasks.classification import Classification
from elektron.finetuning.tasks.registry import load_task
from elektron.inference import predict as module
from elektron.inference.config import PredictConfig
from elektron.inference.models import load_predictor
from tests.conftest import SMALL_ELECTRA
from tests.finetuning.conftest import labelled_sentences, write_jsonl, write_tsv
from tests.finetuning.readers.layouts import read


@pytest.fixture(scope="module")
def model(tokenizer_folder, tmp_path_factory):
    """A classifier of family electra, made and saved by transformers alone."""
    tokenizer = load_tokenizer(str(tokenizer_folder))
    torch.manual_seed(0)
    config = ElectraConfig(
        vocab_size=len(tokenizer),
        id2label={0: "animal", 1: "person", 2: "plant"},
        label2id={"animal": 0, "person": 1, "plant": 2},
        **SMALL_ELECTRA,
    )
    folder = tmp_path_factory.mktemp("plain")
    ElectraForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def texts():
    return [text for text, _ in labelled_sentences(30, seed=11)]


def alone(model, texts):
    """The score of each text when it is predicted alone."""
    predictor = load_predictor(str(model), batch_size=1)
    return [predictor.predict([Record({"text": text}, {}, "")])[0]["score"] for text in texts]


def test_rows_keep_order_and_scores_across_batches(model, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 7)
    path = write_jsonl(tmp_path / "in.jsonl", [{"id": n, "text": t} for n, t in enumerate(texts)])
    out = tmp_path / "out.jsonl"
    arguments = ["predict", str(model), "--input", str(path), "--output", str(out), "--batch-size", "4"]
    assert main(arguments) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(30))
    assert [row["predicted_score"] for row in rows] == pytest.approx(alone(model, texts), abs=1e-4)
    assert len({row["predicted_score"] for row in rows}) > 10


def test_from_standard_input_to_standard_output(model, texts):
    done = subprocess.run(
        [sys.executable, "-m", "elektron", "predict", str(model)],
        input="\n".join(texts) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["text"] for row in rows] == texts
    assert all(row.keys() == {"text", "predicted_label", "predicted_score"} for row in rows)


def test_json_lines_on_standard_input(model, texts, monkeypatch, capsys):
    lines = "".join(json.dumps({"text": text, "n": 1}) + "\n" for text in texts)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    assert main(["predict", str(model)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["n"] for row in rows] == [1] * 30


def test_input_label_is_kept_beside_predicted_label(model, tmp_path, capsys):
    path = write_tsv(tmp_path / "in.tsv", [("the cat .", "x")], ("text", "label"))
    assert main(["predict", str(model), "--input", str(path)]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["label"] == "x"
    assert row["predicted_label"] in ("animal", "person", "plant")


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_input_label_is_never_written_as_predicted_label(model, tmp_path, name):
    """The first row has no label because its line is too short."""
    path = tmp_path / "in.csv"
    path.write_text("text,label\nthe cat .\nthe dog .,own\n")
    assert main(["predict", str(model), "--input", str(path), "--output", str(tmp_path / name)]) == 0
    rows = [record.columns for record in read(tmp_path / name, labelled=False)]
    assert [row.get("label") or None for row in rows] == [None, "own"]
    assert all(row["predicted_label"] in ("animal", "person", "plant") for row in rows)


def test_each_line_is_predicted_before_the_next_is_sent(model):
    """Each line is sent only after the previous prediction, so a process that waits for more input would hang."""
    command = [sys.executable, "-m", "elektron", "predict", str(model)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        given_up = threading.Timer(300, process.kill)
        given_up.start()
        for text in ("the cat .", "the dog .", "the bird ."):
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == text
        process.stdin.close()
        assert process.stdout.read() == b""
        given_up.cancel()
    assert process.returncode == 0


def test_available_input_yields_all_lines_before_waiting():
    """The callback is called before a read that would block, and only then."""
    receiver, sender = os.pipe()
    events = []

    def waits():
        events.append("waits")
        os.close(sender)

    with os.fdopen(receiver, "rb") as pipe:
        os.write(sender, b"a\nb\n")
        for _, line in open_lines("-", BufferedReader(module.AvailableInput(pipe, waits))):
            events.append(line)
    assert events == ["a", "b", "waits"]


@pytest.mark.parametrize("count", ["0", "-1"])
def test_number_of_passages_below_one_is_rejected(model, capsys, count):
    assert main(["predict", str(model), "--documents", "x", "--passages", count]) == 2
    assert f"--passages must be from 1 to 1048576, got {count}" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_rows(model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 64)

    def peak(rows):
        path = tmp_path / f"{rows}.txt"
        path.write_text("the cat sees the river .\n" * rows)
        tracemalloc.start()
        assert main(["predict", str(model), "--input", str(path), "--output", f"{path}.csv"]) == 0
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(64)  # loads what is loaded only once
    assert peak(3000) < 1.5 * peak(300) + 500_000


def test_load_task_of_model_saved_by_transformers(model):
    task = load_task(str(model))
    assert task.name == "classification"
    assert task.labels == ["animal", "person", "plant"]
    with pytest.raises(ElektronError, match="not for translation"):
        load_task(str(model), "translation")


def test_input_file_as_output_is_rejected(model, tmp_path, capsys):
    path = write_jsonl(tmp_path / "in.jsonl", [{"text": "the cat ."}])
    assert main(["predict", str(model), "--input", str(path), "--output", str(path)]) == 2
    assert "is the input itself" in capsys.readouterr().err
    assert json.loads(path.read_text()) == {"text": "the cat ."}


def test_documents_with_classifier_are_rejected(model, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("the cat .")
    arguments = ["predict", str(model), "--documents", str(tmp_path / "text.txt")]
    assert main([*arguments, "--input", str(tmp_path / "text.txt")]) == 2
    assert "--documents is for models" in capsys.readouterr().err


def test_nonexistent_input_is_rejected(model, capsys):
    assert main(["predict", str(model), "--input", "nowhere.tsv"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("elektron: nowhere.tsv: no such file")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"task": "classification"', "task.json is damaged ("),
        (json.dumps({"task": "classification", "format": FORMAT}), "task.json is damaged ("),
        (
            json.dumps({"task": "classification", "format": FORMAT - 1}),
            "task.json: written by another version",
        ),
    ],
)
def test_damaged_or_outdated_task_file_is_rejected(tmp_path, capsys, content, complaint):
    (tmp_path / "task.json").write_text(content)
    assert main(["predict", str(tmp_path)]) == 2
    assert complaint in capsys.readouterr().err


def test_predict_with_pretraining_run_is_rejected(encoders, capsys):
    assert main(["predict", str(encoders["electra"].parent)]) == 2
    assert "is a pre-training run: fine-tune it first, with `elektron finetune" in capsys.readouterr().err


def test_predict_imports_no_heavy_packages(model):
    """Packages for scoring, training or other file formats would delay the first prediction."""
    heavy = {
        *("sklearn", "scipy.stats", "pandas", "datasets", "pyarrow", "sacrebleu", "rouge_score"),
        *("nltk", "matplotlib", "bm25s", "transformers.trainer", "ray", "jieba"),
    }
    program = (
        "import sys; from elektron.cli import main; main(sys.argv[1:])\n"
        f"print(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "predict", str(model)],
        input="the cat .\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["text"] == "the cat ."
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision_sets_autocast_dtype(model, texts, tmp_path, monkeypatch, precision, dtype):
    seen = set()
    forward = Classification.forward

    def spy(self, network, batch, output=None):
        linear = torch.nn.functional.linear(torch.ones(1, 1), torch.ones(1, 1))
        seen.add(linear.dtype)
        return forward(self, network, batch, output)

    monkeypatch.setattr(Classification, "forward", spy)
    path = write_jsonl(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    arguments = ["predict", str(model), "--input", str(path), "--precision", precision]
    assert main([*arguments, "--output", str(tmp_path / "out.jsonl")]) == 0
    assert seen == {dtype}


def test_predictions_from_lists_and_dataframes(model):
    pandas = pytest.importorskip("pandas")
    rows = [{"text": "the cat .", "n": 1}, {"text": "the dog .", "n": 2}]
    for given in (rows, pandas.DataFrame(rows)):
        found = module.predictions(PredictConfig(model=str(model), input=given))
        assert [(row["text"], row["n"]) for row in found] == [("the cat .", 1), ("the dog .", 2)]
        assert all(row["predicted_label"] in ("animal", "person", "plant") for row in found)
    texts = [row["text"] for row in rows]
    for given in (texts, tuple(texts), pandas.Series(texts), pandas.Series(texts).to_numpy()):
        assert module.predictions(PredictConfig(model=str(model), input=given)) == [
            {name: value for name, value in row.items() if name != "n"} for row in found
        ]
