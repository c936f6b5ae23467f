"""`elektron compare`: variants of a pre-training at equal compute, compared by fine-tuning on probe tasks.

Everything is checked before the first run. Every variant runs at every budget with every seed, all variants with one
seed before the next, so that the results after an interruption can be compared. A run that is done is not done again.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from elektron.compare.config import CompareConfig
from elektron.compare.probes import PRETRAINING, parse_probes
from elektron.compare.runs import Run, execute_all, visible_gpus
from elektron.compare.variants import parse_budgets, variants
from elektron.corpus.blocks import BlockStore
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.io.files import resolve_link
from elektron.io.folders import is_free
from elektron.pretraining.config import resolve
from elektron.pretraining.run import RunFolder
from elektron.pretraining.setup import prepare_run, with_released_sizes
from elektron.reporting.variants_report import PAGE, Comparison, VariantResult, VariantRun, write_comparison
from elektron.terminal import echo

log = logging.getLogger(__name__)


def compare(config: CompareConfig) -> Comparison:
    """Do the runs that are not done yet, and write the comparison into `config.out`.

    Raises:
        ElektronError: a variant, probe or budget cannot work, `config.out` holds something else, or a run
            failed.
        SystemExit: it was interrupted during a pre-training, which has been saved.
    """
    budgets = parse_budgets(config.budget)
    probes = parse_probes(config.probe)
    compared = variants(config.config, config.sweep)
    seeds = list(range(1, config.seeds + 1))
    runs = []
    for budget, seed, variant in itertools.product(budgets, seeds, compared):
        name = f"{variant.name}/{budget.name}/seed-{seed}"
        pretraining = variant.configured(budget, config.data, config.out / name / PRETRAINING, seed)
        runs.append(Run(config.out, name, variant.name, budget.name, seed, pretraining, probes))
    check(config, runs)
    resolve_link(config.out).mkdir(parents=True, exist_ok=True)
    comparison = Comparison(
        recipe=config.config,
        data=str(config.data),
        shared=compared[0].shared,
        budget_kind=budgets[0].kind,
        budgets=[budget.name for budget in budgets],
        seeds=seeds,
        probes={probe.name: probe.command for probe in probes},
        variants=[VariantResult(variant.name, variant.settings) for variant in compared],
        # A probe that the command no longer names is left out.
        runs=[replace(done, probes={p.name: done.probes[p.name] for p in probes}) for done in results(runs)],
    )
    echo(write_comparison(config.out, comparison))
    log.info("the page is %s", config.out / PAGE)
    return comparison


def check(config: CompareConfig, runs: Sequence[Run]) -> None:
    """Raise ElektronError for what pre-training would refuse, and for a folder that holds something else."""
    store = BlockStore.open(config.data)
    tokenizer = load_tokenizer(str(store.tokenizer_folder))
    for run in {run.variant: run for run in runs}.values():
        try:
            prepare_run(resolve(with_released_sizes(run.pretraining)), store.manifest, tokenizer)
        except ElektronError as error:
            raise ElektronError(f"variant {run.variant}: {error}") from None
    if is_free(config.out):
        return
    if not any(config.out.glob("*/*/seed-*")):
        raise ElektronError(f"{config.out} exists and is not the folder of a comparison: choose another --out")
    for run in runs:
        folder = RunFolder(run.pretraining.out)
        if not folder.is_new():
            folder.compare(resolve(with_released_sizes(run.pretraining)), store)
        run.result()


def results(runs: Sequence[Run]) -> list[VariantRun]:
    """Execute the unfinished parts of the runs, and return the results of all runs in their order."""
    done = {run.name: result for run in runs if (result := run.result()) is not None and not run.remaining(result)}
    if done:
        log.info("%d of %d runs are done already", len(done), len(runs))
    remaining = [run for run in runs if run.name not in done]
    with closing(execute_all(remaining, visible_gpus())) as ended:
        for result in ended:
            done[result.folder] = result
            values = [f"{name} {probe.format.format_value(probe.value)}" for name, probe in result.probes.items()]
            log.info("%d of %d · %s · %s", len(done), len(runs), result.folder, ", ".join(values))
    return [done[run.name] for run in runs]
