"""Report on pre-training runs: content, self-contained HTML, and escaping of untrusted text."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from elektron.errors import ElektronError
from elektron.report import report
from elektron.reporting.config import ReportConfig
from elektron.reporting.examples import Shades, running_text
from elektron.reporting.formatting import metric_format
from elektron.reporting.page import Cell, Details, Group, Table
from elektron.reporting.pretraining_report import COMPARED, COSTS, comparison, facts, lead, same_text, status, tiles
from elektron.reporting.pretraining_run import Example, PretrainingRun, read_run, read_runs
from elektron.reporting.sections import settings_section
from elektron.reporting.usage import detector_code
from tests.reporting.conftest import CONFIG, CORPUS, MakeRun
from tests.reporting.pages import HOSTILE, Page, stands_alone

LM = ("lm_loss", "lm_accuracy")
COLUMNS = {metric_format(name).title: name for name in COMPARED} | {title: name for name, (title, _) in COSTS.items()}
NAMES = [name for name in COLUMNS.values() if name not in LM]
PLAIN = Shades([])


def page(*folders: Path) -> Page:
    out = folders[0] / "report.html"
    return Page(report(ReportConfig(list(folders), out)).read_text(encoding="utf-8"))


def test_report_of_one_run(make_run: MakeRun) -> None:
    folder = make_run("quickstart/run", downstream=True)
    assert report(ReportConfig([folder])) == folder / "report.html"
    html = page(folder)
    for words in (
        "quickstart/run",
        "None raised.",
        "Discriminator AUC",
        "6,281,120",
        "Pre-training is ahead",
        "ValueError",
        "elektron.models",
        "generator_width",
        "transformers 5.23.0",
    ):
        assert words in html.words, words
    assert html.elements.count("svg") == 9
    assert "in progress" not in html.words


def test_pending_alarms_are_not_reported_as_absent(make_run: MakeRun) -> None:
    html = page(make_run(finished=False))
    assert "None raised" not in html.words
    assert "at step 1,012 or later; the last was at step 600" in html.words
    # A warm-up longer than the run is shortened to a tenth of the run.
    long_warmup = {"optimizer": {"warmup": 10_000}}
    assert "at step 1,120 or later" in page(make_run("a", finished=False, config=long_warmup)).words
    assert "None raised" in page(make_run("b", config=long_warmup)).words


def test_run_with_only_new_parts_suggests_fine_tuning(make_run: MakeRun) -> None:
    parts = ["generator", "discriminator"]
    metrics = {"generator_loss": 10.8, "discriminator_loss": 0.7, "discriminator_auc": 0.5}
    lines = [
        {"kind": "evaluation", "step": step, "tokens": step, "new_parts": new} | metrics
        for step, new in ((0, parts), (30, []))
    ]
    html = page(make_run(lines=lines, config={"init_from": "hub/encoder,hub/generator"}))
    assert "→" not in html.words
    assert "--model hub/encoder --train" in html.words and "run/discriminator --train" in html.words


def test_report_of_several_runs(make_run: MakeRun, tmp_path: Path) -> None:
    alarm = {"kind": "alarm", "step": 600, "alarm": "logits-without-spread", "message": "so it is"}
    folders = [
        make_run("a", downstream=True),
        make_run("b", end=4.4, downstream=True),
        make_run("c", finished=False, lines=[alarm, {"kind": "resumed", "step": 400}]),
    ]
    out = tmp_path / "new" / "page.html"
    assert report(ReportConfig(folders, out)) == out
    html = Page(out.read_text(encoding="utf-8"))
    assert "3 runs compared" in html.words and "in progress: step 0 of 1,200" in html.words
    assert "logits-without-spread" in html.words and "so it is" in html.words
    assert "None raised" not in html.words and "resumed at step 400" in html.words
    assert "different blocks" not in html.words
    ids = [value for name, value in html.attributes if name == "id"]
    assert len(ids) == len(set(ids)), "charts of several runs do not clash"


def test_different_corpora_are_reported(make_run: MakeRun) -> None:
    html = page(make_run("a"), make_run("b", corpus=CORPUS | {"sources": ["novels/*.txt"]}))
    assert "different blocks" in html.words and "novels/*.txt" in html.words


def test_page_is_self_contained(make_run: MakeRun) -> None:
    stands_alone(page(make_run(downstream=True)))


def test_untrusted_text_is_escaped(make_run: MakeRun) -> None:
    """Names, settings, sources, tokens, alarms and classes reach the page as text only."""
    sentence = {
        "tokens": [HOSTILE, "a"],
        "original": [HOSTILE + "b", "a"],
        "masked": [True, False],
        "replaced": [True, False],
        "probability": [0.9, 0.1],
    }
    alarm = {"kind": "alarm", "step": 1, "alarm": HOSTILE, "message": HOSTILE}
    folder = make_run(
        HOSTILE.replace("/", ""),
        config={"family": HOSTILE, "data": HOSTILE, HOSTILE: {HOSTILE: [HOSTILE]}},
        corpus=CORPUS | {"sources": [HOSTILE], "packing": HOSTILE},
        sentences=[sentence],
    )
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(alarm) + "\n")
    summary = json.loads((folder / "summary.json").read_text())
    hostile = {"device": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    (folder / "summary.json").write_text(json.dumps(summary | hostile))
    for html in (page(folder), page(make_run("other"), folder)):
        assert not {"script", "img"} & set(html.elements)
        assert not any(name.startswith("on") for name, _ in html.attributes)
        everything = html.words + "".join(value for _, value in html.attributes)
        assert "<script>alert(1)" in everything, "it is shown as text"
        assert "\\x1b[31m" in everything and "\\u202e" in everything
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", everything)


def test_code_examples_are_valid_python(make_run: MakeRun) -> None:
    text = report(ReportConfig([make_run('it\'s "here"')])).read_text()
    blocks = re.findall(r"<pre><code>(.*?)</code></pre>", text, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks[:2]:
        ast.parse(Page(block).words)


def test_lone_surrogates_are_escaped(make_run: MakeRun) -> None:
    folder = make_run(corpus=CORPUS | {"sources": ["\ud800"]})
    assert "\\ud800" in page(folder).words


@pytest.mark.parametrize("file", ["config.yaml", "summary.json", "corpus.json"])
def test_empty_files_still_give_page(make_run: MakeRun, file: str) -> None:
    folder = make_run()
    (folder / file).write_text("{}")
    assert "Curves" in page(folder).words
    assert "Curves" in page(folder, make_run("other")).words


def test_report_of_run_without_metrics(make_run: MakeRun) -> None:
    html = page(make_run(finished=False, lines=[], corpus=None))
    assert "Nothing has been logged yet" in html.words and "not been evaluated yet" in html.words


def test_report_is_deterministic(make_run: MakeRun) -> None:
    folder = make_run()
    assert report(ReportConfig([folder])).read_bytes() == report(ReportConfig([folder])).read_bytes()


def test_unwritable_output_raises(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run()
    with pytest.raises(ElektronError, match="is a folder: give the name of a file"):
        report(ReportConfig([folder], tmp_path))
    with pytest.raises(ElektronError, match="choose another name"):
        report(ReportConfig([folder], folder / "config.yaml" / "page.html"))


def test_foreign_file_is_not_overwritten(make_run: MakeRun, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    run = make_run("run")
    for _ in range(2):
        assert report(ReportConfig([run], out)) == out
    out.write_bytes(b"\xff years of work")
    with pytest.raises(ElektronError, match=r"page\.html exists"):
        report(ReportConfig([run], out))
    assert out.read_bytes() == b"\xff years of work"


def test_tiles_lead_and_facts_of_finished_run(make_run: MakeRun) -> None:
    run = read_run(make_run())
    by_name = {tile.name: tile for tile in tiles(run)}
    assert by_name["Discriminator AUC"].value == "0.761"
    assert by_name["Generator loss"].value == "3.834"
    # exp(3.834) = 46.2; ln(4096) = 8.32
    assert "among 46.2 equally likely" in by_name["Generator loss"].meaning
    assert "has 8.32" in by_name["Generator loss"].meaning
    assert by_name["Recall"].value == "8.0 %"
    assert "Near 0 is normal early on" in by_name["Recall"].meaning
    assert "elektron" in lead(run) and "builtin:docs" in lead(run)
    # 1200 · 2048 / 6,281,120
    assert "2.46 M tokens (0.39 passes over the text), in 3 min 6 s" in lead(run)
    assert facts(run)["discriminator"] == "1.33 M parameters"


def test_tiles_lead_and_facts_of_run_without_metrics(make_run: MakeRun) -> None:
    run = read_run(make_run(finished=False, lines=[], corpus=None))
    assert {tile.value for tile in tiles(run)} == {"–"}
    assert "its corpus" in lead(run) and facts(run) == {}


@pytest.mark.parametrize(
    ("length", "text"),
    [
        ({"steps": 1200}, "in progress: step 640 of 1,200"),
        ({"tokens": 5_000_000}, "in progress: step 640, 1.31 M of 5 M tokens"),
        ({"minutes": 3.0}, "in progress: step 640, 1 min 39 s of 3 min"),
        ({"flops": 5e13}, "in progress: step 640, 1.3 × 10¹³ of 5.0 × 10¹³ FLOPs"),
        ({}, "in progress: step 640"),
    ],
)
def test_status_of_a_run_in_progress(make_run: MakeRun, length: dict[str, float], text: str) -> None:
    config = dict.fromkeys(("steps", "tokens", "minutes", "flops")) | length
    assert status(read_run(make_run(finished=False, config=config))) == text


def test_finished_run_has_empty_status(make_run: MakeRun) -> None:
    assert status(read_run(make_run())) == ""


def test_metrics_missing_from_objective_are_left_out(make_run: MakeRun) -> None:
    line = {"kind": "evaluation", "step": 9, "tokens": 5, "seconds": 1.0, "lm_loss": 3.25}
    run = read_run(make_run(lines=[line], config={"objective": "mlm", "plan": "joint"}))
    assert {tile.name: tile.value for tile in tiles(run)} == {"LM loss": "3.250"}
    assert lead(run).startswith("An encoder of family elektron, trained by masked language")
    assert detector_code(run) == ""


def test_continued_run_shows_metrics_at_start_and_end(make_run: MakeRun) -> None:
    def line(step: int, general: float, domain: float) -> dict[str, Any]:
        losses = {"generator_loss": domain, "discriminator_auc": 0.5 + step / 1000}
        by_source = {f"generator_loss/{HOSTILE}": general, "generator_loss/b": domain}
        place = {"kind": "evaluation", "step": step, "tokens": step, "seconds": 1.0}
        return place | losses | by_source

    start = line(0, 3.0, 4.0) | {"new_parts": ["discriminator"]}
    continued = make_run("run", lines=[start, line(100, 3.25, 3.5)])
    html = page(continued)
    for words in (
        *("at the start and at the end", "3.000 → 3.250", "4.000 → 3.500", "0.500 → 0.600"),
        "newly initialized at the start: AUC.",
    ):
        assert words in html.words, words
    assert "script" not in html.elements
    begun = make_run("begun", lines=[start], finished=False)
    later = make_run("later", lines=[start, line(100, 3.25, 3.5)], finished=False)
    assert "at the start and now" in page(later).words
    for other in (begun, make_run("other")):
        assert "at the start" not in page(other).words
    assert page(continued, later).words.count("3.000 → 3.250") == 2


def test_detector_code_and_lead_of_token_classifier(make_run: MakeRun) -> None:
    run = read_run(make_run(config={"family": "modernbert", "plan": "two_stage"}))
    assert "AutoModelForTokenClassification" in detector_code(run)
    assert "trained one after the other by replaced token detection" in lead(run)


def cells(runs: list[PretrainingRun]) -> dict[str, list[Any]]:
    """The cells of each column by the name of its metric."""
    table = comparison(runs, [run.name for run in runs])
    columns = zip(table.head[1:], *(row[1:] for row in table.rows), strict=True)
    return {COLUMNS[str(title)]: list(found) for title, *found in columns}


def best(runs: list[PretrainingRun]) -> dict[str, list[int]]:
    """The rows marked as best, for each column."""
    return {
        name: [row for row, cell in enumerate(column) if getattr(cell, "strong", False)]
        for name, column in cells(runs).items()
    }


def test_best_value_of_each_column_is_marked(make_run: MakeRun) -> None:
    runs = read_runs([make_run("a", end=3.8, speed=9000.0), make_run("b", end=4.2, speed=13000.0)])
    marked = best(runs)
    assert marked["generator_loss"] == [0]
    assert marked["steps"] == marked["seconds"] == []
    assert marked["discriminator_auc"] == [], "equal figures have no best"


def test_run_in_progress_has_metrics_but_is_never_best(make_run: MakeRun) -> None:
    runs = read_runs([make_run("a"), make_run("b", end=4.2), make_run("c", end=1.0, finished=False)])
    assert best(runs)["generator_loss"] == [0]
    last = {name: getattr(column[2], "text", column[2]) for name, column in cells(runs).items()}
    assert (last["steps"], last["flops"]) == ("640", "1.2 × 10¹³")
    assert last["generator_loss"] not in ("", "–")


def test_losses_on_different_text_are_not_ranked(make_run: MakeRun) -> None:
    runs = read_runs([make_run("a"), make_run("b", end=4.2, speed=1.0, corpus=CORPUS | {"vocab_size": 8192})])
    assert not same_text(runs)
    marked = best(runs)
    assert marked["generator_loss"] == []


def test_differing_settings_are_tabulated(make_run: MakeRun) -> None:
    other = {"seed": 2, "optimizer": CONFIG["optimizer"] | {"learning_rate": 1e-3, "extra": 1}}
    runs = read_runs([make_run("a"), make_run("b", config=other)])
    section = settings_section([(Cell(run.name), run.config) for run in runs], "run")
    _, differing, details = section.blocks
    assert isinstance(differing, Table) and isinstance(details, Details)
    assert [[cell.text for cell in row] for row in differing.rows] == [  # type: ignore[union-attr]
        ["seed", "1", "2"],
        ["optimizer.learning_rate", "0.003", "0.001"],
        ["optimizer.extra", "null", "1"],
    ]
    (tables,) = details.blocks
    assert isinstance(tables, Group)
    groups = {table.head[0]: [row[0].text for row in table.rows] for table in tables.blocks}  # type: ignore[attr-defined]
    assert groups["masking"] == ["mask_probability", "keep_probability"]
    assert "num_hidden_layers" not in groups["run"]


def test_only_logged_metrics_get_column(make_run: MakeRun) -> None:
    assert list(cells(read_runs([make_run("a")]))) == NAMES
    line = {"kind": "evaluation", "step": 1200, "tokens": 5, "seconds": 1.0, "lm_loss": 3.2}
    columns = cells(read_runs([make_run("b", lines=[line])]))
    assert "lm_loss" in columns
    assert not {"generator_loss", "discriminator_auc"} & columns.keys()


def example(tokens: str, original: str | None = None, **columns: list[float]) -> Example:
    pieces, before = tokens.split(), (original or tokens).split()
    replaced = [a != b for a, b in zip(pieces, before, strict=True)]
    return Example(
        tokens=pieces,
        original=before,
        masked=[bool(m) for m in columns.get("masked", replaced)],
        replaced=replaced,
        probability=list(columns.get("probability", [0.1] * len(pieces))),
    )


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ("fl ##attened array ##s .", "flattened arrays."),
        ("a ( b ) , c : d", "a (b), c: d"),
        ("max _ length - 1 don ' t", "max_length-1 don't"),
        ("汉 字 ， 和 english 字", "汉字，和 english 字"),
        ("안녕 세계", "안녕 세계"),
        ("a ## b", "a ## b"),
    ],
)
def test_wordpieces_are_joined_to_words(pieces: str, text: str) -> None:
    tokens = running_text(example(pieces), PLAIN)
    assert "".join(" " * token.space + token.text for token in tokens) == text


def test_only_replaced_tokens_have_correction_and_guessed_are_dotted() -> None:
    shown = running_text(example("the ##y cat sat", "the ##re cat sat", masked=[0, 1, 1, 0]), PLAIN)
    assert [token.correction for token in shown] == [None, "re", None, None]
    assert [token.dotted for token in shown] == [False, False, True, False]


def test_shades_range_from_median_to_highest_probability() -> None:
    texts = [example("a b c d e", probability=[0.1, 0.1, 0.1, 0.35, 0.6])]
    scale = Shades(texts)
    assert (scale.lowest, scale.highest) == pytest.approx((0.1, 0.6))
    shown = running_text(texts[0], scale)
    assert [token.shade for token in shown] == pytest.approx([0, 0, 0, 0.25, 1])
    assert [bool(token.note) for token in shown] == [False] * 4 + [True]


def test_shades_depend_on_rank_not_on_highest_probability() -> None:
    """Proportional to the probability, the shade of 0.3 would be 0.22, and that of 0.2 would be 0.1."""
    texts = [example("a b c d e", probability=[0.1, 0.1, 0.2, 0.3, 1.0])]
    tokens = running_text(texts[0], Shades(texts))
    assert [token.shade for token in tokens] == pytest.approx([0, 0, 0, 0.25, 1])
    texts = [example("a b c d", probability=[0.7] * 4)]
    assert {token.shade for token in running_text(texts[0], Shades(texts))} == {0}


def test_nearly_equal_probabilities_mark_no_token() -> None:
    """After a short run all probabilities are nearly equal, and no token is marked as suspicious."""
    texts = [example("a b c d", probability=[0.14, 0.15, 0.15, 0.16])]
    shown = running_text(texts[0], Shades(texts))
    assert not any(bool(token.note) for token in shown)
    assert max(token.shade for token in shown) < 0.1


def test_at_most_a_tenth_of_probabilities_is_written_out() -> None:
    texts = [example("a " * 40, probability=[0.1] * 25 + [0.9 + n / 1000 for n in range(15)])]
    assert sum(bool(token.note) for token in running_text(texts[0], Shades(texts))) == 4


def test_shades_without_examples_are_zero() -> None:
    assert PLAIN.shade(0.0) == 0
