"""How faithful an order of words by importance is: comprehensiveness and sufficiency (ERASER, DeYoung et al. 2020).

Comprehensiveness is how far the answer's probability falls when the most important words are masked (more is better);
sufficiency is how far it falls when all other words are masked (less is better). Both are averaged over fractions of
the words. An order without information does as well as a random one, so only the difference from random orders counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from elektron.explain.reading import Answer, Reading
from elektron.finetuning.metrics.measure import Measure, Rows, bootstrap
from elektron.finetuning.predictor import MAX_BATCH_TOKENS

FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Fractions of the words, as in ERASER; each is at least one word."""
RANDOM_ORDERS = 3
"""Number of random orders that each order is compared with."""
LEAST_TEXTS = 10
"""Minimum number of texts for an interval."""


class ProbabilityDrop(NamedTuple):
    """How far the probability of an answer falls with the most important words masked, and with all others masked."""

    comprehensiveness: float
    sufficiency: float


class Faithfulness(NamedTuple):
    """The measures for the order by importance, and their means over random orders."""

    ours: ProbabilityDrop
    random: ProbabilityDrop


@torch.no_grad()
def faithfulness(
    model: PreTrainedModel, reading: Reading, answer: Answer, importance: Sequence[float], mask_id: int, seed: int
) -> Faithfulness:
    """Measure the order of words by importance, and random orders for comparison.

    Args:
        model: the model, in evaluation mode.
        reading: the text as the model reads it, with at least two words.
        answer: one of `reading.answers`.
        importance: importance of each word; its absolute value if the answer is a number.
        mask_id: id of [MASK], which replaces each token of a masked word.
        seed: seed of the random orders.
    """
    values = np.abs(importance) if answer.is_number else np.asarray(importance)
    generator = np.random.default_rng(seed)
    orders = [np.argsort(-values, kind="stable")]
    orders += [generator.permutation(len(values)) for _ in range(RANDOM_ORDERS)]
    counts = [math.ceil(fraction * len(values)) for fraction in FRACTIONS]
    unique_counts = sorted(set(counts))
    masked: list[NDArray[np.intp]] = [np.array([], dtype=np.intp)]
    for order in orders:
        masked += [part for count in unique_counts for part in (order[:count], order[count:])]
    strengths = strengths_without(model, reading, answer, masked, mask_id)
    unmasked, strengths_masked = strengths[0], strengths[1:].reshape(len(orders), len(unique_counts), 2)
    drops = np.abs(unmasked - strengths_masked) if answer.is_number else unmasked - strengths_masked
    mean_drops = drops[:, [unique_counts.index(count) for count in counts]].mean(1)
    ours, random = mean_drops[0], mean_drops[1:].mean(0)
    return Faithfulness(ProbabilityDrop(*ours.tolist()), ProbabilityDrop(*random.tolist()))


def strengths_without(
    model: PreTrainedModel, reading: Reading, answer: Answer, masked: Sequence[NDArray[np.intp]], mask_id: int
) -> NDArray[np.float64]:
    """Compute an answer's strength with each of several sets of words masked: `(len(masked),)`."""
    ids = reading.inputs["input_ids"].repeat(len(masked), 1)
    for row, words in enumerate(masked):
        for word in words:
            ids[row, list(reading.words[word].positions)] = mask_id
    strengths = []
    for rows in ids.split(max(1, MAX_BATCH_TOKENS[ids.device.type] // ids.shape[1])):
        others = {name: value.expand(len(rows), -1) for name, value in reading.inputs.items()}
        strengths.append(answer.strength(model(**others | {"input_ids": rows})).double().cpu())
    return torch.cat(strengths).numpy()


def summarize(texts: Sequence[Sequence[Faithfulness]]) -> dict[str, Any]:
    """Average over the answers of each text, then over texts, with bootstrap intervals over texts.

    Args:
        texts: the measures of each answer of each text; at least one text, and at least one answer in each.

    Returns:
        `texts`: how many; for each measure its `value`, that of `random` orders, their `difference` and its 95 %
        `interval` (None for few texts); `better_than_random`: whether one measure is clearly better than that of
        random orders and none clearly worse (None for few texts).
    """
    table = np.array([np.mean(text, 0) for text in texts])  # (texts, ours and random, measures)

    def differences(rows: Rows) -> dict[str, float]:
        ours, random = table[rows].mean(0)
        return dict(zip(ProbabilityDrop._fields, (ours - random).tolist(), strict=True))

    intervals = bootstrap(Measure(rows=len(table), compute=differences)) if len(table) >= LEAST_TEXTS else {}
    ours, random = table.mean(0).tolist()
    result: dict[str, Any] = {"texts": len(table), "better_than_random": None}
    for place, (name, difference) in enumerate(differences(slice(None)).items()):
        figures = {"value": ours[place], "random": random[place], "difference": difference}
        result[name] = figures | {"interval": intervals.get(name)}
    if intervals:
        more, less = intervals["comprehensiveness"], intervals["sufficiency"]
        result["better_than_random"] = (more[0] > 0 or less[1] < 0) and more[1] >= 0 and less[0] <= 0
    return result
