"""`elektron finetune`: train a task model from labelled files and a pretrained encoder, and compute its metrics.

There are two sides with `--baseline`, pretrained and scratch, else one. For each side, all combinations of settings of
`--sweep` are trained with the first seed, the best of them on the evaluation rows is trained with the other seeds too,
and the best run is kept. Test rows are evaluated once for each seed; nothing is chosen by their metrics.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import random
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import torch

from elektron.accelerator import Accelerator
from elektron.allocator import keep_freed_memory
from elektron.corpus.tokenizer import load_tokenizer, train_tokenizer_on
from elektron.corpus.unknown import count_unknown
from elektron.errors import ElektronError, comma_list
from elektron.finetuning import recipe
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import Encoder, load_encoder, longest_input, scratch_encoder
from elektron.finetuning.inputs import Features
from elektron.finetuning.labelled import WITH_CLASSES, Labelled, class_counts, read_labelled
from elektron.finetuning.optimizer import freeze_encoder
from elektron.finetuning.predictor import Predictor, Scored
from elektron.finetuning.private import Privacy, calibrate_noise, first_of_each_row, train_privately
from elektron.finetuning.readers.records import input_texts
from elektron.finetuning.readers.roles import LAYOUTS
from elektron.finetuning.results import summary_text, write_results
from elektron.finetuning.tasks.base import COLLAPSED, Predictions, Task
from elektron.finetuning.tasks.embedding import Embedding, sentence_settings
from elektron.finetuning.tasks.registry import TASKS
from elektron.finetuning.training import train
from elektron.finetuning.trials import TRIALS, FinishedTrials, Trained, identity
from elektron.io.folders import atomic_folder
from elektron.reporting.task_result import TrainingRun
from elektron.reporting.task_summary import privacy_sentence
from elektron.sweep import format_settings, replace_settings
from elektron.terminal import echo
from elektron.tracking import FOLDER as TRACKING
from elektron.tracking import Tracker, require_tracker

log = logging.getLogger(__name__)

RESTARTS = 2
"""How often a training run is repeated at most if its model has collapsed, see `Search.collapse`."""
MIN_STEPS = 50
"""A shorter training run is not repeated: its model has not learned yet, and another seed would not help."""
SEED_OF_RESTART = 1000
"""Added to the seed for each repetition."""
MIN_EVAL_ROWS = 1000
"""Evaluation after each epoch uses at most this many rows, or as many as there are training rows if that is more."""
COLLAPSE_ROWS = 200
"""Number of training rows that are predicted too if a model predicts the same for all evaluation rows."""
SCRATCH_VOCABULARY = 8192


def finetune(config: FinetuneConfig) -> dict[str, Any]:
    """Train as the configuration says and write `config.out`; returns the content of its `metrics.json`.

    Raises:
        ElektronError: a setting is invalid, a file does not fit the task, or `out` exists.
    """
    require_tracker(config.track)
    combinations = recipe.combinations(config.sweep)
    for settings in combinations:
        recipe.check(replace_settings(config, settings))
    with atomic_folder(config.out, kept=TRIALS) as folder:
        keep_freed_memory()
        scratch = config.model.startswith(recipe.SCRATCH)
        encoder = None if scratch else load_encoder(config.model)
        data = read_labelled(config)
        encoder = encoder or new_encoder(config, data)
        if config.private and encoder.config.model_type not in recipe.PRIVATE_FAMILIES:
            families = comma_list(recipe.PRIVATE_FAMILIES)
            raise ElektronError(f"--private is for encoders of {families}, not for {encoder.config.model_type}")
        check_unknown(config, data, encoder)
        sides = {"pretrained" if encoder.pretrained else "scratch": encoder}
        if config.baseline == "scratch":
            sides["scratch"] = encoder.from_scratch()
        count = len(sides) * (len(combinations) + config.seeds - 1)
        command = identity(config, data, encoder) if count > 1 else None
        search = Search(config, data, FinishedTrials(folder / TRIALS, command), count)
        for network in sides.values():
            for settings in combinations:
                search.resolved(network, settings)  # all are checked before the first training
        try:
            best = [search.best_of(side, network, combinations) for side, network in sides.items()]
        except KeyboardInterrupt:
            if finished := search.finished.count:
                log.info(
                    "%d of %d training runs are finished and kept: the same command resumes from them", finished, count
                )
            if config.private:
                log.info(
                    "the interrupted training is not kept; if its metrics were seen, its ε adds to that of the next one"
                )
            raise
        if (tracked := folder / TRIALS / TRACKING).is_dir():
            tracked.rename(folder / TRACKING)
        best[0].trial.kept = True
        metrics = write_results(folder, best[0], encoder, search.trials, data)
    echo(summary_text(config.out))
    return metrics


def new_encoder(config: FinetuneConfig, data: Labelled) -> Encoder:
    """The network of scratch:RECIPE, with a tokenizer trained on the training texts if none is given."""
    if config.tokenizer is not None:
        tokenizer = load_tokenizer(config.tokenizer)
    else:
        texts = input_texts(LAYOUTS[config.task], data.train)
        tokenizer = train_tokenizer_on(texts, SCRATCH_VOCABULARY)
    return scratch_encoder(config.model.removeprefix(recipe.SCRATCH), tokenizer)


def check_unknown(config: FinetuneConfig, data: Labelled, encoder: Encoder) -> None:
    """Raise ElektronError if too many characters of the texts are unknown to the tokenizer."""
    # A vocabulary that was learned from few training texts may lack many characters.
    learned = config.model.startswith(recipe.SCRATCH) and config.tokenizer is None
    for name, records in (("--train", data.train), ("--eval", data.eval), ("--test", data.test)):
        texts = input_texts(LAYOUTS[config.task], records)
        count_unknown(texts, encoder.tokenizer).check(name, config.allow_unknown or learned)


class Search:
    """The training runs of a command on the same data, and the choice of the best run on the evaluation rows."""

    def __init__(self, config: FinetuneConfig, data: Labelled, finished: FinishedTrials, count: int = 1) -> None:
        self.config = config
        self.data = data
        self.finished = finished
        self.count = count
        """Number of training runs of the command, which share the privacy budget."""
        self.trials: list[TrainingRun] = []

    def best_of(self, side: str, encoder: Encoder, combinations: Sequence[dict[str, Any]]) -> Trained:
        """The best training run of a side over all settings and seeds."""
        first = self.config.seed
        best: Trained | None = None
        for settings in combinations:
            best = self.better(best, self.trained(side, encoder, settings, first))
        assert best is not None
        chosen = best.trial.settings
        if len(combinations) > 1:
            log.info("%s: best on eval with %s", side, format_settings(chosen))
        self.evaluate_on_test(best)
        for seed in range(first + 1, first + self.config.seeds):
            trained = self.trained(side, encoder, chosen, seed)
            self.evaluate_on_test(trained)
            best = self.better(best, trained)
        return best

    def better(self, best: Trained | None, new: Trained) -> Trained:
        """The run with the higher metric on the evaluation rows; the saved weights of the other are deleted."""
        if best is None:
            return new
        if new.trial.value(new.trial.metric) <= best.trial.value(best.trial.metric):
            best, new = new, best
        self.finished.remove_model(best.number)
        return new

    def evaluate_on_test(self, trained: Trained) -> None:
        """Compute the metrics on the test rows, which are reported but not used to choose anything."""
        if self.data.test and not trained.trial.test and trained.predictor is not None:
            trained.scored = trained.predictor.score(self.data.test)
            trained.trial.test = trained.predictor.task.measure(self.data.test, trained.scored.predictions)()
            self.finished.save(trained)

    def resolved(self, encoder: Encoder, settings: dict[str, Any]) -> FinetuneConfig:
        """The resolved configuration of a training run. Raises ElektronError if the encoder does not support it."""
        config, longest = replace_settings(self.config, settings), longest_input(encoder.config)
        if config.task == Embedding.name and config.max_length is None and encoder.pretrained:
            length = sentence_settings(encoder.name).get("max_length", recipe.DEFAULT_MAX_LENGTH)
            config = replace_settings(config, {"max_length": min(length, longest)})
        return recipe.resolve(
            config,
            family=encoder.config.model_type,
            width=encoder.config.hidden_size,
            longest=longest,
            rows=len(self.data.train),
            pretrained=encoder.pretrained,
        )

    def trained(self, side: str, encoder: Encoder, settings: dict[str, Any], seed: int) -> Trained:
        """The result of one training run, loaded from disk if an interrupted command has finished it."""
        config = self.resolved(encoder, settings)
        trained = self.finished.load(len(self.trials), config, encoder)
        if trained is None:
            trained = self.train(config, encoder, TrainingRun(side, seed, settings))
            self.finished.save(trained)
        self.trials.append(trained.trial)
        return trained

    def train(self, config: FinetuneConfig, encoder: Encoder, trial: TrainingRun) -> Trained:
        """Train a model; training is repeated with another seed if the model predicts the same for all rows."""
        assert trial.seed is not None
        began = time.perf_counter()
        torch.manual_seed(trial.seed)
        task = self.task(config, encoder)
        trial.metric = task.metric
        features = task.features(self.data.train, encoder.tokenizer, labelled=True)
        if config.private:
            features = first_of_each_row(features)
            privacy = calibrate_noise(config, len(features), self.count)
            trial.privacy = dataclasses.asdict(privacy)
            log.info("%s", privacy_sentence(trial.privacy))
        for restart in range(RESTARTS + 1):
            seed = trial.seed + restart * SEED_OF_RESTART
            predictor, scored = self.attempt(trial, config, task, encoder, features, seed)
            if not trial.collapsed or config.private:
                break
            steps = math.ceil(trial.epochs[-1].epoch * len(features) / (config.batch_size or 1))
            advice = "it is trained again with another seed"
            if steps < MIN_STEPS:
                advice = "more --epochs may help"
            elif restart == RESTARTS:
                advice = "another --learning-rate or more --epochs may help"
            log.warning("%s has collapsed after %d steps, %s: %s", trial.name, steps, trial.collapsed, advice)
            if steps < MIN_STEPS:
                break
        trial.seconds = time.perf_counter() - began
        log.info("%s: %s %.4g on eval", trial.name, task.metric, trial.value(task.metric))
        return Trained(len(self.trials), trial, config, predictor, None if self.data.test else scored)

    def task(self, config: FinetuneConfig, encoder: Encoder) -> Task:
        """Make the task from the training rows, and check that all rows fit it."""
        records = self.data.all_train if config.task in WITH_CLASSES else self.data.train
        if config.private:
            # Names of classes, mean and spread of numbers come from rows that need no protection.
            records = [*self.data.eval, *self.data.test]
            if config.task in WITH_CLASSES and (
                missing := class_counts(self.data.train).keys() - class_counts(records).keys()
            ):
                raise ElektronError(
                    "--private takes the names of classes from --eval and --test, which do not have "
                    f"{comma_list(sorted(missing))}: add rows of them, or drop the training rows"
                )
        task = TASKS[config.task].from_records(records, config, encoder)
        task.columns = dict(self.data.train[0].names)
        for records in (self.data.train, self.data.eval, self.data.test):
            task.check(records)
        return task

    def attempt(
        self, trial: TrainingRun, config: FinetuneConfig, task: Task, encoder: Encoder, features: Features, seed: int
    ) -> tuple[Predictor, Scored]:
        """Train a new model and evaluate it, and store the epochs and metrics in `trial`."""
        torch.manual_seed(seed)
        model, tokenizer = task.new_model(encoder, config.dropout), encoder.tokenizer
        if config.layer_decay == 0:
            freeze_encoder(model)
        predictor = Predictor(task, model, tokenizer, Accelerator.choose(config.precision))
        records = self.data.eval
        if len(records) > (count := max(MIN_EVAL_ROWS, len(self.data.train))):
            records = random.Random(self.config.seed).sample(records, count)
        best = config.keep == "best"
        eval_features = task.features(records, tokenizer, labelled=not best)

        def evaluate() -> dict[str, float]:
            # The metrics of generated text take too long to be computed after each epoch.
            if not best:
                return {"loss": predictor.loss(eval_features)}
            return task.measure(records, predictor.predict(records, "evaluating", eval_features))()

        with self.tracker(trial, config, seed) as tracker:
            arguments = (task, model, tokenizer, features, config, evaluate, trial.name, tracker)
            if trial.privacy:
                history = train_privately(*arguments, privacy=Privacy(**trial.privacy))
            else:
                history = train(*arguments, seed=seed)
        predictor.task = task.finished(model)
        scored = predictor.score(self.data.eval, tune=True)
        # Before a threshold is chosen: a model that answers no question at the best threshold has not collapsed.
        trial.collapsed = self.collapse(predictor, scored.before_tuning)
        trial.epochs = history.epochs
        trial.kept_epoch = history.epochs[history.kept].epoch
        trial.eval = predictor.task.measure(self.data.eval, scored.predictions)()
        return predictor, scored

    @contextmanager
    def tracker(self, trial: TrainingRun, config: FinetuneConfig, seed: int) -> Iterator[Tracker | None]:
        """The tracker of one training run; files of an earlier, interrupted process are deleted."""
        if config.track is None:
            yield None
            return
        again = "" if seed == trial.seed else f" · again with seed {seed}"
        title = f"{config.out.resolve().name} · {trial.name}{again}"
        parent = self.finished.folder if self.finished.identity else self.finished.folder.parent
        folder = parent / TRACKING / re.sub(r"[^\w.=]+", "-", title)
        shutil.rmtree(folder, ignore_errors=True)
        with closing(Tracker(config.track, folder, title, config)) as tracker:
            yield tracker

    def collapse(self, predictor: Predictor, predictions: Predictions) -> str:
        """A sentence that describes how the model has collapsed, or an empty string if it has not.

        A collapsed model predicts (nearly) the same for all rows though their labels differ. A few evaluation rows
        may get the same prediction by chance, or because it is right for all of them, so training rows must get the
        same prediction too.
        """
        task = predictor.task
        variation = task.variation(self.data.eval, predictions)
        if variation.predicted > COLLAPSED * variation.true:
            return ""
        count = 0 if self.config.private else min(COLLAPSE_ROWS, len(self.data.train))
        others = random.Random(self.config.seed).sample(self.data.train, count)
        predictions = [*predictions, *predictor.predict(others, "evaluating")]
        variation = task.variation([*self.data.eval, *others], predictions)
        return variation.summary if variation.collapsed else ""
