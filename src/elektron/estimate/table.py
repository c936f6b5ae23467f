"""The table of an estimate, for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from elektron.estimate.config import EstimateConfig
from elektron.estimate.figures import Estimate, Fit
from elektron.estimate.memory import HEADROOM
from elektron.progress import duration, quantity
from elektron.terminal import console

UNKNOWN = "not known"
Line = tuple[str, str, str]
"""What it is, how much, and what is to be known about it."""


def print_table(found: Estimate, config: EstimateConfig) -> None:
    """Write everything to stdout."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for section in (parameters, length, time, memory, disk):
        for line in section(found, config):
            table.add_row(*map(escape, line))
        table.add_row()
    with console() as out:
        out.print(table)
        if found.fit is not None:
            out.print(verdict(found.fit, config), markup=False)


def parameters(found: Estimate, config: EstimateConfig) -> Iterator[Line]:
    """Of each network."""
    for name, count in found.parameters.items():
        note = "what both share counted once" if name == "total" else ""
        yield f"parameters, {name}" if name != "total" else "parameters in all", f"{count:,}", note


def length(found: Estimate, config: EstimateConfig) -> Iterator[Line]:
    """Steps, tokens, operations, passes."""
    speed = "a run by the clock: --throughput or --probe true tells"
    yield "steps", *number(found.length.steps, "{:,}", speed)
    yield "tokens", *number(found.length.tokens, "{:.4g}", speed, "padding included")
    yield (
        "FLOPs",
        *number(found.length.flops, "{:.4g}", speed, "matrix products, forward and backward"),
    )
    if config.data is None:
        yield "passes over the corpus", UNKNOWN, "--data tells"
    else:
        yield "passes over the corpus", *number(found.length.passes, "{:.3g}", speed)


def time(found: Estimate, config: EstimateConfig) -> Iterator[Line]:
    """Hours, where a speed is known."""
    if found.length.seconds is None or found.length.tokens_per_second is None:
        yield "time", UNKNOWN, "--throughput TOKENS_A_SECOND or --probe true tells"
        return
    devices = config.devices or config.nproc or 1
    several = "" if devices == 1 else f", {devices} devices that never wait for one another"
    yield "time", duration(found.length.seconds), f"evaluation and saving not included{several}"
    source = "as given"
    if found.probed is not None:
        rows = ", ".join(str(speed.rows) for speed in found.probed.speeds.values())
        source = f"probed on {found.probed.device}, {found.probed.precision}, {rows} rows at once"
    yield "tokens a second", f"{found.length.tokens_per_second:,.0f}", source


def memory(found: Estimate, config: EstimateConfig) -> Iterator[Line]:
    """What a device holds."""
    held = found.memory
    part = "a part" if held.undivided else ""
    yield "memory of a device", size(held.total), f"{found.rows_at_once:,} rows at once; by formula"
    if held.undivided:
        least = "whole networks, before they are divided: no device needs less"
        yield "  at the start", size(held.undivided), least
        yield "  in a step", size(held.at_work), "of which:"
    yield "  weights", size(held.weights), f"fp32{', ' * bool(part)}{part}"
    if held.weight_copies:
        yield "  their copies", size(held.weight_copies), "bf16"
    yield "  gradients", size(held.gradients), part
    yield "  optimizer", size(held.optimizer), "AdamW two numbers a parameter, Muon one"
    if held.undivided:
        yield (
            "  whole at work",
            size(held.together),
            "embeddings, heads, an encoder layer and the next",
        )
    yield "  activations", size(held.activations), "kept for the backward pass; less if compiled"
    yield "  logits", size(held.logits), "of the head with most, for a moment"
    if found.probed is not None and found.probed_formula is not None:
        formula = size(found.probed_formula)
        yield "  measured", size(found.probed.memory), f"in the probe; by formula {formula} for it"


def disk(found: Estimate, config: EstimateConfig) -> Iterator[Line]:
    """What is left in the run's folder."""
    left = found.disk
    total = UNKNOWN if left.total is None else size(left.total)
    yield "disk", total, f"in {config.out}" if left.tokenizer else "without the tokenizer"
    many = "" if left.checkpoints is None else f"{left.checkpoints} × "
    yield "  checkpoints", many + size(left.checkpoint), "and one more while it is written"
    yield "  models", size(left.models), ""


def verdict(fit: Fit, config: EstimateConfig) -> str:
    """Whether it fits, and what would."""
    asked = f"{config.memory_per_device}, {HEADROOM:.0%} of it left free"
    if fit.fits:
        return f"It fits into {asked}."
    return f"It does not fit into {asked}: {fit.advice}."


def number(value: float | None, form: str, missing: str, note: str = "") -> tuple[str, str]:
    """A figure and its note, or that it is not known and what would tell."""
    return (UNKNOWN, missing) if value is None else (form.format(value), note)


def size(count: int) -> str:
    """Bytes in larger units."""
    return quantity(count, "bytes")
