"""A drawing of matplotlib as an `<svg>` element that lives inside a page.

Its colours are placeholders that become CSS variables, and its text takes the page's font, so that
one drawing serves light and dark. Its ids carry its name, so that several drawings share a page.
Text that others wrote, such as the names of runs, has no place in a drawing: the page writes the
legend, and with it escapes them.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

# Colours that no default of matplotlib has, and the CSS variables that take their place.
TEXT, GRID, RULE = "#010203", "#010204", "#010205"
RUN_COLOURS = [f"#0102{number:02x}" for number in range(0x10, 0x18)]
CSS_VARIABLES = {TEXT: "--chart-text", GRID: "--chart-grid", RULE: "--chart-rule"} | {
    colour: f"--run-{index}" for index, colour in enumerate(RUN_COLOURS, start=1)
}
COLOUR = re.compile("|".join(CSS_VARIABLES))
FONT = re.compile(r"font-family: [^;]*;?")


def inline_svg(figure: Figure, name: str, title: str) -> Markup:
    """The drawing as an `<svg>` element for a page."""
    file = io.StringIO()
    metadata = dict.fromkeys(["Date", "Creator", "Format", "Type"])
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    root = ET.fromstring(file.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}style", "}metadata")):  # a style would reach the whole page
                parent.remove(child)
    for element in root.iter():
        _adapt(element, name)
    root.attrib = {
        "class": "chart",
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": title,
    }
    return Markup(ET.tostring(root, encoding="unicode"))


def _adapt(element: ET.Element, chart: str) -> None:
    """Make an element fit for HTML: no name spaces, ids of its own, the page's colours and font."""
    element.tag = element.tag.rpartition("}")[2]
    attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    if element.tag == "g":
        attributes.pop("id", None)  # nothing refers to groups
    for key, value in attributes.items():
        if key == "id":
            attributes[key] = f"{chart}-{value}"
        elif key in ("href", "clip-path"):
            attributes[key] = value.replace("#", f"#{chart}-")
        elif key == "style":
            attributes[key] = COLOUR.sub(_css_variable, FONT.sub("", value))
    element.attrib = attributes


def _css_variable(colour: re.Match[str]) -> str:
    return f"var({CSS_VARIABLES[colour[0]]})"
