"""`elektron finetune`: labelled files and a pretrained encoder in, a task model and honest figures out.

Read, then for each side (pretrained, and from scratch if asked) search settings on the evaluation
rows with the first seed, run the chosen ones with all seeds, and keep the run that is best on the
evaluation rows. Test rows are scored once a seed, after everything has been chosen.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Sequence
from typing import Any

import torch

from elektron.allocator import keep_freed_memory
from elektron.corpus.unknown import count_unknown
from elektron.corpus.vocabulary import learn_tokenizer, load_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning import recipe
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import (
    Encoder,
    check_encoder,
    load_encoder,
    scratch_encoder,
)
from elektron.finetuning.labelled import WITH_CLASSES, Labelled, read_labelled
from elektron.finetuning.predictor import Predictor
from elektron.finetuning.readers.records import Record, texts_read
from elektron.finetuning.results import write_results
from elektron.finetuning.search import combinations
from elektron.finetuning.tasks.base import COLLAPSED, Feature, Prediction, Task
from elektron.finetuning.tasks.registry import TASKS
from elektron.finetuning.training import train
from elektron.finetuning.trials import TRIALS, Fitted, Run, Trials, identity
from elektron.finetuning.wording import closing_words
from elektron.io.folders import atomic_folder
from elektron.sweep import format_settings, replace_settings
from elektron.terminal import echo

log = logging.getLogger(__name__)

RESTARTS = 2
"""How often a run that collapsed begins again."""
FEWEST_STEPS = 50
"""A training of fewer is not begun again: it has not learned yet, and another seed would not help."""
SEED_OF_RESTART = 1000
"""What is added to a run's seed when it begins again."""
LEAST_LOOK = 1000
"""Rows: looking at the evaluation rows after an epoch takes no more than the epoch's training rows, or these."""
JUDGED_BESIDES = 200
"""Training rows on which a model is judged that predicts the same for all evaluation rows."""
SCRATCH_VOCABULARY = 8192


def finetune(config: FinetuneConfig) -> dict[str, Any]:
    """Train as the configuration says and write `config.out`; what its `metrics.json` holds.

    Raises:
        ElektronError: a setting that cannot work, files that are not of the task, or a folder
            that is taken.
    """
    recipe.check(config)
    grid = combinations(config.sweep)
    with atomic_folder(config.out, kept=TRIALS) as folder:
        check_encoder(config.model)
        keep_freed_memory()
        data = read_labelled(config, TASKS[config.task].layout)
        encoder = encoder_for(config, data)
        # A vocabulary that was learned from a few texts just now can lack much of them.
        allow = config.allow_unknown or learns_vocabulary(config)
        for name, records in (
            ("--train", data.train),
            ("--eval", data.eval),
            ("--test", data.test),
        ):
            texts = texts_read(TASKS[config.task].layout, records)
            count_unknown(texts, encoder.tokenizer).check(name, allow)
        sides = {"pretrained" if encoder.pretrained else "scratch": encoder}
        if config.baseline == "scratch":
            if not encoder.pretrained:
                raise ElektronError("--baseline scratch compares with a pretrained --model")
            sides["scratch"] = encoder.from_scratch()
        bench = Bench(config, data, Trials(folder / TRIALS))
        count = len(sides) * (len(grid) + config.seeds - 1)
        if count > 1:
            bench.trials.open(identity(config, data, encoder))
        try:
            best = [bench.best_of(side, network, grid) for side, network in sides.items()]
        except KeyboardInterrupt:
            if kept := bench.trials.count:
                log.info(
                    "%d of %d trainings are finished and kept: the same command goes on from here",
                    kept,
                    count,
                )
            raise
        best[0].run.kept = True
        metrics = write_results(folder, best[0], bench.runs, data)
    echo(closing_words(metrics, bench.runs, best[0].task.figure, config.out))
    return metrics


def learns_vocabulary(config: FinetuneConfig) -> bool:
    """Whether the encoder's tokenizer is trained on the training texts."""
    return config.model.startswith(recipe.SCRATCH) and config.tokenizer is None


def encoder_for(config: FinetuneConfig, data: Labelled) -> Encoder:
    """The encoder that `--model` names."""
    if not config.model.startswith(recipe.SCRATCH):
        return load_encoder(config.model)
    recipe_name = config.model.removeprefix(recipe.SCRATCH)
    if config.tokenizer is not None:
        return scratch_encoder(recipe_name, load_tokenizer(config.tokenizer))
    texts = texts_read(TASKS[config.task].layout, data.train)
    tokenizer = learn_tokenizer(texts, SCRATCH_VOCABULARY)
    return scratch_encoder(recipe_name, tokenizer)


class Bench:
    """Runs with the same data, one after another."""

    def __init__(self, config: FinetuneConfig, data: Labelled, trials: Trials) -> None:
        self.config = config
        self.data = data
        self.trials = trials
        self.runs: list[Run] = []

    def best_of(self, side: str, encoder: Encoder, grid: Sequence[dict[str, Any]]) -> Fitted:
        """The best run of a side on the evaluation rows."""
        first = self.config.seed
        best: Fitted | None = None
        for settings in grid:
            best = self.better(best, self.fitted(side, encoder, settings, first))
        assert best is not None
        if len(grid) > 1:
            log.info("%s: best on eval with %s", side, format_settings(best.run.settings))
        chosen = best.run.settings
        self.score_test(best)
        for seed in range(first + 1, first + self.config.seeds):
            fitted = self.fitted(side, encoder, chosen, seed)
            self.score_test(fitted)
            best = self.better(best, fitted)
        return best

    def better(self, best: Fitted | None, fitted: Fitted) -> Fitted:
        """Of two the one with the higher figure on the evaluation rows; the other's weights are not kept."""
        if best is None:
            return fitted
        figure = fitted.task.figure
        if fitted.run.eval[figure] <= best.run.eval[figure]:
            best, fitted = fitted, best
        self.trials.drop_model(best.number)
        return fitted

    def fitted(self, side: str, encoder: Encoder, settings: dict[str, Any], seed: int) -> Fitted:
        """One training, or what an interrupted command has left of it."""
        number = len(self.runs)
        config = recipe.resolve(
            replace_settings(self.config, settings),
            family=encoder.config.model_type,
            width=encoder.config.hidden_size,
            longest=encoder.longest_input,
            rows=len(self.data.train),
            pretrained=encoder.pretrained,
        )
        fitted = self.trials.finished(number, config, encoder)
        if fitted is None:
            fitted = self.fit(config, encoder, Run(side, seed, settings))
            self.trials.keep(fitted)
        self.runs.append(fitted.run)
        return fitted

    def fit(self, config: FinetuneConfig, encoder: Encoder, run: Run) -> Fitted:
        """One training; begun again with another seed if all it says in the end is the same."""
        began = time.perf_counter()
        torch.manual_seed(run.seed)
        task = self.task(config, encoder)
        features = task.features(self.data.train, encoder.tokenizer, labelled=True)
        for restart in range(RESTARTS + 1):
            fitted = self.attempt(run, config, task, encoder, features, restart)
            steps = math.ceil(run.epochs[-1].epoch * len(features) / (config.batch_size or 1))
            if run.collapsed is None or restart == RESTARTS or steps < FEWEST_STEPS:
                break
            log.warning(
                "%s has collapsed, %s: it begins again with another seed", run.name, run.collapsed
            )
        if run.collapsed is not None:
            log.warning(
                "%s has collapsed after %d steps, %s: %s may help",
                run.name,
                steps,
                run.collapsed,
                "more --epochs"
                if steps < FEWEST_STEPS
                else "another --learning-rate or more --epochs",
            )
        run.seconds = time.perf_counter() - began
        log.info("%s: %s %.4g on eval", run.name, task.figure, run.eval[task.figure])
        return fitted

    def task(self, config: FinetuneConfig, encoder: Encoder) -> Task:
        """What is to be learned, and that all files are of it."""
        records = self.data.whole if config.task in WITH_CLASSES else self.data.train
        task = TASKS[config.task].learn(records, config, encoder)
        task.columns = dict(self.data.train[0].names)
        for records in (self.data.train, self.data.eval, self.data.test):
            task.check(records)
        return task

    def attempt(
        self,
        run: Run,
        config: FinetuneConfig,
        task: Task,
        encoder: Encoder,
        features: Sequence[Feature],
        restart: int,
    ) -> Fitted:
        """Train a new model; the run's epochs and figures are this attempt's."""
        seed = run.seed + restart * SEED_OF_RESTART
        torch.manual_seed(seed)
        model = task.new_model(encoder, config.dropout)
        fitted = Fitted(len(self.runs), run, config, task, model, encoder)
        predictor = fitted.predictor()
        watched = self.watched()
        history = train(
            task,
            model,
            encoder.tokenizer,
            features,
            config,
            seed,
            look_by_figure(predictor, watched)
            if config.keep == "best"
            else look_by_loss(predictor, watched),
            run.name,
        )
        fitted.task = task.finished(model)
        predictions = fitted.predictor().predict(self.data.eval, "scoring eval")
        # Judged before a threshold is chosen: it may be best to answer nothing, which is no collapse.
        run.collapsed = self.collapse(fitted, predictions)
        tuned = fitted.task.tuned(self.data.eval, predictions)
        if tuned is not fitted.task:
            fitted.task = tuned
            predictions = fitted.predictor().predict(self.data.eval, "scoring eval")
        run.epochs = history.epochs
        run.kept_epoch = history.epochs[history.kept].epoch
        run.eval = fitted.task.measure(self.data.eval, predictions)()
        return fitted

    def collapse(self, fitted: Fitted, predictions: Sequence[Prediction]) -> str | None:
        """In words, how a model predicts the same for all rows where it should not; None if it does not.

        A few evaluation rows may get the same answer by chance, and rightly so where it is true of all of
        them: a model that predicts the same for them must do so for training rows too to have collapsed.
        """
        found = fitted.task.variation(self.data.eval, predictions)
        if found.predicted > COLLAPSED * found.true:
            return None
        count = min(JUDGED_BESIDES, len(self.data.train))
        besides = random.Random(self.config.seed).sample(self.data.train, count)
        predicted = [*predictions, *fitted.predictor().predict(besides)]
        found = fitted.task.variation([*self.data.eval, *besides], predicted)
        return found.summary if found.collapsed else None

    def watched(self) -> list[Record]:
        """The evaluation rows that are looked at after each epoch."""
        most = max(LEAST_LOOK, len(self.data.train))
        if len(self.data.eval) <= most:
            return self.data.eval
        return random.Random(self.config.seed).sample(self.data.eval, most)

    def score_test(self, fitted: Fitted) -> None:
        """Figures on the test rows, by which nothing is chosen."""
        if self.data.test and fitted.run.test is None:
            predictions = fitted.predictor().predict(self.data.test, "scoring test")
            fitted.run.test = fitted.task.measure(self.data.test, predictions)()
            self.trials.keep_run(fitted)


def look_by_figure(predictor: Predictor, records: Sequence[Record]) -> Any:
    """A function that gives the figures of the model as it is."""
    features = predictor.task.features(records, predictor.tokenizer, labelled=False)

    def look() -> dict[str, float]:
        predictions = predictor.predict_features(records, features, "looking at eval")
        return predictor.task.measure(records, predictions)()

    return look


def look_by_loss(predictor: Predictor, records: Sequence[Record]) -> Any:
    """A function that gives the loss of the model as it is, where figures would need text to be generated."""
    features = predictor.task.features(records, predictor.tokenizer, labelled=True)
    return lambda: {"loss": predictor.loss(features, "looking at eval")}
