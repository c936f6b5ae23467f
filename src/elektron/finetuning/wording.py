"""What fine-tuning and scoring say on standard output when they are done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elektron.reporting.worth import Spread, finding
from elektron.terminal import escape_control

if TYPE_CHECKING:
    from elektron.finetuning.trials import Run

SIDES = ("pretrained", "scratch")


def closing_words(metrics: Mapping[str, Any], runs: Sequence[Run], figure: str, out: Path) -> str:
    """All runs, the figures of the kept one, what pre-training brought, and where everything is."""
    parts = []
    if len(runs) > 1:
        parts.append(table_of_runs(runs, figure))
    if {run.side for run in runs} == set(SIDES):
        parts.append(worth_it(runs, figure))
    parts.append(f"Figures on {metrics['split']}:\n{figures_in_words(metrics)}")
    folder = escape_control(str(out))
    parts.append(
        f"The model:     {folder}\n"
        f"The report:    {folder}/report.html\n"
        f"Predictions:   elektron predict {folder} --input FILE"
    )
    return "\n" + "\n\n".join(parts)


def figures_in_words(metrics: Mapping[str, Any]) -> str:
    """A figure a line, with its interval where it has one."""
    intervals = metrics.get("intervals", {})
    lines = []
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        line = f"  {escape_control(name):24} " + (
            f"{value:>10,}" if isinstance(value, int) else f"{value:>10.4f}"
        )
        if name in intervals:
            low, high = intervals[name]
            line += f"   95 % interval {low:.4f} … {high:.4f}"
        lines.append(line)
    return "\n".join(lines)


def table_of_runs(runs: Sequence[Run], figure: str) -> str:
    """A line a run: its figure on eval and test, the epoch that was kept, and how long it took."""
    names = [escape_control(run.name) for run in runs]
    width = max(map(len, names))
    lines = [f"  {'run':{width}}  {'eval':>8}  {'test':>8}  {'epoch':>6}  {'seconds':>8}"]
    for name, run in zip(names, runs, strict=True):
        test = f"{run.test[figure]:8.4f}" if run.test else f"{'–':>8}"
        mark = "  kept" if run.kept else ""
        lines.append(
            f"  {name:{width}}  {run.eval[figure]:8.4f}  {test}  {run.kept_epoch:6g}"
            f"  {run.seconds:8.0f}{mark}"
        )
    return f"Runs, by {figure}:\n" + "\n".join(lines)


def worth_it(runs: Sequence[Run], figure: str) -> str:
    """Pretrained against scratch: medians, spreads, and what they bear out."""
    pretrained, scratch = (Spread(chosen_figures(runs, side, figure)) for side in SIDES)
    lines = [
        f"  {side:12} median {spread.median:.4f}, "
        f"from {spread.ends[0]:.4f} to {spread.ends[1]:.4f}, seeds: {len(spread.values)}"
        for side, spread in zip(SIDES, (pretrained, scratch), strict=True)
    ]
    said = finding(pretrained, scratch, "{:.4f}".format, "{:.4f}".format)
    return "Was it worth it?\n" + "\n".join(lines) + f"\n  {said}"


def chosen_figures(runs: Sequence[Run], side: str, figure: str) -> list[float]:
    """A side's figures with the settings that were chosen for it: on test, or on eval without one."""
    of_side = [run for run in runs if run.side == side]
    if not any(run.test for run in of_side):
        best = max(of_side, key=lambda run: run.eval[figure])
        return [run.eval[figure] for run in of_side if run.settings == best.settings]
    return [run.test[figure] for run in of_side if run.test]
