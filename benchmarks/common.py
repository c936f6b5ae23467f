"""Shared by the benchmarks: options, description of the machine, a process for each side, tables, results."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Run = Callable[[Any], Any]


def new_parser(doc: str | None, name: str, suffix: str = "json") -> argparse.ArgumentParser:
    """A parser with the first line of the module's docstring and `--json`, the file of the results."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n", maxsplit=1)[0])
    path = Path("benchmarks/results") / f"{name}.{suffix}"
    parser.add_argument("--json", type=Path, default=path, help="file of the results")
    return parser


def machine() -> dict[str, Any]:
    """Print and return the processor, its default precision, and the versions of the packages. (Imports torch.)"""
    import torch

    from elektron.accelerator import Accelerator, cpu_info
    from elektron.pretraining.train import versions

    accelerator = Accelerator.choose()
    on_cpu = accelerator.device.type == "cpu"
    result: dict[str, Any] = {
        "device": cpu_info().get("model name", "CPU") if on_cpu else accelerator.name,
        "kind": accelerator.kind,
        "precision": accelerator.precision,
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }
    print(
        "{device} ({kind}), {threads} threads, {precision}, torch {versions[torch]}, "
        "transformers {versions[transformers]}".format(**result),
        flush=True,
    )
    return result


def save(result: dict[str, Any], path: Path) -> None:
    """Write the results as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def print_table(title: str, headings: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table whose first column is aligned to the left."""
    table = Table(title=title)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=130).print(table)


def print_target(name: str, value: float, target: float, at_most: bool = False) -> None:
    """Print whether a target is reached."""
    reached = value <= target if at_most else value >= target
    print(f"{name}: {value:.3g}, target {target:g}: {'reached' if reached else 'missed'}", flush=True)


def median_and_range(values: Sequence[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Our speed divided by theirs, round by round."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


class Side:
    """One side of a comparison in its own process, with its own memory allocator and threads.

    Args:
        make: A function of a module that prepares the side and warms it up. It returns the value of
            `ready`, and a function that does the measured work.
        arguments: The arguments of `make`.
    """

    def __init__(self, make: Callable[..., tuple[Any, Run]], *arguments: Any) -> None:
        self.process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self.ready = self.process.submit(_start, make, arguments).result()

    def run(self, argument: Any) -> Any:
        """Call the side's function once and return its result; the process is idle otherwise."""
        return self.process.submit(_run, argument).result()

    def close(self) -> None:
        """End the process."""
        self.process.shutdown()


_functions: list[Run] = []  # of the side in this process


def _start(make: Callable[..., tuple[Any, Run]], arguments: tuple[Any, ...]) -> Any:
    ready, run = make(*arguments)
    _functions.append(run)
    return ready


def _run(argument: Any) -> Any:
    return _functions[0](argument)
