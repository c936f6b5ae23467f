"""A fine-tuned model's runs side by side: which settings were tried, and what several seeds gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elektron.reporting.reading import Record
from elektron.reporting.results import Figures, Result, Tuning
from elektron.reporting.results import Side as SideName
from elektron.reporting.wording import whole
from elektron.reporting.worth import Spread, finding

SIDES: dict[SideName, str] = {"pretrained": "pre-trained", "scratch": "from scratch"}


@dataclass(frozen=True)
class Trial:
    """The runs of one side with the same settings."""

    side: SideName
    settings: Record
    """Those that vary."""
    runs: list[Tuning]

    def spread(self, split: str, figure: str) -> Spread | None:
        """Of the runs that have the figure on `eval` or `test`; None where none has."""
        known = [figures_on(run, split).get(figure) for run in self.runs]
        values = [value for value in known if value is not None]
        return Spread(values) if values else None


def figures_on(run: Tuning, split: str) -> Figures:
    """Its figures on `eval` or `test`."""
    return run.test if split == "test" else run.evaluation


def trials(runs: Sequence[Tuning]) -> list[Trial]:
    """The runs by side and settings, in the order in which these were tried."""
    found: list[Trial] = []
    for run in runs:
        for trial in found:
            if (trial.side, trial.settings) == (run.side, run.settings):
                trial.runs.append(run)
                break
        else:
            found.append(Trial(run.side, run.settings, [run]))
    return found


def settings_tried(runs: Sequence[Tuning]) -> list[str]:
    """Names of the settings that differ between runs."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return [
        name
        for name in names
        if any(run.settings.get(name) != runs[0].settings.get(name) for run in runs)
    ]


def chosen(result: Result, side: SideName) -> Trial | None:
    """The settings that a side goes by: those kept, or else run most often, or else best on eval."""

    def claim(trial: Trial) -> tuple[bool, int, float]:
        spread = trial.spread("eval", result.figure)
        best = spread.median if spread else float("-inf")
        return any(run.kept for run in trial.runs), len(trial.runs), best

    return max((t for t in trials(result.runs) if t.side == side), key=claim, default=None)


def split_of(found: Sequence[Trial], figure: str) -> str:
    """The rows on which trials compare: test where all their runs were scored on it, else eval."""
    runs = [run for trial in found for run in trial.runs]
    return "test" if runs and all(figure in run.test for run in runs) else "eval"


@dataclass(frozen=True)
class SideOf:
    """One side of “was it worth it?”."""

    name: str
    trial: Trial
    spread: Spread


@dataclass(frozen=True)
class Worth:
    """Pre-trained against from scratch."""

    sides: list[SideOf]
    """The pre-trained one first."""
    split: str
    sentence: str

    @property
    def spreads(self) -> dict[str, Spread]:
        """The figure of each side over its seeds, by its name."""
        return {side.name: side.spread for side in self.sides}


def was_it_worth_it(result: Result) -> Worth | None:
    """What the seeds of both sides bear out; None without two sides."""
    found = [trial for side in SIDES if (trial := chosen(result, side)) is not None]
    split = split_of(found, result.figure)
    sides = [
        SideOf(SIDES[trial.side], trial, spread)
        for trial in found
        if (spread := trial.spread(split, result.figure)) is not None
    ]
    if len(sides) < len(SIDES):
        return None
    kind = result.kind(result.figure)
    pretrained, scratch = (side.spread for side in sides)
    found_out = finding(pretrained, scratch, kind.write, kind.write_difference)
    said = [found_out, *map(_collapses, sides), _uncertainty(result, split)]
    return Worth(sides, split, " ".join(filter(None, said)))


def _collapses(side: SideOf) -> str:
    """How many of the seeds said the same of everything, which is no figure of the network's."""
    count = sum(run.collapsed is not None for run in side.trial.runs)
    if not count:
        return ""
    return f"{count} of {len(side.trial.runs)} seeds {side.name} {'have' if count > 1 else 'has'} collapsed."


def _uncertainty(result: Result, split: str) -> str:
    """How far other rows would move the figures."""
    ends = result.intervals.get(result.figure)
    if ends is None or result.split != split or result.rows is None:
        return ""
    kind = result.kind(result.figure)
    return (
        f"Another {whole(result.rows)} {split} rows would move such a figure "
        f"by about ± {kind.write_difference((ends[1] - ends[0]) / 2)}."
    )
