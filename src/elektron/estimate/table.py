"""The table of an estimate, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from elektron.estimate.config import HEADROOM, EstimateConfig
from elektron.progress import format_duration, format_quantity
from elektron.terminal import rich_console

if TYPE_CHECKING:
    from elektron.estimate.estimate import Estimate

UNKNOWN = "not known"
Row = tuple[str, str, str]
"""What it is, how much, and a note."""


def print_table(found: Estimate, config: EstimateConfig) -> None:
    """Write everything to stdout."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for section in (counts(found, config), memory(found), disk(found, config)):
        for row in section:
            table.add_row(*map(Text, row))
        table.add_row()
    with rich_console() as out:
        out.print(table)
        if found.fit is not None:
            fits = "It fits" if found.fit.fits else "It does not fit"
            advice = f": {found.fit.advice}" if found.fit.advice else ""
            room = f"{config.memory_per_device}, {HEADROOM:.0%} of it left free"
            out.print(f"{fits} into {room}{advice}.", markup=False)


def counts(found: Estimate, config: EstimateConfig) -> Iterator[Row]:
    """Parameters, length and time."""
    length, measured = found.length, found.measured
    for name, count in found.parameters.items():
        if name == "total":
            yield "parameters in all", f"{count:,}", "what both share counted once"
        else:
            yield f"parameters, {name}", f"{count:,}", ""
    by_clock = "a run by the clock: --throughput or --probe true tells"
    products = "matrix products, forward and backward"
    yield known("steps", length.steps, "{:,}", "", by_clock)
    yield known("tokens", length.tokens, "{:.4g}", "padding included", by_clock)
    yield known("FLOPs", length.flops, "{:.4g}", products, by_clock)
    no_passes = by_clock if config.data else "--data tells"
    yield known("passes over the corpus", length.passes, "{:.3g}", "", no_passes)
    if length.seconds is None:
        yield "time", UNKNOWN, "--throughput TOKENS_A_SECOND or --probe true tells"
        return
    devices = config.devices or config.nproc or 1
    several = "" if devices == 1 else f", {devices} devices that never wait for one another"
    yield "time", format_duration(length.seconds), f"evaluation and saving not included{several}"
    source = "as given"
    if measured is not None:
        rows = ", ".join(str(speed.rows) for speed in measured.speeds.values())
        how = "compiled" if measured.compiled else "eager"
        source = f"measured on {measured.device}, {measured.precision}, {how}, {rows} rows at once"
    yield known("tokens a second", length.tokens_per_second, "{:,.0f}", source, "")


def memory(found: Estimate) -> Iterator[Row]:
    """What a device holds."""
    held = found.memory
    divided = held.unsharded > 0
    part = "a part" if divided else ""
    yield "memory of a device", size(held.total), f"{found.rows_at_once:,} rows at once"
    if divided:
        least = "whole networks, before they are divided: no device needs less"
        yield "  at the start", size(held.unsharded), least
    yield "  weights", size(held.weights), f"fp32{', ' * divided}{part}"
    yield "  gradients", size(held.gradients), part
    yield "  optimizer", size(held.optimizer), part
    if divided:
        yield "  gathered", size(held.gathered), "embeddings, heads, an encoder layer and the next"
    yield "  activations", size(held.activations), "and temporary tensors; less if compiled"
    if found.measured is not None:
        rows = max(speed.rows for speed in found.measured.speeds.values())
        yield "  measured", size(found.measured.memory), f"with {rows:,} rows at once"


def disk(found: Estimate, config: EstimateConfig) -> Iterator[Row]:
    """What is left in the run's folder."""
    left = found.disk
    yield "disk", UNKNOWN if left.total is None else size(left.total), f"in {config.out}"
    many = "" if left.checkpoints is None else f"{left.checkpoints} × "
    yield "  checkpoints", many + size(left.checkpoint), "and one more while it is written"
    yield "  models", size(left.models), ""


def known(name: str, value: float | None, form: str, note: str, missing: str) -> Row:
    """A figure and its note, or that it is not known and what would tell."""
    return (name, UNKNOWN, missing) if value is None else (name, form.format(value), note)


def size(count: int) -> str:
    """Bytes in larger units."""
    return format_quantity(count, "bytes")
