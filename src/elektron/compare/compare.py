"""`elektron compare`: variants of a pre-training at equal compute, judged by what they learn afterwards.

Everything is checked before the first run. Then, where values are to be tuned, each variant tries
them with seed 1 at the smallest budget; then every variant runs at every budget with every seed, all
variants with one seed before the next, so that what is there after an interruption compares. A run
that is done is not done again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elektron.compare import budgets as budget_texts
from elektron.compare import probes as probe_texts
from elektron.compare import tuning
from elektron.compare.budgets import Budget
from elektron.compare.config import CompareConfig
from elektron.compare.folder import open_folder
from elektron.compare.pace import Pace
from elektron.compare.probes import PRETRAINING, Probe
from elektron.compare.runs import Run
from elektron.compare.variants import Variant, tuned_values, variants
from elektron.compare.workers import devices, finished
from elektron.corpus.blocks import BlockStore
from elektron.corpus.vocabulary import load_tokenizer
from elektron.errors import ElektronError
from elektron.evidence import variants as found
from elektron.evidence.kinds import kind
from elektron.evidence.reading import Record
from elektron.evidence.variants_report import PAGE, write_comparison
from elektron.evidence.wording import duration
from elektron.pretraining.config import resolve
from elektron.pretraining.foundations import like_the_released_pair, prepare_run
from elektron.terminal import say
from elektron.variation import in_words

log = logging.getLogger(__name__)

TUNING_SEED = 1


def compare(config: CompareConfig) -> found.Comparison:
    """Run what is configured, as far as it is not done, and write what came out into `config.out`.

    Raises:
        ElektronError: a variant, probe or budget that cannot work, another comparison's folder, or
            a run that failed.
        SystemExit: it was interrupted in a pre-training, which has been saved.
    """
    work = Work(config)
    comparison = work.done()
    say(write_comparison(config.out, comparison))
    log.info("the page is %s", config.out / PAGE)
    return comparison


@dataclass(frozen=True)
class Tuned:
    """The values that a variant is run with, and those that were tried."""

    chosen: dict[str, Any]
    trials: list[found.Trial]


class Work:
    """A comparison in progress."""

    def __init__(self, config: CompareConfig) -> None:
        """Check everything; raises ElektronError for what cannot work."""
        self.config = config
        self.budgets: list[Budget] = budget_texts.parse_all(config.budget)
        self.probes: list[Probe] = probe_texts.parse_all(config.probe)
        self.variants: list[Variant] = variants(config.config, config.vary)
        self.candidates = tuned_values(config.tune, self.variants)
        self.seeds = list(range(1, config.seeds + 1))
        # Making a run checks its configuration.
        smallest, *_ = [self.trials(budget) for budget in self.budgets]
        self.rehearse(smallest)
        open_folder(
            config.out,
            config.data,
            {run.variant: run.pretraining for run in smallest},
            {probe.name: probe.config for probe in self.probes},
            tuned=list(self.candidates[0]),
        )
        self.devices = devices()
        self.pace = Pace()

    def rehearse(self, runs: Sequence[Run]) -> None:
        """Refuse what pre-training would refuse, before anything is trained."""
        store = BlockStore.open(self.config.data)
        tokenizer = load_tokenizer(str(store.tokenizer_folder))
        for run in runs:
            try:
                config = resolve(like_the_released_pair(run.pretraining))
                prepare_run(config, store.manifest, tokenizer)
            except ElektronError as error:
                raise ElektronError(f"variant {run.variant}: {error}") from None

    def run(self, variant: Variant, tuned: Mapping[str, Any], budget: Budget, seed: int) -> Run:
        """One run of a variant."""
        config = self.config
        return Run.of(config.out, config.data, variant, tuned, budget, seed, self.probes)

    def trials(self, budget: Budget) -> list[Run]:
        """A run for each variant with each of the values to tune over; with none, with its own."""
        return [
            self.run(variant, candidate, budget, TUNING_SEED)
            for candidate in self.candidates
            for variant in self.variants
        ]

    def runs(self, chosen: Mapping[str, Mapping[str, Any]]) -> list[Run]:
        """All runs that the table is made of, given what was chosen for each variant."""
        return [
            self.run(variant, chosen[variant.name], budget, seed)
            for budget in self.budgets
            for seed in self.seeds
            for variant in self.variants
        ]

    def done(self) -> found.Comparison:
        """Do everything that is to be done; what came out."""
        tuned = self.tune()
        runs = self.runs({name: each.chosen for name, each in tuned.items()})
        return self.comparison(tuned, runs, self.finish(runs))

    def tune(self) -> dict[str, Tuned]:
        """For each variant the best of the values tried; without a choice nothing is tried."""
        if len(self.candidates) == 1:
            return {variant.name: Tuned(self.candidates[0], []) for variant in self.variants}
        trials = self.trials(self.budgets[0])
        tried_in = {run.folder for run in trials}
        guess = self.runs({variant.name: self.candidates[0] for variant in self.variants})
        later = [run for run in guess if run.folder not in tried_in]
        results = self.finish(trials, later, may_diverge=True)
        chosen = {}
        for variant in self.variants:
            own = [r for run, r in zip(trials, results, strict=True) if run.variant == variant.name]
            tried = tuning.trials(own, [probe.name for probe in self.probes])
            best = tuning.best(variant.name, tried)
            chosen[variant.name] = Tuned(best.settings, tried)
            log.info("%s: best with %s", variant.name, in_words(best.settings))
        return chosen

    def finish(
        self, runs: Sequence[Run], later: Sequence[Run] = (), may_diverge: bool = False
    ) -> list[Record]:
        """The results of all these runs, in their order, after doing what is left of them.

        Args:
            runs: the runs.
            later: what will have to be done after them, for the time left.
            may_diverge: as in `execute`.
        """
        results = {run.folder: done for run in runs if (done := run.result()) is not None}
        left = {run.folder: run for run in runs if run.folder not in results}
        total = len(runs) + len(later)
        if results:
            log.info("%d of %d runs are done already", len(results), total)
        at_work = finished(list(left.values()), self.devices, may_diverge)
        try:
            for run, result, seconds in at_work:
                self.pace.took(run, seconds, result.get("seconds") or 0.0)
                results[run.folder] = result
                del left[run.folder]
                rest = self.pace.left([*left.values(), *later], max(1, len(self.devices)))
                said = [
                    f"{len(results)} of {total}",
                    run.title,
                    self.in_words(result),
                    f"took {duration(seconds)}",
                ]
                if rest:
                    said.append(f"about {duration(rest)} left")
                log.info("%s", " · ".join(said))
        except (KeyboardInterrupt, SystemExit):
            at_work.close()  # asks what is still running to save and stop, and waits for it
            log.info(
                "interrupted: %d of %d runs are done, the same command goes on from here",
                len(results),
                total,
            )
            raise
        return [results[run.folder] for run in runs]

    def in_words(self, result: Record) -> str:
        """The figures of a run."""
        if "diverged" in result:
            return "the loss was no longer finite"
        return ", ".join(
            f"{name} {kind(probed['figure'], probed['task']).write(probed['value'])}"
            for name, probed in result["probes"].items()
        )

    def comparison(
        self, tuned: Mapping[str, Tuned], runs: Sequence[Run], results: Sequence[Record]
    ) -> found.Comparison:
        """Everything that the page says."""
        return found.Comparison(
            recipe=self.config.config,
            data=str(self.config.data),
            shared=self.variants[0].shared,
            budget_kind=self.budgets[0].kind,
            budgets=[budget.name for budget in self.budgets],
            seeds=self.seeds,
            tuned=list(self.candidates[0]) if len(self.candidates) > 1 else [],
            probes=[_probe(probe, results[0]["probes"][probe.name]) for probe in self.probes],
            variants=[
                found.Variant(
                    name=variant.name,
                    settings=variant.varied,
                    parameters=next(
                        result["parameters"]
                        for run, result in zip(runs, results, strict=True)
                        if run.variant == variant.name
                    ),
                    chosen=tuned[variant.name].chosen,
                    trials=tuned[variant.name].trials,
                )
                for variant in self.variants
            ],
            runs=[self.variant_run(*pair) for pair in zip(runs, results, strict=True)],
        )

    def variant_run(self, run: Run, result: Record) -> found.VariantRun:
        """One run for the table."""
        inside = run.folder.relative_to(self.config.out)
        return found.VariantRun(
            variant=run.variant,
            budget=run.budget.name,
            seed=run.seed,
            folder=(inside / PRETRAINING).as_posix(),
            flops=result["flops"],
            seconds=result["seconds"],
            tokens=result["tokens"],
            generator_loss=result["generator_loss"],
            discriminator_auc=result["discriminator_auc"],
            device=result["device"],
            probes={
                name: found.Probed(
                    value=probed["value"],
                    interval=tuple(probed["interval"]) if probed["interval"] else None,
                    collapsed=probed["collapsed"],
                    folder=(inside / name).as_posix(),
                )
                for name, probed in result["probes"].items()
                if name in run.probes
            },
        )


def _probe(probe: Probe, probed: Record) -> found.Probe:
    return found.Probe(
        name=probe.name,
        command=probe.command,
        task=probed["task"],
        figure=probed["figure"],
        split=probe.split,
        rows=probed["rows"],
        baseline=probed.get("baseline", ""),
    )
