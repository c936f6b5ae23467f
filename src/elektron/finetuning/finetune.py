"""`elektron finetune`: labelled files and a pretrained encoder in, a task model and honest figures out.

Read, then for each side (pretrained, and from scratch if asked) search settings on the evaluation
rows with the first seed, run the chosen ones with all seeds, and keep the run that is best on the
evaluation rows. Test rows are scored once a seed, after everything has been chosen.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedModel

from elektron.allocator import keep_freed_memory
from elektron.corpus.vocabulary import learn_tokenizer, load_tokenizer
from elektron.device import Device
from elektron.errors import ElektronError
from elektron.finetuning import recipe
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import (
    SCRATCH,
    Encoder,
    check_encoder,
    load_encoder,
    scratch_encoder,
)
from elektron.finetuning.files.records import Layout, Record
from elektron.finetuning.labelled import Labelled, read_labelled
from elektron.finetuning.results import write_results
from elektron.finetuning.search import combinations
from elektron.finetuning.tasks.base import Feature, Prediction, Task
from elektron.finetuning.tasks.registry import TASKS
from elektron.finetuning.training import Epoch, train
from elektron.finetuning.wording import closing_words
from elektron.folders import is_free
from elektron.inference.predictor import Predictor
from elektron.sweep import in_words, with_settings

log = logging.getLogger(__name__)

RESTARTS = 2
"""How often a run that collapsed begins again."""
SEED_OF_RESTART = 1000
"""What is added to a run's seed when it begins again."""
LEAST_LOOK = 1000
"""Rows: looking at the evaluation rows after an epoch takes no more than the epoch's training rows, or these."""
JUDGED_BESIDES = 200
"""Training rows on which a model is judged that says the same of all evaluation rows."""
SCRATCH_VOCABULARY = 8192


@dataclass
class Run:
    """One training, as `runs.json` tells it."""

    side: str
    """`pretrained` or `scratch`."""
    seed: int
    settings: dict[str, Any]
    """Those that were searched."""
    epochs: list[Epoch] = field(default_factory=list)
    kept_epoch: float = 0.0
    eval: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] | None = None
    seconds: float = 0.0
    collapsed: str | None = None
    kept: bool = False

    @property
    def name(self) -> str:
        return " · ".join(filter(None, [self.side, in_words(self.settings), f"seed {self.seed}"]))


@dataclass
class Fitted:
    """A trained model with all that is needed to use it."""

    run: Run
    config: FinetuneConfig
    """Resolved."""
    task: Task
    model: PreTrainedModel
    encoder: Encoder

    def predictor(self) -> Predictor:
        return Predictor(
            self.task, self.model, self.encoder.tokenizer, Device.choose(self.config.precision)
        )


def finetune(config: FinetuneConfig) -> dict[str, Any]:
    """Train as the configuration says and write `config.out`; what its `metrics.json` holds.

    Raises:
        ElektronError: a setting that cannot work, files that are not of the task, or a folder
            that is taken.
    """
    recipe.check(config)
    grid = combinations(config.sweep)
    if not is_free(config.out):
        raise ElektronError(f"{config.out} exists and is not empty: choose another --out")
    check_encoder(config.model)
    keep_freed_memory()
    data = read_labelled(config, TASKS[config.task].layout)
    encoder = encoder_for(config, data)
    sides = {"pretrained" if encoder.pretrained else "scratch": encoder}
    if config.baseline == "scratch":
        if not encoder.pretrained:
            raise ElektronError("--baseline scratch compares with a pretrained --model")
        sides["scratch"] = encoder.from_scratch()
    bench = Bench(config, data)
    best = [bench.best_of(side, network, grid) for side, network in sides.items()]
    best[0].run.kept = True
    metrics = write_results(best[0], bench.runs, data)
    print(closing_words(metrics, bench.runs, best[0].task.figure, config.out))  # noqa: T201
    return metrics


def encoder_for(config: FinetuneConfig, data: Labelled) -> Encoder:
    """The encoder that `--model` names."""
    if not config.model.startswith(SCRATCH):
        if config.tokenizer is not None:
            raise ElektronError("--tokenizer goes with scratch:RECIPE: a model has its own")
        return load_encoder(config.model)
    recipe_name = config.model.removeprefix(SCRATCH)
    if config.tokenizer is not None:
        return scratch_encoder(recipe_name, load_tokenizer(config.tokenizer))
    texts = texts_read(TASKS[config.task].layout, data.train)
    tokenizer = learn_tokenizer(texts, SCRATCH_VOCABULARY)
    return scratch_encoder(recipe_name, tokenizer, learned=True)


def texts_read(layout: Layout, records: Sequence[Record]) -> list[str]:
    """All that an encoder reads of these records, as often as it does; nothing of what is to be said of them."""
    roles = [role.name for role in layout.roles if role.needed in ("always", "together")]
    return [
        text_of(record.values[role])
        for record in records
        for role in roles
        if role in record.values
    ]


def text_of(value: Any) -> str:
    """A text, or tokens or choices with blanks between them."""
    if isinstance(value, dict):  # of choices that have keys
        value = value["text"]
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


class Bench:
    """Runs with the same data, one after another."""

    def __init__(self, config: FinetuneConfig, data: Labelled) -> None:
        self.config = config
        self.data = data
        self.runs: list[Run] = []

    def best_of(self, side: str, encoder: Encoder, grid: Sequence[dict[str, Any]]) -> Fitted:
        """The best run of a side on the evaluation rows."""
        best: Fitted | None = None
        for settings in grid:
            best = self.better(best, self.fit(side, encoder, settings, self.config.seed))
        assert best is not None
        if len(grid) > 1:
            log.info("%s: best on eval with %s", side, in_words(best.run.settings))
        chosen = best.run.settings
        self.score_test(best)
        for seed in range(self.config.seed + 1, self.config.seed + self.config.seeds):
            fitted = self.fit(side, encoder, chosen, seed)
            self.score_test(fitted)
            best = self.better(best, fitted)
        return best

    def better(self, best: Fitted | None, fitted: Fitted) -> Fitted:
        """Of two the one with the higher figure on the evaluation rows."""
        figure = fitted.task.figure
        if best is None or fitted.run.eval[figure] > best.run.eval[figure]:
            return fitted
        return best

    def fit(self, side: str, encoder: Encoder, settings: dict[str, Any], seed: int) -> Fitted:
        """One training; begun again with another seed if all it says in the end is the same."""
        began = time.perf_counter()
        config = recipe.resolve(
            with_settings(self.config, settings),
            family=encoder.config.model_type,
            width=encoder.config.hidden_size,
            longest=encoder.longest_input,
            rows=len(self.data.train),
            pretrained=encoder.pretrained,
        )
        torch.manual_seed(seed)
        task = self.task(config, encoder)
        features = task.features(self.data.train, encoder.tokenizer, labelled=True)
        if not self.runs:
            encoder.check_vocabulary([feature["input_ids"] for feature in features])
        run = Run(side, seed, settings)
        for restart in range(RESTARTS + 1):
            fitted = self.attempt(run, config, task, encoder, features, restart)
            if run.collapsed is None or restart == RESTARTS:
                break
            log.warning(
                "%s has collapsed, %s: it begins again with another seed", run.name, run.collapsed
            )
        if run.collapsed is not None:
            log.warning(
                "%s has collapsed again, %s: another --learning-rate or more --epochs may help",
                run.name,
                run.collapsed,
            )
        run.seconds = time.perf_counter() - began
        self.runs.append(run)
        log.info("%s: %s %.4g on eval", run.name, task.figure, run.eval[task.figure])
        return fitted

    def task(self, config: FinetuneConfig, encoder: Encoder) -> Task:
        """What is to be learned, and that all files are of it."""
        task = TASKS[config.task].learn(self.data.train, config, encoder)
        task.columns = columns_by_name(self.data.train[0])
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
        fitted = Fitted(run, config, task, model, encoder)
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
        predictions = fitted.predictor().predict(self.data.eval)
        # Judged before a threshold is chosen: it may be best to answer nothing, which is no collapse.
        run.collapsed = self.collapse(fitted, predictions)
        tuned = fitted.task.tuned(self.data.eval, predictions)
        if tuned is not fitted.task:
            fitted.task = tuned
            predictions = fitted.predictor().predict(self.data.eval)
        run.epochs = history.epochs
        run.kept_epoch = history.epochs[history.kept].epoch
        run.eval = fitted.task.measure(self.data.eval, predictions)()
        return fitted

    def collapse(self, fitted: Fitted, predictions: Sequence[Prediction]) -> str | None:
        """In words, how a model says the same of all rows where it should not; None if it does not.

        A few evaluation rows may get the same answer by chance, and rightly so where it is true of all of
        them: a model that says the same of them must say it of training rows too to have collapsed.
        """
        if fitted.task.collapsed(predictions) is None:
            return None
        count = min(JUDGED_BESIDES, len(self.data.train))
        besides = random.Random(self.config.seed).sample(self.data.train, count)
        said = [*predictions, *fitted.predictor().predict(besides)]
        varied = fitted.task.varied([*self.data.eval, *besides])
        return fitted.task.collapsed(said) if varied else None

    def watched(self) -> list[Record]:
        """The evaluation rows that are looked at after each epoch."""
        most = max(LEAST_LOOK, len(self.data.train))
        if len(self.data.eval) <= most:
            return self.data.eval
        return random.Random(self.config.seed).sample(self.data.eval, most)

    def score_test(self, fitted: Fitted) -> None:
        """Figures on the test rows, by which nothing is chosen."""
        if self.data.test:
            predictions = fitted.predictor().predict(self.data.test)
            fitted.run.test = fitted.task.measure(self.data.test, predictions)()


def columns_by_name(record: Record) -> dict[str, str]:
    """The columns that training found, by role; those that have numbers only are not worth keeping."""
    return {
        role: names
        for role, names in record.names.items()
        if not all(name.isdecimal() for name in names.split(","))
    }


def look_by_figure(predictor: Predictor, records: Sequence[Record]) -> Any:
    """A function that gives the figures of the model as it is."""
    features = predictor.task.features(records, predictor.tokenizer, labelled=False)

    def look() -> dict[str, float]:
        predictions = predictor.predict_features(records, features)
        return predictor.task.measure(records, predictions)()

    return look


def look_by_loss(predictor: Predictor, records: Sequence[Record]) -> Any:
    """A function that gives the loss of the model as it is, where figures would need text to be generated."""
    features = predictor.task.features(records, predictor.tokenizer, labelled=True)
    return lambda: {"loss": predictor.loss(features)}
