"""The table of an estimate."""

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
"""Name, value and note."""


def print_table(found: Estimate, config: EstimateConfig) -> None:
    """Print everything to standard output."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for section in (length_rows(found, config), memory_rows(found), disk_rows(found, config)):
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


def length_rows(found: Estimate, config: EstimateConfig) -> Iterator[Row]:
    """Parameters, length and time."""
    length, measured = found.length, found.measured
    for name, count in found.parameters.items():
        if name == "total":
            yield "parameters in total", f"{count:,}", "shared ones counted once"
        else:
            yield f"parameters, {name}", f"{count:,}", ""
    by_time = "a run by time: --throughput or --probe true tells"
    yield known("steps", length.steps, "{:,}", "", by_time)
    yield known("tokens", length.tokens, "{:.4g}", "padding included", by_time)
    products = "matrix products, forward and backward"
    yield known("FLOPs", length.flops, "{:.4g}", products, by_time)
    missing = by_time if config.data else "--data tells"
    yield known("passes over the corpus", length.passes, "{:.3g}", "", missing)
    if length.seconds is None:
        yield "time", UNKNOWN, "--throughput TOKENS_A_SECOND or --probe true tells"
        return
    devices = config.devices or config.nproc or 1
    several = "" if devices == 1 else f", {devices} devices that never wait for one another"
    yield "time", format_duration(length.seconds), f"evaluation and saving not included{several}"
    source = "as given"
    if measured is not None:
        how = f"{'compiled' if measured.compiled else 'eager'}, {measured.rows} rows at once"
        source = f"measured on {measured.device}, {measured.precision}, {how}"
    yield known("tokens a second", length.tokens_per_second, "{:,.0f}", source, "")


def memory_rows(found: Estimate) -> Iterator[Row]:
    """Memory of a device."""
    memory, sharded = found.memory, found.memory.unsharded > 0
    shard = "a shard" if sharded else ""
    yield "memory of a device", size(memory.total), f"{found.rows_at_once:,} rows at once"
    if sharded:
        note = "whole networks, before they are sharded: no device needs less"
        yield "  at the start", size(memory.unsharded), note
    yield "  weights", size(memory.weights), f"fp32{', ' * sharded}{shard}"
    yield "  gradients", size(memory.gradients), shard
    yield "  optimizer", size(memory.optimizer), shard
    if sharded:
        note = "embeddings, heads, an encoder layer and the next"
        yield "  gathered", size(memory.gathered), note
    yield "  activations", size(memory.activations), "and temporary tensors; less if compiled"
    if found.measured is not None:
        note = f"with {found.measured.rows:,} rows at once"
        yield "  measured", size(found.measured.memory), note


def disk_rows(found: Estimate, config: EstimateConfig) -> Iterator[Row]:
    """Disk space of the run's folder."""
    disk = found.disk
    yield "disk", UNKNOWN if disk.total is None else size(disk.total), f"in {config.out}"
    count = "" if disk.checkpoints is None else f"{disk.checkpoints} × "
    yield "  checkpoints", count + size(disk.checkpoint), "and one more while it is written"
    yield "  models", size(disk.models), ""


def known(name: str, value: float | None, form: str, note: str, missing: str) -> Row:
    """A value and its note, or that it is unknown and which option would tell."""
    return (name, UNKNOWN, missing) if value is None else (name, form.format(value), note)


def size(count: int) -> str:
    """Bytes in larger units."""
    return format_quantity(count, "bytes")
