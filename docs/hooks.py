"""Hooks of mkdocs: replace links out of `docs/` by their text, join the lines of Chinese text, and mark Chinese pages
whose English page is newer.

A Chinese page names the version of its English page by the first 12 digits of its SHA-256, as `english` in its front
matter. `python docs/hooks.py` lists the pages to update, with the new digits.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

CHINESE = ".zh.md"
OUTDATED = '!!! note "英文版较新"\n    本页的英文版在翻译之后有改动，请以英文版为准。\n\n'
WIDE = "[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef“”]"
LINE_END = re.compile(rf"(?ms)^(#[^\n]*\n|```.*?^```$)|(?<={WIDE})\n *(?={WIDE})")


def version(chinese: Path) -> str:
    """The present version of the English page of a Chinese page."""
    english = chinese.with_name(chinese.name.replace(CHINESE, ".md"))
    return hashlib.sha256(english.read_bytes()).hexdigest()[:12]


def outdated(folder: Path) -> dict[Path, str]:
    """The Chinese pages whose English page is newer, with its version."""
    pages = {page: version(page) for page in sorted(folder.rglob(f"*{CHINESE}"))}
    return {
        page: english
        for page, english in pages.items()
        if f'\nenglish: "{english}"\n' not in page.read_text(encoding="utf-8")
    }


def join_lines(markdown: str) -> str:
    """Remove the line ends inside Chinese text, which browsers show as spaces; headings and code are unchanged."""
    return LINE_END.sub(r"\1", markdown)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace links that lead out of the site by their text, and mark outdated translations."""
    outside = rf"(?:\.\./){{{page.file.src_uri.count('/') + 1}}}"
    definition = re.compile(rf"^\[([^\]]+)\]: {outside}\S+$\n?", re.MULTILINE)
    names = definition.findall(markdown)
    markdown = definition.sub("", markdown)
    markdown = re.sub(rf"\[([^\]\[]+)\]\({outside}[^)\s]*\)", r"\1", markdown)
    for name in names:
        markdown = re.sub(rf"\[([^\]\[]+)\]\[{re.escape(name)}\]", r"\1", markdown)
        markdown = re.sub(rf"\[{re.escape(name)}\](?![(\[:])", name, markdown)
    source = Path(page.file.abs_src_path)
    if not source.name.endswith(CHINESE):
        return markdown
    return (OUTDATED if page.meta.get("english") != version(source) else "") + join_lines(markdown)


if __name__ == "__main__":
    for chinese, english in outdated(Path(__file__).parent).items():
        print(f'{chinese}: the English page is newer (english: "{english}")')
