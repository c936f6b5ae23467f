"""Was pre-training worth it? The same network fine-tuned twice: from its pretrained weights and from scratch.

A small, fixed protocol for the quickstart and for comparisons of pre-trainings, on the mechanism
that `elektron finetune` uses. Each side is trained once a seed, which decides its initial head, the
order of the texts and dropout, at the rate that was better for it on validation texts, and is
scored on texts that neither has seen. From scratch the network has the family's own initial
weights: one with others would flatter pre-training.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from elektron.device import Device
from elektron.finetuning import recipe
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import Encoder, load_encoder
from elektron.finetuning.files.records import Record
from elektron.finetuning.tasks.classification import Classification
from elektron.finetuning.training import train as train_model
from elektron.inference.predictor import Predictor

Labelled = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ProbeRecipe:
    """How both sides are fine-tuned; each at the rate that was better for it on validation texts."""

    epochs: int
    batch: int = 32
    pretrained_lr: float = 2e-3
    scratch_lr: float = 1e-3
    max_tokens: int = 64
    dropout: float = 0.1


def probe(
    discriminator: Path,
    task: str,
    train: Labelled,
    test: Labelled,
    seeds: Sequence[int],
    recipe: ProbeRecipe,
) -> dict[str, Any]:
    """Fine-tune the discriminator and the same network from scratch, and compare.

    Args:
        discriminator: folder of the pretrained model.
        task: what the labels say, in words.
        train: texts and labels to learn from.
        test: texts and labels to be scored on.
        seeds: one fine-tuning a side for each.
        recipe: how.

    Returns:
        What `second_act.json` holds: accuracies of both sides by seed, and that of always predicting the
        commonest class.
    """
    began = time.perf_counter()
    pretrained = load_encoder(str(discriminator))
    train_records, test_records = as_records(train), as_records(test)
    sides = {
        "pretrained": (pretrained, recipe.pretrained_lr),
        "scratch": (pretrained.from_scratch(), recipe.scratch_lr),
    }
    results: dict[str, dict[str, Any]] = {}
    for name, (encoder, lr) in sides.items():
        config = configuration(discriminator, encoder, recipe, lr)
        results[name] = {
            "accuracies": [
                accuracy(encoder, config, train_records, test_records, seed, f"{name}, seed {seed}")
                for seed in seeds
            ]
        }
    commonest, _ = Counter(label for _, label in train).most_common(1)[0]
    return {
        "task": task,
        "classes": sorted({label for _, label in train}),
        "train_documents": len(train),
        "test_documents": len(test),
        "majority_accuracy": sum(label == commonest for _, label in test) / len(test),
        **results,
        "seeds": list(seeds),
        "seconds": time.perf_counter() - began,
    }


def as_records(texts: Labelled) -> list[Record]:
    """Labelled texts as a task reads them."""
    return [
        Record({"text": text, "label": label}, {}, f"text {number}")
        for number, (text, label) in enumerate(texts, start=1)
    ]


def configuration(
    discriminator: Path, encoder: Encoder, probe_recipe: ProbeRecipe, lr: float
) -> FinetuneConfig:
    """The probe's recipe as fine-tuning reads it: one rate for all layers, the last epoch kept."""
    asked = FinetuneConfig(
        task="classification",
        model=str(discriminator),
        train=[],
        out=Path(),
        learning_rate=lr,
        layer_decay=1.0,
        epochs=probe_recipe.epochs,
        batch=probe_recipe.batch,
        weight_decay=0.01,
        dropout=probe_recipe.dropout,
        max_length=probe_recipe.max_tokens,
        keep="last",
    )
    return recipe.resolve(
        asked,
        family=encoder.config.model_type,
        width=encoder.config.hidden_size,
        longest=encoder.longest_input,
        rows=0,
        pretrained=encoder.pretrained,
    )


def accuracy(
    encoder: Encoder,
    config: FinetuneConfig,
    train: Sequence[Record],
    test: Sequence[Record],
    seed: int,
    title: str,
) -> float:
    """Fine-tune a new model and give the share of the test texts whose likeliest class is theirs."""
    task = Classification.learn(train, config, encoder)
    torch.manual_seed(seed)
    model = task.new_model(encoder, config.dropout)
    features = task.features(train, encoder.tokenizer, labelled=True)
    train_model(task, model, encoder.tokenizer, features, config, seed, dict, title)
    predictor = Predictor(task, model, encoder.tokenizer, Device.choose())
    return task.measure(test, predictor.predict(test))()["accuracy"]
