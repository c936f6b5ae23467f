"""Model cards: metadata for the hub, content, and escaping of untrusted text."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from elektron.errors import ElektronError
from elektron.push import LOCAL_PATH, PushConfig, push
from elektron.reporting.markdown import block, code, plain, table
from elektron.reporting.model_card import encoder_card, model_card
from elektron.reporting.pretraining_run import read_run
from elektron.reporting.task_result import read_task_result
from tests.reporting import tuned
from tests.reporting.conftest import CORPUS, MakeRun
from tests.reporting.pages import HOSTILE
from tests.reporting.test_task_report import hostile

MARKS = HOSTILE + "`` | [a](http://evil) ![b](c)\n# head\n---\n- x: y"
PATHS: dict[str, Any] = {"init_from": "/home/somebody/other/discriminator,/tmp/gen"}
SOURCES = ["/home/somebody/secret/text.txt", "hf:Salesforce/wikitext:wikitext-2", HOSTILE]
HEADINGS = {
    f"## {heading}"
    for heading in ("Metrics", "Was pre-training worth it?", "How to use it", "How it was made", "Limits")
}


def card(folder: Path) -> tuple[dict[str, Any], str]:
    """The metadata and the text of the card of a fine-tuned model."""
    _, front, text = model_card(read_task_result(folder)).split("---\n", 2)
    return yaml.safe_load(front), text


@pytest.mark.parametrize(
    ("name", "pipeline"),
    [
        ("classification", "text-classification"),
        ("regression", "text-classification"),
        ("tagging", "token-classification"),
        ("answers", "question-answering"),
        ("translation", "translation"),
    ],
)
def test_card_of_each_task_has_metadata_and_sections(name: str, pipeline: str, tmp_path: Path) -> None:
    files = tuned.KINDS[name]()
    metadata, text = card(tuned.write(tmp_path / name, files))
    assert metadata["library_name"] == "transformers" and metadata["pipeline_tag"] == pipeline
    assert "license" not in metadata and "language" not in metadata
    (index,) = metadata["model-index"]
    (result,) = index["results"]
    assert index["name"] == name and result["task"]["type"] == pipeline
    assert result["dataset"] == {"name": "test.tsv", "type": "files", "split": "test"}
    values = [metric["value"] for metric in result["metrics"]]
    assert files["metrics.json"]["loss"] in values and 1200 not in values
    for baseline in files["metrics.json"].get("baselines", []):
        head = next(line for line in text.splitlines() if line.startswith("| metric "))
        assert baseline["name"] in head
    for heading in ("## Metrics", "## How to use it", "## How it was made", "## Limits"):
        assert heading in text


def test_huggingface_hub_reads_eval_results(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    folder = tuned.write(tmp_path / "a", tuned.classification())
    (folder / "README.md").write_text(model_card(read_task_result(folder)), encoding="utf-8")
    results = hub.ModelCard.load(folder / "README.md").data.eval_results
    assert {result.metric_type: result.metric_value for result in results}["accuracy"] == 0.8292


def test_card_states_metrics_pretraining_gain_and_settings(tmp_path: Path) -> None:
    _, text = card(tuned.write(tmp_path / "a", tuned.classification()))
    for words in (
        "Accuracy is 82.9 % (95 % interval 80.8 to 85.0 %) on 1,200 test rows.",
        "Pre-training is ahead by 9.2 points",
        "Trained on 9,600 rows of `train.tsv`.",
        "import elektron.models",
        "1,312,640 weights were loaded from the pretrained model",
        "| `learning_rate` | `0.001` |",
    ):
        assert words in text, words


def test_reporting_on_selection_rows_is_listed_as_limit(tmp_path: Path) -> None:
    metadata, text = card(tuned.write(tmp_path / "a", tuned.many_classes()))
    assert "the rows that the model was chosen on" in text.partition("## Limits")[2]
    assert metadata["model-index"][0]["results"][0]["dataset"]["split"] == "eval"
    assert "held out of the training rows" in text


@pytest.mark.parametrize("revision", ["", "v1.0"])
def test_hub_dataset_and_revision_are_in_metadata(revision: str, tmp_path: Path) -> None:
    files = tuned.classification()
    source = f"hf:glue{revision and '@' + revision}:sst2:validation"
    files["config.yaml"] = tuned.CONFIG | {"test": [source]}
    metadata, _ = card(tuned.write(tmp_path / "a", files))
    data_set = metadata["model-index"][0]["results"][0]["dataset"]
    assert (data_set["type"], data_set.get("revision", "")) == ("glue", revision)


def test_local_paths_are_left_out(tmp_path: Path) -> None:
    _, text = card(tuned.write(tmp_path / "reviews", tuned.classification()))
    assert str(tmp_path) not in text and "model='reviews'" in text


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("{folder}/run/discriminator", "discriminator"),
        ("/home/somebody/models/small/", "small"),
        ("../models/small", "small"),
        ("C:\\Users\\somebody\\small", "small"),
        ("google/electra-small-discriminator@main", "google/electra-small-discriminator@main"),
        ("scratch:quickstart", "scratch:quickstart"),
    ],
)
def test_only_name_of_local_encoder_is_published(model: str, shown: str, tmp_path: Path) -> None:
    files = tuned.classification()
    files["details.json"] |= {"model": model.format(folder=tmp_path)}
    _, text = card(tuned.write(tmp_path / "reviews", files))
    assert f"an encoder (`{shown}`)" in text
    assert "somebody" not in text and str(tmp_path) not in text


@pytest.mark.parametrize("name", tuned.KINDS)
def test_untrusted_text_is_escaped(name: str, tmp_path: Path) -> None:
    files = {
        file: content if file == "task.json" else hostile(content) for file, content in tuned.KINDS[name]().items()
    }
    files["task.json"] |= {"labels": [MARKS, "b"]}
    files["details.json"] |= {"warnings": [MARKS], "notes": {MARKS: MARKS}, "versions": {MARKS: MARKS}}
    files["metrics.json"] |= {MARKS: 0.5, "split": MARKS}
    metadata, text = card(tuned.write(tmp_path / HOSTILE.replace("/", ""), files))
    assert set(metadata) <= {"library_name", "pipeline_tag", "tags", "model-index"}
    # Outside of code there is no HTML element, no link and no heading except those of the card itself.
    prose = re.sub(r"(?ms)^(`{3,}).*?^\1$", "", text)
    prose = re.sub(r"(?s)(?<![\\`])(`+)(?!`).*?(?<!`)\1(?!`)", "", prose)
    assert "<" not in prose and not re.search(r"(?<!\\)\[", prose)
    title, *headings = [line for line in prose.splitlines() if line.startswith("#")]
    assert title.startswith("# ") and set(headings) <= HEADINGS
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_plain_leaves_ordinary_text_unchanged() -> None:
    usual = "Accuracy is 82.9 % (80.8 to 85.0 %): learning_rate 1e-4, always 'pos'."
    assert plain(usual) == usual


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("# a", r"\# a"),
        ("- a", r"\- a"),
        ("12. a", r"12\. a"),
        ("1.5", "1.5"),
        ("*a* _b_", r"\*a\* \_b\_"),
        ("<a> & b", "&lt;a&gt; &amp; b"),
        ("[a](http://b)", r"\[a\](http\://b)"),
        ("a|b", r"a\|b"),
        ("a\nb", r"a\\nb"),
    ],
)
def test_plain_escapes_markdown(text: str, escaped: str) -> None:
    assert plain(text) == escaped


def test_code_delimiters_are_longer_than_backticks_inside() -> None:
    assert code("a``b") == "```a``b```" and code("`") == "`` ` ``"
    assert block("x\n```\ny", "sh").startswith("````sh\n")


def test_pipe_in_table_cell_is_escaped() -> None:
    assert table(["a"], [[code("x|y")], [plain("x|y")]]).count(r"\|") == 2


@pytest.mark.parametrize("network", ["discriminator", "generator"])
def test_encoder_card_states_data_costs_and_metrics(network: str, make_run: MakeRun) -> None:
    run = read_run(make_run(config=PATHS, corpus=CORPUS | {"sources": SOURCES}))
    card = encoder_card(run, network, "me/encoder")
    parameters = {"discriminator": "1,329,025", "generator": "742,144"}[network]
    for words in (
        "# encoder\n",
        f"The {network}, with {parameters} parameters",
        "2.46 M tokens",
        "2,457,600 |",
        "1.3 × 10¹³ |",
        "6,281,120",
        "`text.txt`",
        "`hf:Salesforce/wikitext:wikitext-2`",
        "`discriminator,gen`",
        "- Discriminator AUC: 0.7",
        "folder = 'me/encoder'",
        "## Limits",
    ):
        assert words in card, words
    assert "somebody" not in card and not LOCAL_PATH.search(card)
    assert ("AutoModelForPreTraining" in card) == (network == "discriminator")
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["tags"] == ["elektron", "rtd"] and "license" not in metadata
    expected = {"discriminator": "feature-extraction", "generator": "fill-mask"}
    assert metadata["pipeline_tag"] == expected[network]


def test_push_uploads_discriminator_of_run(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    sizes = {"discriminator": 20, "generator": 10}
    for name, size in sizes.items():
        (run / name).mkdir()
        (run / name / "config.json").write_text('{"model_type": "elektron"}')
        (run / name / "model.safetensors").write_bytes(b"w" * size)
    for model, network in ((run, "discriminator"), (run / "generator", "generator")):
        files = push(PushConfig(str(model), "me/encoder"))["files"]
        assert set(files) == {"README.md", "config.json", "model.safetensors"}
        assert files["model.safetensors"] == sizes[network]
        assert f"The {network}, with " in capsys.readouterr().out
    assert not list(run.rglob("README.md"))


def test_push_of_unfinished_run_raises(make_run: MakeRun) -> None:
    run = make_run(finished=False)
    (run / "discriminator").mkdir()
    (run / "discriminator" / "config.json").write_text("{}")
    (run / "discriminator" / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ElektronError, match="finished run"):
        push(PushConfig(str(run), "me/encoder"))
