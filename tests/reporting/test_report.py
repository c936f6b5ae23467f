"""The page as a whole: it says what the runs say, stands alone, and escapes what others wrote."""

import ast
import json
import re
from pathlib import Path

import pytest

from elektron.errors import ElektronError
from elektron.reporting.config import ReportConfig
from elektron.reporting.report import report
from tests.reporting.conftest import CORPUS, SECOND_ACT, MakeRun
from tests.reporting.pages import HOSTILE, Page, stands_alone


def page(*folders: Path) -> Page:
    return Page(report(ReportConfig(list(folders))).read_text(encoding="utf-8"))


def test_one_run(make_run: MakeRun) -> None:
    folder = make_run("quickstart/run", second_act=SECOND_ACT)
    assert report(ReportConfig([folder])) == folder / "report.html"
    told = page(folder)
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
        assert words in told.words, words
    assert told.elements.count("svg") == 9
    assert "in progress" not in told.words


def test_several_runs(make_run: MakeRun, tmp_path: Path) -> None:
    alarm = {"kind": "alarm", "step": 600, "alarm": "logits-without-spread", "message": "so it is"}
    folders = [
        make_run("a", second_act=SECOND_ACT),
        make_run("b", end=4.4, second_act=SECOND_ACT),
        make_run("c", finished=False, lines=[alarm, {"kind": "resumed", "step": 400}]),
    ]
    out = tmp_path / "new" / "page.html"
    assert report(ReportConfig(folders, out)) == out
    told = Page(out.read_text(encoding="utf-8"))
    assert "3 runs compared" in told.words and "in progress: step 0 of 1,200" in told.words
    assert "logits-without-spread" in told.words and "so it is" in told.words
    assert "None raised" not in told.words and "resumed at step 400" in told.words
    assert "different blocks" not in told.words
    ids = [value for name, value in told.attributes if name == "id"]
    assert len(ids) == len(set(ids)), "charts of several runs do not clash"


def test_different_corpora_are_told(make_run: MakeRun) -> None:
    told = page(make_run("a"), make_run("b", corpus=CORPUS | {"sources": ["novels/*.txt"]}))
    assert "different blocks" in told.words and "novels/*.txt" in told.words


def test_the_page_stands_alone(make_run: MakeRun) -> None:
    stands_alone(page(make_run(second_act=SECOND_ACT)))


def test_text_of_others_is_escaped(make_run: MakeRun) -> None:
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
        second_act=SECOND_ACT | {"task": HOSTILE, "classes": [HOSTILE]},
    )
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(alarm) + "\n")
    summary = json.loads((folder / "summary.json").read_text())
    hostile = {"device": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    (folder / "summary.json").write_text(json.dumps(summary | hostile))
    for told in (page(folder), page(make_run("other"), folder)):
        assert not {"script", "img"} & set(told.elements)
        assert not any(name.startswith("on") for name, _ in told.attributes)
        everything = told.words + "".join(value for _, value in told.attributes)
        assert "<script>alert(1)" in everything, "it is shown as text"
        assert "\\x1b[31m" in everything and "\\u202e" in everything
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", everything)


def test_the_code_it_shows_is_code(make_run: MakeRun) -> None:
    text = report(ReportConfig([make_run('it\'s "here"')])).read_text()
    blocks = re.findall(r"<pre><code>(.*?)</code></pre>", text, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks[:2]:
        ast.parse(Page(block).words)


def test_lone_surrogates_do_not_stop_it(make_run: MakeRun) -> None:
    folder = make_run(corpus=CORPUS | {"sources": ["\ud800"]})
    assert "\\ud800" in page(folder).words


@pytest.mark.parametrize("file", ["config.yaml", "summary.json", "corpus.json"])
def test_files_that_say_little_still_make_a_page(make_run: MakeRun, file: str) -> None:
    folder = make_run()
    (folder / file).write_text("{}")
    assert "Curves" in page(folder).words
    assert "Curves" in page(folder, make_run("other")).words


def test_a_run_that_has_just_begun_makes_a_page(make_run: MakeRun) -> None:
    told = page(make_run(finished=False, lines=[], corpus=None))
    assert "Nothing has been logged yet" in told.words and "not been evaluated yet" in told.words


def test_the_same_runs_make_the_same_page(make_run: MakeRun) -> None:
    folder = make_run()
    assert (
        report(ReportConfig([folder])).read_bytes() == report(ReportConfig([folder])).read_bytes()
    )


def test_a_page_that_cannot_be_written_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run()
    with pytest.raises(ElektronError, match="is a folder: give --out the name of a file"):
        report(ReportConfig([folder], tmp_path))
    with pytest.raises(ElektronError, match="choose another --out"):
        report(ReportConfig([folder], folder / "config.yaml" / "page.html"))


def test_only_pages_of_ours_are_written_over(make_run: MakeRun, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    run = make_run("run")
    for _ in range(2):
        assert report(ReportConfig([run], out)) == out
    out.write_bytes(b"\xff years of work")
    with pytest.raises(ElektronError, match=r"page\.html exists"):
        report(ReportConfig([run], out))
    assert out.read_bytes() == b"\xff years of work"
