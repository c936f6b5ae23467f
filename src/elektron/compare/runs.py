"""One run of a comparison: a pre-training, then every probe of what it left.

A run's folder holds `pretraining/`, a folder for each probe, and `result.json`, which is written
last. Each part is done once: a pre-training that was interrupted goes on from its checkpoint, and a
finished run that lacks a probe gets only that. Checkpoints are removed when the pre-training is
finished: there is nothing left to resume, and a comparison has many.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elektron.compare.budgets import Budget
from elektron.compare.probes import PRETRAINING, Probe
from elektron.compare.variants import Variant, folder_name
from elektron.errors import ElektronError
from elektron.evidence.reading import Record, group, mapping, read_json
from elektron.finetuning.config import FinetuneConfig
from elektron.folders import write_whole
from elektron.pretraining.config import PretrainConfig

RESULT = "result.json"
LOG = "log.txt"
FIGURES = (
    "flops",
    "seconds",
    "tokens",
    "steps",
    "generator_loss",
    "discriminator_auc",
    "parameters",
    "device",
    "precision",
)
"""What is kept of a pre-training's summary."""


@dataclass(frozen=True)
class Run:
    """What is to be done in one folder."""

    folder: Path
    variant: str
    tuned: dict[str, Any]
    """The values that were chosen, or are being tried, for this variant."""
    budget: Budget
    seed: int
    pretraining: PretrainConfig
    probes: dict[str, FinetuneConfig]

    @classmethod
    def of(
        cls,
        out: Path,
        data: Path,
        variant: Variant,
        tuned: Mapping[str, Any],
        budget: Budget,
        seed: int,
        probes: list[Probe],
    ) -> Run:
        """The run of a variant; raises ElektronError where its configuration cannot work."""
        parts = filter(None, [variant.name, folder_name(tuned), budget.name, f"seed-{seed}"])
        folder = out.joinpath(*parts)
        pretraining = folder / PRETRAINING
        model = pretraining / "discriminator"
        return cls(
            folder=folder,
            variant=variant.name,
            tuned=dict(tuned),
            budget=budget,
            seed=seed,
            pretraining=variant.configured(tuned, budget, data, pretraining, seed),
            probes={
                probe.name: probe.configured(model, folder / probe.name, seed) for probe in probes
            },
        )

    @property
    def title(self) -> str:
        """In words."""
        parts = [self.variant, folder_name(self.tuned), self.budget.name, f"seed {self.seed}"]
        return " · ".join(filter(None, parts))

    def result(self) -> Record | None:
        """What the run has come to; None while anything of it is to be done."""
        found = read_json(self.folder / RESULT, mapping)
        if found is None or (
            "diverged" not in found and self.probes.keys() - group(found, "probes")
        ):
            return None
        return found


def execute(run: Run, may_diverge: bool = False) -> Record:
    """Do what is left to do of a run; what its `result.json` says.

    Args:
        run: the run.
        may_diverge: whether a loss that is no longer finite is a result too, as it is where
            values are tried, and not the end of the comparison.

    Raises:
        ElektronError: something in it cannot work; the message names the run.
        SystemExit: it was interrupted, and its pre-training has been saved.
    """
    if (done := run.result()) is not None:
        return done
    run.folder.mkdir(parents=True, exist_ok=True)
    result: Record = {
        "variant": run.variant,
        "tuned": run.tuned,
        "budget": run.budget.name,
        "seed": run.seed,
    }
    try:
        result |= _pretrain(run)
        result["probes"] = {name: _probe(run, config) for name, config in run.probes.items()}
    except ElektronError as error:
        if not (may_diverge and _has_diverged(run.pretraining.out)):
            raise ElektronError(f"{run.title}: {error}") from error
        result |= {"diverged": str(error), "probes": {}}
    write_whole(run.folder / RESULT, json.dumps(result, indent=1, ensure_ascii=False))
    return result


def _pretrain(run: Run) -> Record:
    """Pre-train, or go on, and draw the report; the figures that are kept."""
    from elektron.evidence.config import ReportConfig
    from elektron.evidence.report import report
    from elektron.evidence.task_report import REPORT
    from elektron.pretraining.loop import pretrain

    summary = pretrain(run.pretraining)
    out = run.pretraining.out
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    if not (out / REPORT).exists():
        report(ReportConfig(runs=[out]))
    return {name: summary.get(name) for name in FIGURES}


def _probe(run: Run, config: FinetuneConfig) -> Record:
    """Fine-tune unless that is done; figures on the reported rows, and those that choices go by."""
    from elektron.evidence.results import is_result, read_result
    from elektron.evidence.task_summary import against_baseline
    from elektron.finetuning.finetune import finetune

    if not is_result(config.out):
        with (run.folder / LOG).open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
            finetune(config)
    found = read_result(config.out)
    kept = found.kept
    return {
        "task": found.task,
        "figure": found.figure,
        "split": found.split,
        "rows": found.rows,
        "value": found.figures[found.figure],
        "interval": found.intervals.get(found.figure),
        "baseline": against_baseline(found),
        "eval": kept.evaluation.get(found.figure) if kept else None,
        "collapsed": kept.collapsed if kept else None,
    }


def _has_diverged(out: Path) -> bool:
    """Whether the pre-training ended because its loss was no longer finite."""
    from elektron.evidence.reading import number
    from elektron.evidence.runs import METRICS, read_run

    if not (out / METRICS).is_file():
        return False
    run = read_run(out)
    # A run that went back and recovered has the alarm too, and metrics of later steps.
    last = run.metrics.alarm[-1] if run.metrics.alarm else {}
    here = (number(last, "step") or 0) >= (number(run.position, "step") or 0)
    return last.get("alarm") == "not-finite" and here
