"""A page from a template: everything printed is escaped, and the file stands alone.

The styles are inside the page, it has no script, and its own content policy forbids a browser to
load anything. All that others wrote is escaped by the template, with control characters written out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from elektron.configuration import format_value
from elektron.errors import ElektronError
from elektron.io.files import atomic_write, make_parents, refuse_foreign
from elektron.reporting import wording
from elektron.reporting.reading import number
from elektron.terminal import escape_control

OURS = b'<p class="eyebrow">Elektron'
"""Stands in every page."""


def render(template: str, **content: Any) -> str:
    """The page that a template of this folder makes of its content."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters |= {
        "decimal": wording.decimal,
        "number": number,
        "percent": wording.percent,
        "whole": wording.whole,
        "setting": format_value,
    }
    return environment.get_template(template).render(**content)


def write_page(out: Path, page: str) -> None:
    """Write the page.

    Raises:
        ElektronError: it cannot be written there, or what lies there is no such page.
    """
    if out.is_dir():
        raise ElektronError(
            f"{out} is a folder: give --out the name of a file, such as report.html"
        )
    refuse_foreign(out, OURS)
    try:
        make_parents(out)
        atomic_write(out, page)
    except OSError as error:
        raise ElektronError(
            f"{out}: the report cannot be written ({error.strerror}): choose another --out"
        ) from error


def _finalize(value: Any) -> Any:
    """What every expression of the template passes through before it is escaped."""
    return (
        escape_control(value) if isinstance(value, str) and not isinstance(value, Markup) else value
    )
