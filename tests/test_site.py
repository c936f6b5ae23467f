"""The documentation site: its hooks, its Markdown, and equal code blocks in Chinese and English pages."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

DOCS = Path(__file__).parents[1] / "docs"
specification = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
hooks = importlib.util.module_from_spec(specification)
specification.loader.exec_module(hooks)

CHINESE = sorted(DOCS.rglob("*.zh.md"))
LIST, TABLE = r"(?:[-*+]|\d+\.) ", r"\|"


def unrendered(markdown: str) -> list[str]:
    """Lines that GitHub renders as intended and the Markdown of the site does not.

    A list or a table needs a blank line or a heading before it; paragraphs and code in an item are indented by four
    spaces.
    """
    text = re.sub(r"(?ms)^( *)```.*?^\1```$", r"\1code", markdown)
    text = re.sub(r"(?m)^#+ .*$", "", text)
    found = []
    for block in re.split(r"\n\s*\n", text):
        first, *others = block.strip("\n").split("\n")
        if re.match(r" {1,3}\S", first):
            found.append(first)
        starts = [kind for kind in (LIST, TABLE) if not re.match(kind, first.strip())]
        found += [line for line in others for kind in starts if re.match(f"{kind}| {{1,3}}code$", line)]
    return found


def page(path: Path, folder: Path, english: str = "") -> SimpleNamespace:
    file = SimpleNamespace(src_uri=str(path.relative_to(folder)), abs_src_path=str(path))
    return SimpleNamespace(file=file, meta={"english": english})


def test_links_outside_docs_become_text(tmp_path):
    path = tmp_path / "guides" / "a.md"
    text = (
        "[`Pair`][pair], [pair] and [code](../../src/a.py), [page](../b.md), [site](x.md)\n\n"
        "[pair]: ../../src/pair.py\n"
    )
    assert hooks.on_page_markdown(text, page(path, tmp_path)) == (
        "`Pair`, pair and code, [page](../b.md), [site](x.md)\n\n"
    )


def test_outdated_translation_is_marked(tmp_path):
    english, chinese = tmp_path / "a.md", tmp_path / "a.zh.md"
    english.write_text("one")
    digest = hooks.version(chinese)
    chinese.write_text(f'---\nenglish: "{digest}"\n---\n')
    assert not hooks.outdated(tmp_path)
    assert hooks.on_page_markdown("text", page(chinese, tmp_path, digest)) == "text"
    english.write_text("two")
    assert hooks.outdated(tmp_path) == {chinese: hooks.version(chinese)}
    assert hooks.on_page_markdown("text", page(chinese, tmp_path, digest)).endswith("text")
    assert "!!!" in hooks.on_page_markdown("text", page(chinese, tmp_path, digest))


def test_join_lines_joins_chinese_text_except_headings_and_code():
    text = "## 中\n文\n- 中文，\n  换行\n- word\n中\n\n中\n```\n中\n文\n```\n"
    assert hooks.join_lines(text) == text.replace("，\n  换", "，换")


@pytest.mark.parametrize("chinese", CHINESE, ids=lambda path: path.name)
def test_chinese_page_has_same_code_blocks_as_english(chinese):
    """Pages that are marked as older than the English page are skipped."""
    if chinese in hooks.outdated(DOCS):
        pytest.skip("the English page is newer")
    english = chinese.with_name(chinese.name.replace(".zh.md", ".md"))
    commands = [
        re.findall(r"```\w*\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL) for path in (english, chinese)
    ]
    assert commands[0] == commands[1]


@pytest.mark.parametrize(
    ("markdown", "faults"),
    [
        ("# A\n- one\n- two\n  more\n\n    ```\n    - x\n    ```\n\n    Text.\n\n- three", []),
        ("Text:\n- one", ["- one"]),
        ("Text:\n1. one", ["1. one"]),
        ("```\nx\n```\n| a |\n| - |", ["| a |", "| - |"]),
        ("- one\n\n  ```\n  x\n  ```\n", ["  code"]),
        ("- one\n\n  Text.", ["  Text."]),
    ],
)
def test_unrendered_markdown_is_detected(markdown, faults):
    assert unrendered(markdown) == faults


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.name)
def test_lists_tables_and_code_are_rendered(path):
    assert not unrendered(path.read_text(encoding="utf-8"))


def test_offline_search_uses_local_script():
    """The offline plugin would load this script from a CDN; it must follow i18n to index all languages."""
    settings = yaml.safe_load(DOCS.with_name("mkdocs.yml").read_text(encoding="utf-8"))
    [script] = settings["extra"]["polyfills"]
    assert "iframe-worker" in script
    assert (DOCS / script).is_file()
    plugins = [next(iter(plugin)) if isinstance(plugin, dict) else plugin for plugin in settings["plugins"]]
    assert plugins.index("i18n") < plugins.index("offline")
