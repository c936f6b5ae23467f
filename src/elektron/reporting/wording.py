"""How the report writes numbers, times and text that others wrote."""

from __future__ import annotations

from elektron import progress

NOTHING = "–"
"""Stands where a figure is not known."""


def decimal(value: float | None, digits: int) -> str:
    """A figure with a fixed number of decimals."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as percent."""
    return NOTHING if value is None else f"{value * 100:.{digits}f} %"


def whole(value: float | None) -> str:
    """A count written out: `2,457,600`."""
    return NOTHING if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """A large count to three digits: `2.46 M`."""
    if value is None:
        return NOTHING
    for size, suffix in ((1e9, "billion"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:  # what rounds to 1.00 of this size
            return (
                f"{value / size:.3g} {suffix}"
                if value < size * 999.5
                else f"{value / size:,.0f} {suffix}"
            )
    return f"{value:.3g}"


def scientific(value: float | None) -> str:
    """A very large number: `1.2 × 10¹³`."""
    if value is None:
        return NOTHING
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa} × 10{raised}"


def duration(seconds: float | None) -> str:
    """A time in its two largest units: `2 min 52 s`."""
    return NOTHING if seconds is None else progress.format_duration(seconds)
