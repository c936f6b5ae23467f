"""`elektron compare`: variants of a pre-training at equal compute, compared by fine-tuning on probe tasks.

Everything is checked before the first run. Where values are tuned, each variant first tries them with seed 1 at the
smallest budget. Then every variant runs at every budget with every seed, all variants with one seed before the next, so
that the results after an interruption can be compared. A run that is done is not done again.
"""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from scipy.stats import rankdata

from elektron.compare import probes as probe_texts
from elektron.compare import variants as variant_texts
from elektron.compare.config import CompareConfig
from elektron.compare.probes import Probe
from elektron.compare.runs import Run, execute_all, make_run, visible_gpus
from elektron.compare.variants import Budget
from elektron.configuration import format_value, to_flat_dict
from elektron.corpus.blocks import BlockStore
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.io.files import atomic_write
from elektron.io.folders import is_free, make_folder
from elektron.pretraining.config import resolve
from elektron.pretraining.setup import prepare_run, with_released_sizes
from elektron.progress import format_duration
from elektron.reporting.reading import Record, group, mapping, read_json
from elektron.reporting.variants_report import (
    PAGE,
    Comparison,
    VariantResult,
    VariantRun,
    write_comparison,
)
from elektron.sweep import format_settings
from elektron.terminal import echo

log = logging.getLogger(__name__)

TUNING_SEED = 1
SETTINGS = "settings.json"
# Paths, how often is logged, and what differs between the runs of a variant.
NOT_OF_THE_VARIANT = ("data", "out", "seed", "log_every", "steps", "tokens", "minutes", "flops")
NOT_OF_THE_PROBE = ("model", "out", "seed")


def compare(config: CompareConfig) -> Comparison:
    """Do the runs that are not done yet, and write the comparison into `config.out`.

    Raises:
        ElektronError: a variant, probe or budget that cannot work, another comparison's folder, or
            a run that failed.
        SystemExit: it was interrupted in a pre-training, which has been saved.
    """
    comparison = Work(config).done()
    echo(write_comparison(config.out, comparison))
    log.info("the page is %s", config.out / PAGE)
    return comparison


class Work:
    """A comparison in progress."""

    def __init__(self, config: CompareConfig) -> None:
        """Check everything; raises ElektronError for what cannot work."""
        self.config = config
        self.budgets = variant_texts.parse_budgets(config.budget)
        self.probes = probe_texts.parse_all(config.probe)
        self.variants = variant_texts.variants(config.config, config.sweep)
        self.candidates = variant_texts.values_to_tune(config.tune, self.variants[0])
        # Making a run checks its configuration.
        smallest, *_ = [self.trials(budget) for budget in self.budgets]
        store = BlockStore.open(config.data)
        refuse_what_cannot_train(smallest, store)
        open_folder(config.out, store, smallest, self.probes, list(self.candidates[0]))
        self.gpus = visible_gpus()
        self.took: list[tuple[Run, float, float]] = []
        """Of the runs of this session: seconds of training, and of the rest."""

    def trials(self, budget: Budget) -> list[Run]:
        """A run for each variant with each of the values to tune over; with none, with its own."""
        return [
            self._run(variant, candidate, budget, TUNING_SEED)
            for candidate in self.candidates
            for variant in self.variants
        ]

    def runs(self, chosen: Mapping[str, Record]) -> list[Run]:
        """All runs of the table, given the tuned values of each variant."""
        return [
            self._run(variant, chosen[variant.name], budget, seed)
            for budget in self.budgets
            for seed in range(1, self.config.seeds + 1)
            for variant in self.variants
        ]

    def _run(self, variant: variant_texts.Variant, tuned: Record, budget: Budget, seed: int) -> Run:
        config = self.config
        return make_run(config.out, config.data, variant, tuned, budget, seed, self.probes)

    def done(self) -> Comparison:
        """Do all that is left; the comparison."""
        found = [VariantResult(v.name, v.settings, self.candidates[0]) for v in self.variants]
        if len(self.candidates) > 1:
            found = self._tuned(found)
        results = self._finish(self.runs({variant.name: variant.chosen for variant in found}))
        names = [probe.name for probe in self.probes]
        return Comparison(
            recipe=self.config.config,
            data=str(self.config.data),
            shared=self.variants[0].shared,
            budget_kind=self.budgets[0].kind,
            budgets=[budget.name for budget in self.budgets],
            seeds=list(range(1, self.config.seeds + 1)),
            tuned=list(self.candidates[0]),
            probes={probe.name: probe.command for probe in self.probes},
            variants=found,
            # A probe that the command no longer names is left out.
            runs=[replace(run, probes={n: run.probes[n] for n in names}) for run in results],
        )

    def _tuned(self, untuned: Sequence[VariantResult]) -> list[VariantResult]:
        """Each variant with the best of the values tried."""
        trials = self.trials(self.budgets[0])
        tried_in = {run.folder for run in trials}
        guess = self.runs({variant.name: variant.chosen for variant in untuned})
        later = [run for run in guess if run.folder not in tried_in]
        results = self._finish(trials, later, may_diverge=True)
        found = []
        for variant in untuned:
            tried = [result for result in results if result.variant == variant.name]
            ranks = mean_ranks(tried, [probe.name for probe in self.probes])
            chosen = best(variant.name, tried, ranks).tuned
            found.append(replace(variant, chosen=chosen, trials=tried, mean_ranks=ranks))
            log.info("%s: best with %s", variant.name, format_settings(chosen))
        return found

    def _finish(
        self, runs: Sequence[Run], later: Sequence[Run] = (), may_diverge: bool = False
    ) -> list[VariantRun]:
        """The results of the runs, in their order; `later` are the runs after them, for the time left."""
        results = {run.folder: done for run in runs if (done := run.result()) is not None}
        left = {run.folder: run for run in runs if run.folder not in results}
        total = len(runs) + len(later)
        if results:
            log.info("%d of %d runs are done already", len(results), total)
        in_progress = execute_all(list(left.values()), self.gpus, may_diverge)
        try:
            for run, result, seconds in in_progress:
                training = min(result.seconds or 0.0, seconds)
                self.took.append((run, training, seconds - training))
                results[run.folder] = result
                del left[run.folder]
                rest = self.time_left([*left.values(), *later])
                log.info(
                    "%d of %d · %s · %s · took %s · about %s left",
                    len(results),
                    total,
                    run.title,
                    _in_words(result),
                    format_duration(seconds),
                    format_duration(rest),
                )
        except (KeyboardInterrupt, SystemExit):
            in_progress.close()  # terminates what is still running, and waits for it
            log.info(
                "interrupted: %d of %d runs are done, the same command resumes",
                len(results),
                total,
            )
            raise
        return [results[run.folder] for run in runs]

    def time_left(self, runs: Iterable[Run]) -> float:
        """Estimated seconds of the runs: training in proportion to the budget, the rest as measured."""
        total = 0.0
        for run in runs:
            same = [took for took in self.took if took[0].budget == run.budget] or self.took
            total += statistics.mean(
                training * run.budget.amount / done.budget.amount + rest
                for done, training, rest in same
            )
        return total / max(1, len(self.gpus))


def _in_words(result: VariantRun) -> str:
    if result.diverged:
        return "the loss was no longer finite"
    probes = result.probes.items()
    return ", ".join(f"{name} {probe.format.write(probe.value)}" for name, probe in probes)


def refuse_what_cannot_train(runs: Iterable[Run], store: BlockStore) -> None:
    """Raise ElektronError for what pre-training would refuse."""
    tokenizer = load_tokenizer(str(store.tokenizer_folder))
    for run in runs:
        try:
            config = resolve(with_released_sizes(run.pretraining))
            prepare_run(config, store.manifest, tokenizer)
        except ElektronError as error:
            raise ElektronError(f"variant {run.variant}: {error}") from None


def open_folder(
    out: Path,
    store: BlockStore,
    runs: Iterable[Run],
    probes: Iterable[Probe],
    tuned: Sequence[str] = (),
) -> None:
    """Make the folder of a comparison, or check that it is of the same one, and write `settings.json`.

    It has the settings of every variant and probe that was ever run there, and the fingerprint of the blocks. A command
    may add variants, probes, budgets and seeds; one that exists under the same name with other settings is refused.

    Args:
        out: the folder.
        store: the blocks.
        runs: one of each variant.
        probes: the probes.
        tuned: settings whose values are in the names of folders.

    Raises:
        ElektronError: the folder holds something else; the message names what differs.
    """
    ignored = (*NOT_OF_THE_VARIANT, *tuned)
    now: Record = {
        "blocks": store.fingerprint,
        "variants": {run.variant: _settings(run.pretraining, ignored) for run in runs},
        "probes": {probe.name: _settings(probe.config, NOT_OF_THE_PROBE) for probe in probes},
    }
    before = read_json(out / SETTINGS, mapping)
    if before is None and not is_free(out):
        raise ElektronError(f"{out} exists and is not a comparison's folder: choose another --out")
    if before is not None and before.get("blocks") != now["blocks"]:
        raise ElektronError(
            f"{out} holds a comparison on other blocks: choose another --out, or give its blocks"
        )
    for kind in ("variants", "probes"):
        known = group(before, kind)
        for name, settings in now[kind].items():
            old = group(known, name)
            # A setting that only one of the two has is of another version, and has its default here.
            changed = [s for s in settings if s in old and old[s] != settings[s]]
            if changed:
                what = ", ".join(f"{s} {old[s]} there, {settings[s]} here" for s in changed)
                raise ElektronError(
                    f"{out} holds another {kind[:-1]} {name} ({what}): choose another --out"
                )
            known[name] = old | settings
        now[kind] = known
    make_folder(out)
    atomic_write(out / SETTINGS, json.dumps(now, indent=1, ensure_ascii=False))


def _settings(config: Any, ignored: Sequence[str]) -> dict[str, str]:
    values = to_flat_dict(config).items()
    return {name: format_value(value) for name, value in values if name not in ignored}


def mean_ranks(trials: Sequence[VariantRun], probes: Sequence[str]) -> list[float]:
    """The mean rank of each trial over the probes, 1 is best: the probes' metrics have no common scale.

    Ranks are by the eval rows, never by test rows. A trial that diverged ranks last.
    """
    columns = [
        rankdata([-inf if t.diverged or (e := t.probes[name].eval) is None else e for t in trials])
        for name in probes
    ]
    return [len(trials) + 1 - statistics.mean(ranks) for ranks in zip(*columns, strict=True)]


def best(variant: str, trials: Sequence[VariantRun], ranks: Sequence[float]) -> VariantRun:
    """The trial with the best mean rank, of equals the first; ElektronError if all have diverged."""
    finite = [pair for pair in zip(ranks, trials, strict=True) if not pair[1].diverged]
    if not finite:
        raise ElektronError(
            f"variant {variant}: the loss was not finite with any of the values of --tune: "
            "give lower ones"
        )
    return min(finite, key=lambda pair: pair[0])[1]
