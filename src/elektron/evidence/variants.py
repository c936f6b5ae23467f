"""What a comparison of variants has found: runs at equal compute, and the figures of their probes.

`elektron compare` fills this in and writes it as `comparison.json`; the table, the plot and the page
are made of nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from elektron.evidence.kinds import Kind, kind
from elektron.evidence.resolution import Verdict, verdict
from elektron.evidence.worth import Spread


@dataclass(frozen=True)
class Probe:
    """A task that every run is judged by."""

    name: str
    command: str
    """What follows `elektron finetune`."""
    task: str
    figure: str
    """The task's own measure."""
    split: Literal["test", "eval"]
    """The rows whose figures are reported."""
    rows: float | None
    baseline: str = ""
    """What a constant prediction gets on these rows, in a sentence."""

    @property
    def kind(self) -> Kind:
        """How the figure reads."""
        return kind(self.figure, self.task)


@dataclass(frozen=True)
class Probed:
    """What a run has got on a probe."""

    value: float
    interval: tuple[float, float] | None
    """Its 95 % interval over rows drawn anew."""
    collapsed: str | None
    """In words, how it predicts the same for everything."""
    folder: str
    """Of the fine-tuned model, as seen from the comparison."""


@dataclass(frozen=True)
class VariantRun:
    """One pre-training of a variant, and its probes by name."""

    variant: str
    budget: str
    seed: int
    folder: str
    """Of the pre-training, as seen from the comparison."""
    flops: float | None
    seconds: float | None
    tokens: float | None
    generator_loss: float | None
    discriminator_auc: float | None
    device: str
    probes: dict[str, Probed]


@dataclass(frozen=True)
class Trial:
    """Values that were tried for a variant."""

    settings: dict[str, Any]
    figures: dict[str, float]
    """By probe, on the rows that choices go by."""
    mean_rank: float
    """Over the probes, 1 is best."""
    diverged: bool


@dataclass(frozen=True)
class Variant:
    """One way to pre-train."""

    name: str
    settings: dict[str, Any]
    """What tells it from the others."""
    parameters: dict[str, Any]
    """Of each network."""
    chosen: dict[str, Any]
    """The values that were tuned."""
    trials: list[Trial]

    @property
    def at_the_edge(self) -> list[str]:
        """Tuned numbers of which the largest or smallest value tried was best."""
        found = []
        for name, value in self.chosen.items():
            tried = {trial.settings[name] for trial in self.trials}
            if not all(isinstance(each, int | float) for each in tried):
                continue
            if len(tried) > 1 and value in (min(tried), max(tried)):
                found.append(name)
        return found


@dataclass(frozen=True)
class Comparison:
    """Everything that the page says."""

    recipe: str
    data: str
    shared: dict[str, Any]
    """Settings that all variants were given."""
    budget_kind: Literal["time", "flops"]
    budgets: list[str]
    """The smallest first."""
    seeds: list[int]
    tuned: list[str]
    """Names of the settings that were tuned."""
    probes: list[Probe]
    variants: list[Variant]
    """The first is what the others are compared with."""
    runs: list[VariantRun]

    def runs_of(self, variant: str, budget: str) -> list[VariantRun]:
        """Of all seeds."""
        return [run for run in self.runs if (run.variant, run.budget) == (variant, budget)]

    def spread(self, probe: Probe, variant: str, budget: str) -> Spread:
        """The probe's figure over the seeds."""
        return Spread([run.probes[probe.name].value for run in self.runs_of(variant, budget)])

    def verdict(self, probe: Probe, variant: str, budget: str) -> Verdict | None:
        """What the seeds bear out against the first variant; None for the first itself."""
        first = self.variants[0].name
        if variant == first:
            return None
        sides = (
            [run.probes[probe.name] for run in self.runs_of(name, budget)]
            for name in (first, variant)
        )
        base, other = sides
        return verdict(
            [probed.value for probed in base],
            [probed.value for probed in other],
            [probed.interval for probed in (*base, *other)],
            probe.kind.less_is_better,
        )


def medians(runs: Sequence[VariantRun], figure: str) -> float | None:
    """Of a figure of the pre-training; None where no run has it."""
    known = [value for run in runs if (value := getattr(run, figure)) is not None]
    return Spread(known).median if known else None
