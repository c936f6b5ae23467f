"""Hooks of the site: links to files outside `docs/` become plain text, since the site has only the pages."""

import re
from typing import Any


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace links that lead out of the site by their text."""
    depth = page.file.src_uri.count("/")
    outside = rf"(?:\.\./){{{depth + 1}}}"
    inline = re.compile(r"\[([^\]\[]+)\]\(" + outside + r"[^)\s]*\)")
    definition = re.compile(r"^\[([^\]]+)\]: " + outside + r"\S+$\n?", re.MULTILINE)
    names = definition.findall(markdown)
    markdown = inline.sub(r"\1", definition.sub("", markdown))
    for name in names:
        markdown = re.sub(r"\[([^\]\[]+)\]\[" + re.escape(name) + r"\]", r"\1", markdown)
        markdown = re.sub(r"\[" + re.escape(name) + r"\](?![(\[:])", name, markdown)
    return markdown
