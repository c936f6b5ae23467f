"""Was pre-training worth it? The same network fine-tuned twice: from its pretrained weights and from scratch.

Both sides get the same labelled texts, the same number of steps and, from scratch, the family's own
initial weights: a network with other ones would flatter pre-training. Each side is trained once a
seed, which decides its initial head, the order of the texts and dropout, and is scored on texts
that neither has seen.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoConfig,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

import elektron.models  # noqa: F401  (registers the family with the Auto classes)
from elektron.progress import Progress

Labelled = Sequence[tuple[str, str]]

WARMUP_SHARE = 0.1
ROWS_IN_SCORING = 64


@dataclass(frozen=True)
class ProbeRecipe:
    """How both sides are fine-tuned; each at the rate that was better for it on validation texts."""

    epochs: int
    batch: int = 16
    pretrained_lr: float = 2e-3
    scratch_lr: float = 1e-3
    max_tokens: int = 64
    dropout: float = 0.1


@dataclass(frozen=True)
class Texts:
    """Labelled texts as token ids."""

    input_ids: list[list[int]]
    labels: NDArray[np.int64]

    def batches(
        self, order: NDArray[np.int64], size: int, pad_id: int
    ) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        """Inputs padded to the longest text of each batch, and labels `(batch,)`."""
        for first in range(0, len(order), size):
            chosen = order[first : first + size]
            rows = [self.input_ids[index] for index in chosen]
            input_ids = np.full((len(rows), max(map(len, rows))), pad_id)
            for row, ids in zip(input_ids, rows, strict=True):
                row[: len(ids)] = ids
            inputs = {
                "input_ids": torch.from_numpy(input_ids),
                "attention_mask": torch.from_numpy((input_ids != pad_id).astype(np.int64)),
            }
            yield inputs, torch.from_numpy(self.labels[chosen])


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
        What `second_act.json` holds: accuracies of both sides, their mean and spread (standard
        deviation over seeds), and the accuracy of always saying the commonest class.
    """
    began = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(discriminator)
    classes = sorted({label for _, label in train})
    train_texts, test_texts = (
        encode(texts, classes, tokenizer, recipe.max_tokens) for texts in (train, test)
    )
    config = AutoConfig.from_pretrained(
        discriminator, num_labels=len(classes), classifier_dropout=recipe.dropout
    )
    encoder = AutoModelForPreTraining.from_pretrained(discriminator).base_model.state_dict()
    sides = {"pretrained": recipe.pretrained_lr, "scratch": recipe.scratch_lr}
    results: dict[str, dict[str, Any]] = {}
    with Progress("second act", len(sides) * len(seeds), "runs") as bar:
        for name, lr in sides.items():
            accuracies = []
            for seed in seeds:
                torch.manual_seed(seed)
                model = AutoModelForSequenceClassification.from_config(config)
                if name == "pretrained":
                    model.base_model.load_state_dict(encoder)
                fine_tune(model, train_texts, recipe, lr, seed)
                accuracies.append(accuracy(model, test_texts))
                bar.update(
                    len(results) * len(seeds) + len(accuracies), f"{name} {accuracies[-1]:.3f}"
                )
            results[name] = {
                "accuracies": accuracies,
                "mean": statistics.fmean(accuracies),
                "spread": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
            }
    commonest, _ = Counter(label for _, label in train).most_common(1)[0]
    return {
        "task": task,
        "classes": classes,
        "train_documents": len(train),
        "test_documents": len(test),
        "majority_accuracy": sum(label == commonest for _, label in test) / len(test),
        **results,
        "seeds": list(seeds),
        "seconds": time.perf_counter() - began,
    }


def encode(
    texts: Labelled, classes: list[str], tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> Texts:
    """Token ids, cut at `max_tokens`, and class numbers."""
    encoded = tokenizer([text for text, _ in texts], truncation=True, max_length=max_tokens)
    labels = np.array([classes.index(label) for _, label in texts])
    return Texts(encoded["input_ids"], labels)


def fine_tune(
    model: PreTrainedModel, texts: Texts, recipe: ProbeRecipe, lr: float, seed: int
) -> None:
    """AdamW with a warm-up over a tenth of the steps and a linear fall to 0."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01, fused=True)
    steps = recipe.epochs * -(-len(texts.labels) // recipe.batch)
    warmup = max(1, round(WARMUP_SHARE * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
    )
    generator = np.random.default_rng(seed)
    for _ in range(recipe.epochs):
        order = generator.permutation(len(texts.labels))
        for inputs, labels in texts.batches(order, recipe.batch, model.config.pad_token_id):
            model(**inputs, labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()


@torch.no_grad()
def accuracy(model: PreTrainedModel, texts: Texts) -> float:
    """Share of the texts whose likeliest class is theirs."""
    model.eval()
    by_length = np.argsort([len(ids) for ids in texts.input_ids], kind="stable")
    right = sum(
        int((model(**inputs).logits.argmax(-1) == labels).sum())
        for inputs, labels in texts.batches(by_length, ROWS_IN_SCORING, model.config.pad_token_id)
    )
    return right / len(texts.labels)
