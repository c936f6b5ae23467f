"""Formatting of numbers, and escaping of control characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elektron.reporting.formatting import compact, duration, integer, percent, scientific
from elektron.terminal import escape_control


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (46.21, "46.2"),
        (999.4, "999"),
        (999.7, "1 k"),
        (742_144, "742 k"),
        (999_900, "1 M"),
        (2_457_600, "2.46 M"),
        (3.3e9, "3.3 billion"),
        (1.5e12, "1,500 billion"),
        (None, "–"),
    ],
)
def test_short(value: float | None, text: str) -> None:
    assert compact(value) == text


def test_scientific_percent_integer_and_duration() -> None:
    assert scientific(1.31e13) == "1.3 × 10¹³" and scientific(None) == "–"
    assert percent(0.3579) == "35.8 %" and percent(1, 0) == "100 %"
    assert integer(1200.0) == "1,200"
    assert duration(172) == "2 min 52 s" and duration(None) == "–"


@given(st.text())
def test_escape_control_escapes_control_characters_only(text: str) -> None:
    shown = escape_control(text)
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0x202A <= ord(c) <= 0x202E for c in shown)
    assert escape_control("naïve 汉字 می\u200cخواهم") == "naïve 汉字 می\u200cخواهم"
    assert escape_control("\x1b[31m\n") == "\\x1b[31m\\n"
