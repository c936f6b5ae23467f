"""What a comparison of variants has found: runs at equal compute, and the figures of their probes.

`elektron compare` writes a `VariantRun` as each run's `result.json` and all of it as `comparison.json`; the
table, the plot and the page are made of nothing else.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from elektron.io.files import from_json
from elektron.reporting.kinds import Kind, kind
from elektron.reporting.resolution import Verdict, verdict
from elektron.reporting.worth import Spread


@dataclass(frozen=True)
class Probed:
    """What a run has got on a probe."""

    task: str
    figure: str
    """The task's own measure."""
    split: Literal["test", "eval"]
    """The rows whose figure is reported."""
    rows: float | None
    value: float
    interval: tuple[float, float] | None
    """Its 95 % bootstrap interval."""
    eval: float | None
    """The figure on the rows that choices go by."""
    collapsed: str | None
    """In words, how it says the same of everything."""

    @property
    def kind(self) -> Kind:
        """How the figure reads."""
        return kind(self.figure, self.task)


@dataclass(frozen=True)
class VariantRun:
    """One pre-training of a variant, and its probes by name."""

    variant: str
    tuned: dict[str, Any]
    """Values that were chosen, or tried, for this variant."""
    budget: str
    seed: int
    folder: str
    """As seen from the comparison's; a name in it is that of a probe, or `pretraining`."""
    flops: float | None = None
    seconds: float | None = None
    tokens: float | None = None
    generator_loss: float | None = None
    discriminator_auc: float | None = None
    parameters: dict[str, int] = field(default_factory=dict)
    device: str | None = None
    diverged: str | None = None
    """The error, where the loss was no longer finite."""
    probes: dict[str, Probed] = field(default_factory=dict)

    @classmethod
    def read(cls, content: Any) -> VariantRun:
        """From JSON; raises TypeError for anything else."""
        try:
            found: VariantRun = from_json(content, cls, "the result")
        except ValueError as error:
            raise TypeError(str(error)) from error
        return found

    def path(self, name: str) -> str:
        """The folder of a probe, or of the pre-training, as seen from the comparison's."""
        return str(PurePosixPath(self.folder, name))


@dataclass(frozen=True)
class Variant:
    """One way to pre-train."""

    name: str
    settings: dict[str, Any]
    """What tells it from the others."""
    chosen: dict[str, Any] = field(default_factory=dict)
    """The values that were tuned."""
    trials: list[VariantRun] = field(default_factory=list)
    """The runs by which they were chosen."""
    mean_ranks: list[float] = field(default_factory=list)
    """Of the trials over the probes; 1 is best."""

    @property
    def at_the_edge(self) -> list[str]:
        """Tuned numbers of which the largest or smallest value tried was best."""
        tried = {name: [trial.tuned[name] for trial in self.trials] for name in self.chosen}
        return [
            name
            for name, values in tried.items()
            if all(isinstance(value, int | float) for value in values)
            and min(values) < max(values)
            and self.chosen[name] in (min(values), max(values))
        ]


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
    probes: dict[str, str]
    """Their names and what follows `elektron finetune`."""
    variants: list[Variant]
    """The first is what the others are compared with."""
    runs: list[VariantRun]

    def first(self, probe: str) -> Probed:
        """Of the first run: all have the same task, figure and rows."""
        return self.runs[0].probes[probe]

    def runs_of(self, variant: str, budget: str) -> list[VariantRun]:
        """Of all seeds."""
        return [run for run in self.runs if (run.variant, run.budget) == (variant, budget)]

    def spread(self, probe: str, variant: str, budget: str) -> Spread:
        """The probe's figure over the seeds."""
        return Spread([run.probes[probe].value for run in self.runs_of(variant, budget)])

    def verdict(self, probe: str, variant: str, budget: str) -> Verdict | None:
        """What the seeds bear out against the first variant; None for the first itself."""
        first = self.variants[0].name
        if variant == first:
            return None
        base, other = (
            [run.probes[probe] for run in self.runs_of(name, budget)] for name in (first, variant)
        )
        return verdict(
            [probed.value for probed in base],
            [probed.value for probed in other],
            [probed.interval for probed in (*base, *other)],
            self.first(probe).kind.less_is_better,
        )

    def as_json(self) -> dict[str, Any]:
        """As `comparison.json` has it."""
        return dataclasses.asdict(self)


def median(runs: Sequence[VariantRun], figure: str) -> float | None:
    """Of a figure of the pre-training; None where no run has it."""
    known = [value for run in runs if (value := getattr(run, figure)) is not None]
    return statistics.median(known) if known else None
