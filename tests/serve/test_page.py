"""The page in Chromium: typed texts, an uploaded CSV file, errors, and escaped markup."""

import contextlib
import shutil

import pytest

from elektron.explain.config import ExplainConfig
from elektron.explain.explainer import Explainer
from elektron.finetuning.readers.records import Record
from tests.serve.conftest import served
from tests.serve.test_app import ROWS, detected, predicted

pytestmark = pytest.mark.extras

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MARKUP = '<img src=x onerror="document.title=1"><b>the cat</b>'


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium in PATH")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, address, width=1200):
    """Open the page; fail if it requests another address, logs an error or renders markup of a text."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.goto(address)
    page.wait_for_selector("#api a")
    yield page
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert [text for text in errors if "status of 4" not in text] == []
    assert page.query_selector_all("main img, main b b") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def answered(page, area):
    page.wait_for_selector(f"#{area}[aria-busy=false]")
    return page.inner_text(f"#{area}")


def typed(page, **texts):
    for name, text in texts.items():
        page.fill(f"#field-{name}", text)
    page.click("#predict")
    return answered(page, "answer")


@pytest.mark.parametrize("width", [1200, 390])
def test_page_predicts_typed_text_and_csv_and_shows_errors(models, browser, tmp_path, width):
    rows = [{"text": MARKUP}, {"text": 'a "river", my old\nfriend'}]
    expected = predicted(models.config(), rows)
    content = 'n,text\n1,"' + MARKUP.replace('"', '""') + '"\n2,"a ""river"", my old\nfriend"\n'
    (tmp_path / "in.csv").write_text(content)
    (tmp_path / "wrong.csv").write_bytes(b"text\n\xff\n")
    with served(models, max_characters=100) as address, opened(browser, address, width) as page:
        text = typed(page, text=MARKUP)
        assert expected[0]["label"] in text
        assert f"{100 * expected[0]['score']:.1f} %" in text
        assert typed(page, text="x" * 101).startswith("rows[0].text: String should have at most 100")
        assert "is empty" in typed(page, text="")
        page.click("#send")
        assert answered(page, "rows") == "Choose a file first."
        page.set_input_files("#file", tmp_path / "wrong.csv")
        page.click("#send")
        assert "is not UTF-8" in answered(page, "rows")
        page.set_input_files("#file", tmp_path / "in.csv")
        page.click("#send")
        assert "2 rows." in answered(page, "rows")
        cells = [
            [cell.text_content() for cell in row.query_selector_all("td")]
            for row in page.query_selector_all("#rows tbody tr")
        ]
        assert [row[:3] for row in cells] == [
            [str(n), row["text"], found["label"]]
            for n, (row, found) in enumerate(zip(rows, expected, strict=True), start=1)
        ]
        with page.expect_download() as download:
            page.click("#rows button")
        saved = download.value.path().read_text()
        assert saved.startswith("n,text,predicted_label,predicted_score\n" + content[7:40])


def test_page_reports_unreachable_server(models, browser):
    with served(models) as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#api a")
    assert typed(page, text="the cat") == "The server cannot be reached."
    page.close()


def test_tags_are_shaded_in_the_text(models, browser):
    text = "the cat ,  my <b>friend</b> ."
    (found,) = predicted(models.config("token-classification"), [{"tokens": text}])
    with served(models, "token-classification") as address, opened(browser, address) as page:
        typed(page, tokens=text)
        marks = page.query_selector_all("#answer mark")
        page.evaluate("document.querySelectorAll('#answer small').forEach((e) => e.remove())")
        assert page.text_content("#answer p.running") == text
        shaded = "".join(mark.text_content() for mark in marks).replace(" ", "")
    tagged = zip(found["tokens"], found["tags"], strict=True)
    assert shaded == "".join(token for token, tag in tagged if tag != "O")
    assert shaded


def test_the_answer_is_marked_in_the_passage(models, browser):
    row = ROWS["question-answering"][0]
    (found,) = predicted(models.config("question-answering"), [row])
    with served(models, "question-answering") as address, opened(browser, address) as page:
        typed(page, **row)
        page.evaluate("document.querySelector('#answer small').remove()")
        assert page.text_content("#answer mark") == found["answer"]
        assert page.text_content("#answer p.running") == row["context"]


def test_suspicious_words_are_marked(models, browser):
    text = "the 😀 cat apple the <b>river</b> ."
    (found,) = detected(models.config("detection"), [{"text": text}])
    with served(models, "detection") as address, opened(browser, address) as page:
        answer = typed(page, text=text)
        page.evaluate("document.querySelectorAll('#answer small').forEach((e) => e.remove())")
        marks = [mark.text_content() for mark in page.query_selector_all("#answer mark")]
        assert page.text_content("#answer p.running") == text
    assert marks == [word["word"] for word in found["suspicious"]] != []
    assert all(word["suggestions"][0]["word"] in answer for word in found["suspicious"])


def test_explained_words_show_their_attributions(models, browser):
    text = "the <b>cat</b> 😀 sees the river ."
    explainer = Explainer.of(ExplainConfig(model=models.path("classification")))
    found = explainer.explain(Record({"text": text}, {}, "")).as_json()
    with served(models) as address, opened(browser, address) as page:
        page.fill("#field-text", text)
        page.click("#explain")
        answered(page, "answer")
        words = page.query_selector_all("#answer span[title]")
        assert page.text_content("#answer p.running") == text
        assert [word.text_content() for word in words] == found["words"]
        (answer,) = found["answers"]
        assert [float(word.get_attribute("title")) for word in words] == pytest.approx(answer["attributions"], abs=1e-3)
        assert answer["answer"] in page.text_content("#answer b")
        page.fill("#field-text", " ")
        page.click("#explain")
        assert "is empty" in answered(page, "answer")


@pytest.mark.parametrize("task", ["regression", "multiple-choice", "embedding", "translation"])
def test_predictions_of_other_tasks_are_shown(models, browser, task):
    row = ROWS[task][0]
    (found,) = predicted(models.config(task), [row])
    parts = {
        "regression": lambda: str(found["score"]),
        "multiple-choice": lambda: found["choice"],
        "embedding": lambda: f"{len(found['embedding'])} numbers",
        "translation": lambda: found["text"],
    }
    with served(models, task) as address, opened(browser, address) as page:
        texts = {k: "\n".join(v) if isinstance(v, list) else v for k, v in row.items()}
        assert parts[task]() in typed(page, **texts)
