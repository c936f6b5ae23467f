"""Report on a fine-tuned model: content, self-contained HTML, and escaping of untrusted text."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from elektron.errors import ElektronError
from elektron.report import report
from elektron.reporting.config import ReportConfig
from elektron.reporting.task_report import write_report
from elektron.reporting.task_result import read_task_result
from elektron.reporting.task_summary import pretraining_gain
from tests.reporting import tuned
from tests.reporting.conftest import MakeRun
from tests.reporting.pages import HOSTILE, Page, stands_alone

EXPECTED = {
    "classification": [
        "Accuracy is 82.9 % (95 % interval 80.8 to 85.0 %) on 1,200 test rows",
        "Simple baselines reach 50.3 % (always 'pos') and 76.8 % (TF-IDF with logistic regression).",
        "Pre-training is ahead by 9.2 points (82.7 % against 73.5 %)",
        "Collapsed seeds from scratch: 1 of 3.",
        "Another 1,200 test rows would move such a value by about ± 2.1 points",
        "Errors with the highest scores",
        "elektron.models",
    ],
    "many-classes": ["the rows that the model was chosen on", "evaluation rows", "topic 13"],
    "regression": [
        "Pearson correlation on test: median 0.869 of 2 seeds, from 0.866 to 0.871.",
        "Largest errors",
        "A man plays the guitar",
        'function_to_apply="none"',
    ],
    "tagging": ["Sentences with most errors", "Lovelace", "I-PER", "PER"],
    "answers": ["70.4 %", "Exact match", "the winter of 1907", "1843"],
    "translation": ["BLEU is 17.4", "nrefs:1|case:mixed", "Der Ausschuss trifft sich"],
}


def page(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def changed(files: tuned.Files, name: str, **values: Any) -> tuned.Files:
    return files | {name: files[name] | values}


@pytest.mark.parametrize("name", tuned.KINDS)
def test_report_of_each_task(name: str, tmp_path: Path) -> None:
    folder = tuned.write(tmp_path / name, tuned.KINDS[name]())
    assert write_report(folder) == folder / "report.html"
    html = page(folder)
    stands_alone(html)
    for words in EXPECTED[name]:
        assert words in html.words, words
    ids = [value for attribute, value in html.attributes if attribute == "id"]
    assert len(ids) == len(set(ids))


def test_report_accepts_folder_of_fine_tuned_model(tmp_path: Path) -> None:
    folder = tuned.write(tmp_path / "a", tuned.tagging())
    assert report(ReportConfig([folder])) == folder / "report.html"
    assert "Token classification" in (folder / "report.html").read_text()


def test_report_compares_several_models(tmp_path: Path) -> None:
    worse = changed(tuned.classification(), "metrics.json", accuracy=0.8, f1=0.84)
    folders = [tuned.write(tmp_path / "a", tuned.classification()), tuned.write(tmp_path / "b", worse)]
    text = report(ReportConfig(folders, tmp_path / "page.html")).read_text()
    html = Page(text)
    stands_alone(html)
    assert "best baseline" in html.words and "TF-IDF with logistic regression" in html.words
    assert "2 models compared" in html.words and "different rows" not in html.words
    assert "“b” against “a” is not resolved, seeds overlap: Accuracy 82.7 % against 82.7 %" in html.words
    assert 'class="below best"' not in text, "the verdict says more"
    assert "svg" in html.elements


def seeds(*figures: float) -> tuned.Files:
    """A model with one seed for each figure, of which the last is kept."""
    runs = [tuned.run(seed=seed, figure=figure, kept=figure == figures[-1]) for seed, figure in enumerate(figures, 1)]
    files = changed(tuned.classification(), "metrics.json", accuracy=figures[-1])
    return changed(files | {"runs.json": runs}, "metrics.json", intervals={"accuracy": [0.8, 0.84]})


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        (
            (0.86, 0.87, 0.88),
            "“b” is ahead of “a” by 5.0 points (Accuracy 87.0 % against 82.0 %, medians of seeds): every ",
        ),
        (
            (0.76, 0.77, 0.78),
            "“b” is behind “a” by 5.0 points (Accuracy 77.0 % against 82.0 %, medians of seeds): every ",
        ),
        ((0.81, 0.87, 0.88), "“b” against “a” is not resolved, seeds overlap: "),
        ((0.835, 0.836, 0.837), "“b” against “a” is not resolved, within the interval: "),
        ((0.88,), "“b” against “a” is not resolved, fewer than 3 seeds: "),
    ],
)
def test_models_are_compared_by_seed_comparison_rule(
    figures: tuple[float, ...], verdict: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [tuned.write(tmp_path / "a", seeds(0.81, 0.82, 0.83)), tuned.write(tmp_path / "b", seeds(*figures))]
    html = Page(report(ReportConfig(folders, tmp_path / "page.html")).read_text())
    assert verdict in html.words
    assert capsys.readouterr().out.startswith(verdict)


def test_comparison_does_not_overwrite_report_of_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [tuned.write(tmp_path / name, tuned.classification()) for name in "ab"]
    assert report(ReportConfig(folders)) == Path("comparison.html")
    assert report(ReportConfig([folders[0]] * 2)) == folders[0] / "report.html"


def test_models_scored_on_different_rows_are_not_ranked(tmp_path: Path) -> None:
    folders = [
        tuned.write(tmp_path / "a", tuned.classification()),
        tuned.write(tmp_path / "b", tuned.many_classes()),
        tuned.write(tmp_path / "c", tuned.regression()),
    ]
    html = Page(report(ReportConfig(folders, tmp_path / "page.html")).read_text())
    assert "not tested on the same rows" in html.words and "svg" not in html.elements


def test_report_of_run_and_model_together_raises(make_run: MakeRun, tmp_path: Path) -> None:
    model = tuned.write(tmp_path / "model", tuned.tagging())
    with pytest.raises(ElektronError, match="make a report for each kind") as refusal:
        report(ReportConfig([make_run(), model]))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("classes", "matrix", "pairs"), [(4, 1, False), (50, 1, True), (51, 0, True)])
def test_confusion_matrix_and_pairs_depend_on_number_of_classes(
    classes: int, matrix: int, pairs: bool, tmp_path: Path
) -> None:
    folder = tuned.write(tmp_path / "a", tuned.many_classes(classes))
    text = write_report(folder).read_text()
    assert text.count('<table class="matrix') == matrix
    assert (f"Most confused of {classes} classes" in text) == pairs
    assert ("The 50 classes of lowest F1, of 51." in text) == (classes == 51)


def test_confusion_matrix_cells_have_titles(tmp_path: Path) -> None:
    html = page(tuned.write(tmp_path / "a", tuned.classification()))
    titles = [value for name, value in html.attributes if name == "title"]
    # 110 of 596 rows of "neg"
    assert "neg → pos: 18.5 %" in titles


@pytest.mark.parametrize(
    ("left_out", "sections"),
    [
        ("details.json", {"Confusion matrix", "By class", "Predicted against true", "Versions"}),
        ("runs.json", {"Was pre-training worth it?", "Seeds", "Runs", "Training"}),
        ("predictions.jsonl", {"Predictions"}),
        ("config.yaml", {"Configuration"}),
    ],
)
@pytest.mark.parametrize("name", tuned.KINDS)
def test_sections_of_missing_files_are_left_out_of_report(
    name: str, left_out: str, sections: set[str], tmp_path: Path
) -> None:
    def titles(folder: Path) -> list[str]:
        return re.findall("<h2>(.*?)</h2>", write_report(folder).read_text())

    files = tuned.KINDS[name]()
    before = titles(tuned.write(tmp_path / "a", files))
    del files[left_out]
    after = titles(tuned.write(tmp_path / "b", files))
    assert "All metrics" in after
    assert sections & set(before)
    assert after == [title for title in before if title not in sections]


def test_report_from_task_and_metrics_files_only(tmp_path: Path) -> None:
    """The folder has metrics of an evaluation, but no model."""
    files = {"task.json": {"task": "classification"}, "metrics.json": {"accuracy": 0.5, "rows": 3}}
    html = page(tuned.write(tmp_path / "a", files))
    assert "Accuracy is 50.0 % on 3 rows" in html.words
    assert "Use the model" not in html.words and "Predictions" not in html.words


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.json", "{", "is damaged"),
        ("details.json", "[]", "must hold a JSON object"),
        ("details.json", '{"confusion": {"labels": ["a"], "counts": []}}', "a row and a column"),
        ("runs.json", "{}", "must be a list"),
        ("runs.json", '[{"epochs": [{}]}]', "has no 'epoch'"),
        ("predictions.jsonl", '{"text": "a"}\n{"te', "line 2: not valid JSON"),
        ("task.json", "3", "must hold a JSON object"),
    ],
)
def test_damaged_file_raises_in_one_line(file: str, content: str, message: str, tmp_path: Path) -> None:
    folder = tuned.write(tmp_path / "a", tuned.classification() | {file: content})
    with pytest.raises(ElektronError, match=message) as refusal:
        write_report(folder)
    assert "\n" not in str(refusal.value) and file in str(refusal.value)


def test_folder_without_task_or_metrics_raises(tmp_path: Path) -> None:
    with pytest.raises(ElektronError, match=r"no task\.json"):
        write_report(tmp_path)
    (tmp_path / "task.json").write_text("{}")
    with pytest.raises(ElektronError, match=r"no metrics\.json"):
        write_report(tmp_path)


def test_paths_use_final_name_of_folder(tmp_path: Path) -> None:
    """The folder is read before `atomic_folder` renames it; `evaluate` writes no config.yaml."""
    files = tuned.tagging()
    del files["config.yaml"]
    html = page(tuned.write(tmp_path / ".final.partial", files))
    assert f"elektron predict {tmp_path / 'final'}" in html.words and "partial" not in html.words


def hostile(value: Any) -> Any:
    """The same value with every string in it replaced by HOSTILE, except keys."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, list):
        return [hostile(item) for item in value]
    if isinstance(value, dict):
        return {key: hostile(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize("name", tuned.KINDS)
def test_untrusted_text_is_escaped(name: str, tmp_path: Path) -> None:
    files = {
        file: content if file == "task.json" else hostile(content) for file, content in tuned.KINDS[name]().items()
    }
    files["task.json"] |= {"labels": [HOSTILE, HOSTILE]}
    files["details.json"] |= {"metric": HOSTILE, "columns": {}, "per_class": {HOSTILE: {"f1": 1.0}}}
    files["metrics.json"] |= {HOSTILE: 0.5, "intervals": {HOSTILE: [0.4, 0.6]}}
    for run in files["runs.json"]:
        run["settings"] = {HOSTILE: run["seed"]}
        run["eval"][HOSTILE] = 0.5
    folder = tuned.write(tmp_path / HOSTILE.replace("/", ""), files)
    html = page(folder)
    assert not {"script", "img"} & set(html.elements)
    assert not any(attribute.startswith("on") for attribute, _ in html.attributes)
    everything = html.words + "".join(value for _, value in html.attributes)
    assert "<script>alert(1)" in everything and "\\x1b[31m" in everything
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", everything)


@pytest.mark.parametrize("value", [0.0, -3.0, 1e299])
@pytest.mark.parametrize("name", tuned.KINDS)
def test_report_of_extreme_values(name: str, value: float, tmp_path: Path) -> None:
    def odd(content: Any) -> Any:
        if isinstance(content, list):
            return [odd(item) for item in content]
        if isinstance(content, dict):
            return {key: odd(item) for key, item in content.items()}
        return value if isinstance(content, float) else content

    files = {file: odd(content) for file, content in tuned.KINDS[name]().items()}
    assert "All metrics" in page(tuned.write(tmp_path / "a", files)).words


@pytest.mark.parametrize("name", ["classification", "regression", "answers", "translation"])
def test_code_example_is_valid_python(name: str, tmp_path: Path) -> None:
    folder = tuned.write(tmp_path / 'it\'s "here"', tuned.KINDS[name]())
    blocks = re.findall(r"<pre><code>(.*?)</code></pre>", write_report(folder).read_text(), re.DOTALL)
    assert len(blocks) == 2
    ast.parse(Page(blocks[1]).words)


def test_report_is_deterministic(tmp_path: Path) -> None:
    folder = tuned.write(tmp_path / "a", tuned.classification())
    assert write_report(folder).read_bytes() == write_report(folder).read_bytes()


def test_few_seeds_are_reported_as_not_resolved(tmp_path: Path) -> None:
    files = tuned.classification()
    files["runs.json"] = [tuned.run(kept=True), tuned.run("scratch", figure=0.7)]
    assert "Not resolved" in page(tuned.write(tmp_path / "a", files)).words


def test_missing_pretrained_weights_are_reported(tmp_path: Path) -> None:
    files = changed(tuned.tagging(), "details.json", weights={"loaded": 0, "new": 9})
    assert "no pretrained weights were loaded" in page(tuned.write(tmp_path / "a", files)).words
    named = changed(files, "details.json", model="scratch:electra-small")
    assert "no pretrained weights were loaded" not in page(tuned.write(tmp_path / "b", named)).words


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_non_finite_metrics_are_left_out(value: str, tmp_path: Path) -> None:
    text = json.dumps(tuned.tagging()["metrics.json"]).replace("0.811", value)
    folder = tuned.write(tmp_path / "a", tuned.tagging() | {"metrics.json": text})
    assert read_task_result(folder).metrics.keys() == {"loss", "accuracy", "precision", "recall"}
    assert not {"nan", "inf", "-inf", "−inf", "∞", "−∞"} & set(page(folder).words.lower().split())


def test_chosen_settings_are_kept_or_run_most_often(tmp_path: Path) -> None:
    result = read_task_result(tuned.write(tmp_path / "a", tuned.classification()))
    assert result.varied_settings == ["learning_rate"]
    for side in ("pretrained", "scratch"):
        assert [run.settings for run in result.chosen_runs(side)] == [{"learning_rate": 0.001}] * 3


def test_settings_best_on_eval_are_chosen_with_one_seed(tmp_path: Path) -> None:
    files = tuned.classification()
    files["runs.json"] = [
        tuned.run("scratch", figure=figure, settings={"epochs": count})
        for count, figure in ((3, 0.7), (10, 0.8), (30, 0.75))
    ]
    (run,) = read_task_result(tuned.write(tmp_path / "a", files)).chosen_runs("scratch")
    assert run.settings == {"epochs": 10}


def test_sides_are_compared_on_eval_if_one_has_no_test_metrics(tmp_path: Path) -> None:
    files = tuned.classification()
    files["runs.json"] = [tuned.run(kept=True), tuned.run("scratch", test=False)]
    gain = pretraining_gain(read_task_result(tuned.write(tmp_path / "a", files)))
    assert gain is not None and gain[1] == "eval"
    assert "Another" not in gain[2], "the interval is of other rows"


def test_pretraining_gain_is_none_with_one_side(tmp_path: Path) -> None:
    assert pretraining_gain(read_task_result(tuned.write(tmp_path / "a", tuned.regression()))) is None
