"""`elektron compare`: variants of a pre-training at equal compute, compared by fine-tuning on probe tasks.

Everything is checked before the first run. Where values are tuned, each variant first tries them with seed 1 at the
smallest budget. Then every variant runs at every budget with every seed, all variants with one seed before the next, so
that the results after an interruption can be compared. A run that is done is not done again.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from math import inf
from pathlib import PurePath

from scipy.stats import rankdata

from elektron.compare.config import CompareConfig
from elektron.compare.probes import PRETRAINING, Probe, parse_all
from elektron.compare.runs import Run, execute_all, visible_gpus
from elektron.compare.variants import (
    Budget,
    Variant,
    folder_name,
    parse_budgets,
    values_to_tune,
    variants,
)
from elektron.corpus.blocks import BlockStore
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.io.folders import is_free, make_folder
from elektron.pretraining.config import resolve
from elektron.pretraining.run import RunFolder
from elektron.pretraining.setup import prepare_run, with_released_sizes
from elektron.reporting.reading import Record
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


def compare(config: CompareConfig) -> Comparison:
    """Do the runs that are not done yet, and write the comparison into `config.out`.

    Raises:
        ElektronError: a variant, probe or budget that cannot work, the folder of something else, or
            a run that failed.
        SystemExit: it was interrupted in a pre-training, which has been saved.
    """
    budgets = parse_budgets(config.budget)
    probes = parse_all(config.probe)
    compared = variants(config.config, config.sweep)
    candidates = values_to_tune(config.tune, compared[0])
    seeds = list(range(1, config.seeds + 1))

    def run(variant: Variant, tuned: Record, budget: Budget, seed: int) -> Run:
        return make_run(config, probes, variant, tuned, budget, seed)

    trials = [run(variant, c, budgets[0], TUNING_SEED) for c in candidates for variant in compared]
    others = [
        run(variant, candidate, budget, seed)
        for candidate in candidates
        for budget in budgets
        for seed in seeds
        for variant in compared
    ]
    check(config, trials, others)
    make_folder(config.out)
    names = [probe.name for probe in probes]
    found = [VariantResult(variant.name, variant.settings, candidates[0]) for variant in compared]
    if len(candidates) > 1:
        tried = results(trials, may_diverge=True)
        found = [choose(variant, tried, names) for variant in found]
    chosen = {variant.name: variant.chosen for variant in found}
    runs = results([each for each in others if each.tuned == chosen[each.variant]])
    comparison = Comparison(
        recipe=config.config,
        data=str(config.data),
        shared=compared[0].shared,
        budget_kind=budgets[0].kind,
        budgets=[budget.name for budget in budgets],
        seeds=seeds,
        tuned=list(candidates[0]),
        probes={probe.name: probe.command for probe in probes},
        variants=found,
        # A probe that the command no longer names is left out.
        runs=[replace(each, probes={name: each.probes[name] for name in names}) for each in runs],
    )
    echo(write_comparison(config.out, comparison))
    log.info("the page is %s", config.out / PAGE)
    return comparison


def make_run(
    config: CompareConfig,
    probes: Sequence[Probe],
    variant: Variant,
    tuned: Record,
    budget: Budget,
    seed: int,
) -> Run:
    """The run of a variant; ElektronError where its configuration cannot work."""
    parts = filter(None, [variant.name, folder_name(tuned), budget.name, f"seed-{seed}"])
    name = str(PurePath(*parts))
    out = config.out / name / PRETRAINING
    pretraining = variant.configured(tuned, budget, config.data, out, seed)
    return Run(config.out, name, variant.name, tuned, budget.name, seed, pretraining, probes)


def check(config: CompareConfig, trials: Sequence[Run], others: Sequence[Run]) -> None:
    """Raise ElektronError for what pre-training would refuse, and for a folder that holds something else.

    Args:
        config: of the comparison.
        trials: one run for each variant and its candidates.
        others: all runs that there may be.
    """
    store = BlockStore.open(config.data)
    tokenizer = load_tokenizer(str(store.tokenizer_folder))
    for run in trials:
        try:
            prepare_run(resolve(with_released_sizes(run.pretraining)), store.manifest, tokenizer)
        except ElektronError as error:
            raise ElektronError(f"variant {run.variant}: {error}") from None
    if is_free(config.out):
        return
    if not any(config.out.glob("*/*/seed-*")) and not any(config.out.glob("*/*/*/seed-*")):
        raise ElektronError(f"{config.out} exists and is not a comparison's folder: choose another --out")
    for run in others:
        folder = RunFolder(run.pretraining.out)
        if not folder.is_new():
            folder.compare(resolve(with_released_sizes(run.pretraining)), store)
        run.result()


def results(runs: Sequence[Run], may_diverge: bool = False) -> list[VariantRun]:
    """The results of the runs, in their order, after doing what is left of them."""
    done = {run.name: result for run in runs if (result := run.result()) is not None and not run.left(result)}
    if done:
        log.info("%d of %d runs are done already", len(done), len(runs))
    left = [run for run in runs if run.name not in done]
    with closing(execute_all(left, visible_gpus(), may_diverge)) as ended:
        for result in ended:
            done[result.folder] = result
            probes = result.probes.items()
            values = [f"{name} {probe.format.format_value(probe.value)}" for name, probe in probes]
            outcome = "diverged" if result.diverged else ", ".join(values)
            log.info("%d of %d · %s · %s", len(done), len(runs), result.folder, outcome)
    return [done[run.name] for run in runs]


def choose(variant: VariantResult, tried: Sequence[VariantRun], probes: Sequence[str]) -> VariantResult:
    """The variant with the best of the values tried, by the mean rank over the probes; of equals the first.

    Raises:
        ElektronError: all have diverged.
    """
    trials = [trial for trial in tried if trial.variant == variant.name]
    ranks = mean_ranks(trials, probes)
    finite = [(rank, place) for place, rank in enumerate(ranks) if not trials[place].diverged]
    if not finite:
        raise ElektronError(
            f"variant {variant.name}: gradients were not finite with any of the values of --tune: give lower ones"
        )
    chosen = trials[min(finite)[1]].tuned
    log.info("%s: best with %s", variant.name, format_settings(chosen))
    return replace(variant, chosen=chosen, trials=trials, mean_ranks=ranks)


def mean_ranks(trials: Sequence[VariantRun], probes: Sequence[str]) -> list[float]:
    """The mean rank of each trial over the probes, 1 is best: the probes' metrics have no common scale.

    Ranks are by the eval rows, never by test rows. A trial that diverged ranks last.
    """
    columns = [
        rankdata([-inf if t.diverged or (e := t.probes[name].eval) is None else e for t in trials]) for name in probes
    ]
    return [len(trials) + 1 - statistics.mean(ranks) for ranks in zip(*columns, strict=True)]
