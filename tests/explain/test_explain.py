"""`elektron explain` from the command line: output formats, metrics, a planted shortcut, and invalid inputs."""

import io
import json
import os
import re
import shutil
import sys
import threading

import pytest

from elektron.cli import main
from elektron.explain.config import ExplainConfig
from elektron.explain.explain import explain
from elektron.explain.explainer import Explainer
from elektron.finetuning.readers.records import Record
from tests.conftest import sentences
from tests.explain.conftest import FAMILIES
from tests.finetuning.conftest import write_jsonl, write_tsv


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("\n".join(sentences(12)) + "\n")
    return path


@pytest.fixture
def without_captum(monkeypatch):
    """Imports of captum fail, whether or not it is installed."""
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)


def run(capsys, *arguments):
    status = main(["explain", *map(str, arguments)])
    return status, *capsys.readouterr()


@pytest.mark.extras
@pytest.mark.parametrize("family", FAMILIES)
def test_json_lines_from_standard_input(models, family, monkeypatch, capsys):
    text = io.TextIOWrapper(io.BytesIO(b"the cat sees an apple .\na small bird\n"))
    monkeypatch.setattr("sys.stdin", text)
    status, out, log = run(capsys, models["classification", family])
    assert status == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["text"] for row in rows] == ["the cat sees an apple .", "a small bird"]
    explanation = rows[0]["predicted_explanation"]
    assert explanation["words"] == ["the", "cat", "sees", "an", "apple", "."]
    answer = explanation["answers"][0]
    assert answer["answer"] == rows[0]["predicted_label"]
    assert len(answer["attributions"]) == 6
    assert answer.keys() >= {"score", "baseline_score", "gap", "comprehensiveness", "sufficiency"}
    assert "comprehensiveness" in log.splitlines()[-1]
    assert "sufficiency" in log.splitlines()[-1]


@pytest.mark.extras
def test_json_summary_equals_mean_of_output_rows(models, texts, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    model = models["classification", "electra"]
    status, printed, _ = run(capsys, model, "--input", texts, "--output", out, "--json")
    assert status == 0
    figures = json.loads(printed)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    answers = [row["predicted_explanation"]["answers"][0] for row in rows]
    for name in ("comprehensiveness", "sufficiency"):
        found = figures["faithfulness"][name]
        for part in ("value", "random"):
            mean = sum(answer[name][part] for answer in answers) / len(answers)
            assert found[part] == pytest.approx(mean, abs=1e-5)
        assert found["interval"][0] <= found["difference"] <= found["interval"][1]
    assert figures["texts"] == figures["faithfulness"]["texts"] == 12
    assert figures["gap"]["largest"] == pytest.approx(max(a["gap"] for a in answers), abs=1e-6)


@pytest.mark.extras
@pytest.mark.parametrize("task", ["classification", "token-classification", "discriminator"])
def test_html_page_escapes_texts_and_can_be_replaced(models, task, tmp_path, capsys):
    source = write_jsonl(
        tmp_path / "in.jsonl", [{"text": "<b>the cat</b> sees\tan apple ."}, {"text": "the river & " + "the cat " * 60}]
    )
    out = tmp_path / "new" / "page.html"
    model = models[task, "elektron"]
    status, printed, _ = run(capsys, model, "--input", source, "--output", out)
    assert (status, printed) == (0, "")
    page = out.read_text()
    assert "<b>the cat" not in page
    assert "Text 2: its first window" in page
    assert "Comprehensiveness" in page
    assert "Not tested." in page  # two texts
    assert re.search(r'against" style="--shade: 0.800"[^>]*>against<', page)
    assert str(model.parent) not in page
    assert main(["explain", str(model), "--input", str(source), "--output", str(out)]) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_page_shows_heads_and_disclaimer_without_captum(
    models, family, texts, tmp_path, without_captum, capsys
):
    out = tmp_path / "page.html"
    model = models["classification", family]
    status, _, log = run(capsys, model, "--input", texts, "--method", "attention", "--output", out)
    assert status == 0
    page = out.read_text()
    assert "do not explain the answer" in page
    assert page.count("Heads of layer 2") == 10
    assert "The first 10 of 12 texts" in page
    assert "comprehensiveness" in log.splitlines()[-1]


@pytest.mark.extras
def test_planted_shortcut_has_highest_attribution(encoders, tmp_path):
    """The label depends only on whether the text contains `forgets`."""
    from elektron.finetuning.config import FinetuneConfig
    from elektron.finetuning.finetune import finetune

    def rows(count, seed):
        plain = [text for text in sentences(2 * count, seed) if "forgets" not in text][:count]
        for number, text in enumerate(plain):
            words = text.split()
            if number % 2:
                words.insert(number % len(words), "forgets")
            yield " ".join(words), "yes" if number % 2 else "no"

    train = write_tsv(tmp_path / "train.tsv", list(rows(300, 1)), ("text", "label"))
    out = tmp_path / "model"
    finetune(
        FinetuneConfig(
            task="classification", model=str(encoders["elektron"]), train=[str(train)], epochs=8, batch_size=16, out=out
        )
    )
    explainer = Explainer.of(ExplainConfig(model=str(out)))
    planted = [text for text, label in rows(80, 2) if label == "yes"]
    first = []
    for text in planted:
        found = explainer.explain(Record({"text": text}, {}, "here"))
        assert found.reading.prediction["label"] == "yes"
        importance = found.answers[0].importance
        best = found.reading.words[importance.index(max(importance))]
        first.append(found.reading.text(best) == "forgets")
    assert len(first) == 40
    assert sum(first) / len(first) >= 0.95


def test_missing_captum_error_names_the_extra(models, texts, without_captum, capsys):
    status, _, log = run(capsys, models["classification", "bert"], "--input", texts)
    assert status == 2
    assert "pip install 'elektron[explain]'" in log


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--output", "page.pdf"], ".jsonl, .html"),
        (["--label", "x"], "unknown option --label"),
        (["--word", "2"], "--word has no effect"),
        (["--word", "0"], "--word must be above 0"),
        (["--steps", "1"], "--steps must be from 2 to 10000"),
        (["--input", "missing.txt"], "missing.txt: no such file"),
    ],
)
def test_invalid_settings_are_rejected(models, arguments, named, texts, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = models["classification", "bert"]
    settings = ["--input", texts, "--method", "attention", *arguments]
    status, out, log = run(capsys, model, *settings)
    assert (status, out) == (2, "")
    assert named in log
    assert len(log.splitlines()) == 1
    assert not list(tmp_path.glob("page.*"))


def test_exported_model_is_rejected(models, texts, tmp_path, capsys):
    folder = tmp_path / "exported"
    shutil.copytree(models["classification", "bert"], folder)
    (folder / "model.safetensors").unlink()
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").touch()
    status, _, log = run(capsys, folder, "--input", texts, "--method", "attention")
    assert status == 2
    assert f"{folder} is an exported model, which has no gradients" in log


def test_empty_file_is_rejected(models, tmp_path, capsys):
    empty = tmp_path / "empty.txt"
    empty.touch()
    status, _, log = run(capsys, models["classification", "bert"], "--input", empty, "--method", "attention")
    assert status == 2
    assert log.splitlines()[-1] == f"elektron: {empty}: empty, it has no rows"


def test_input_and_foreign_files_are_not_overwritten(models, tmp_path, capsys):
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "the cat"}])
    foreign = tmp_path / "page.html"
    foreign.write_text("mine")
    model = models["classification", "bert"]
    for out, complaint in ((source, "is the input itself"), (foreign, "was not written by this command")):
        before = out.read_text()
        status, _, log = run(capsys, model, "--input", source, "--output", out, "--method", "attention")
        assert status == 2
        assert complaint in log
        assert out.read_text() == before


def test_texts_below_two_words_are_explained_without_faithfulness(models, tmp_path, caplog):
    caplog.set_level("INFO", "elektron")
    source, out = write_jsonl(tmp_path / "in.jsonl", [{"text": ""}, {"text": "cat"}]), tmp_path / "out.jsonl"
    model = str(models["classification", "electra"])
    result = explain(ExplainConfig(model=model, input=str(source), method="attention", output=out))
    assert result["texts"] == 2
    assert "faithfulness" not in result
    assert "no text has two or more words" in caplog.text
    explanations = [json.loads(line)["predicted_explanation"] for line in out.read_text().splitlines()]
    assert [found["words"] for found in explanations] == [[], ["cat"]]
    for found in explanations:
        (answer,) = found["answers"]
        assert answer.keys() == {"answer", "attention_received"}
        assert len(answer["attention_received"]) == len(found["words"])
    assert 0 < explanations[1]["answers"][0]["attention_received"][0] < 1


def test_each_line_is_explained_before_the_next_is_sent(models, monkeypatch, capsys):
    receiver, sender = os.pipe()
    given_up = threading.Timer(60, os.close, [sender])
    given_up.start()
    explained = Explainer.explain

    def explain_and_type(explainer, record, seed):
        if seed == 0:  # the second line is sent while the first is explained
            given_up.cancel()
            os.write(sender, b"a small bird\n")
            os.close(sender)
        return explained(explainer, record, seed)

    monkeypatch.setattr(Explainer, "explain", explain_and_type)
    os.write(sender, b"the cat sees an apple .\n")
    with os.fdopen(receiver) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        status, out, _ = run(capsys, models["classification", "bert"], "--method", "attention")
    assert status == 0
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["the cat sees an apple .", "a small bird"]
