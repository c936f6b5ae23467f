"""Checks for the HTML of reports."""

from html.parser import HTMLParser

HOSTILE = '"><img onerror=alert(1)>\x1b[31m\u202e<script>alert(1)<../../x'
VOID = {"meta", "br", "img", "link", "input", "col"}


class Page(HTMLParser):
    """Elements, attributes and text of a page; an element left open is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def stands_alone(html: Page) -> None:
    """Assert that the page has no script, loads nothing, and has a policy that forbids both."""
    assert not {"script", "link", "img", "iframe", "object"} & set(html.elements)
    for name, value in html.attributes:
        assert name != "src" and not name.startswith("on")
        assert "://" not in value
        assert name != "href" or value.startswith("#")
    policy = [value for name, value in html.attributes if "default-src" in value]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]
