"""How faithful an order of importance is: comprehensiveness and sufficiency (ERASER, DeYoung et al. 2020).

The words that come first are masked (comprehensiveness: how far the answer's probability falls; more is better), or all
others are (sufficiency: how far it falls; less is better), and both are averaged over fractions of the words. An order
that says nothing does as well as a random one: the difference from random orders is what counts.
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
from elektron.finetuning.predictor import TOKENS_AT_ONCE

FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Of the words, as in ERASER; each is at least one word."""
RANDOM_ORDERS = 3
"""With which each order is compared."""
LEAST_TEXTS = 10
"""From which on an interval is given."""


class Fall(NamedTuple):
    """How far an answer falls without the first words, and with nothing but them."""

    comprehensiveness: float
    sufficiency: float


class Faithfulness(NamedTuple):
    """Of the order of importance, and the mean of random orders."""

    ours: Fall
    random: Fall


@torch.no_grad()
def faithfulness(
    model: PreTrainedModel, reading: Reading, answer: Answer, importance: Sequence[float], mask_id: int, seed: int
) -> Faithfulness:
    """Measure an order of the words against random ones.

    Args:
        model: in evaluation mode.
        reading: of the text, at least two words.
        answer: one of the reading's.
        importance: of each word; of a number, both directions count.
        mask_id: of [MASK], in place of each piece of a word.
        seed: of the random orders.
    """
    values = np.abs(importance) if answer.is_number else np.asarray(importance)
    generator = np.random.default_rng(seed)
    orders = [np.argsort(-values, kind="stable")]
    orders += [generator.permutation(len(values)) for _ in range(RANDOM_ORDERS)]
    counts = [math.ceil(fraction * len(values)) for fraction in FRACTIONS]
    different = sorted(set(counts))
    masked: list[NDArray[np.intp]] = [np.array([], dtype=np.intp)]
    for order in orders:
        masked += [part for count in different for part in (order[:count], order[count:])]
    strengths = strengths_without(model, reading, answer, masked, mask_id)
    whole, rest = strengths[0], strengths[1:].reshape(len(orders), len(different), 2)
    falls = np.abs(whole - rest) if answer.is_number else whole - rest
    of_fractions = falls[:, [different.index(count) for count in counts]].mean(1)
    ours, random = of_fractions[0], of_fractions[1:].mean(0)
    return Faithfulness(Fall(*ours.tolist()), Fall(*random.tolist()))


def strengths_without(
    model: PreTrainedModel, reading: Reading, answer: Answer, masked: Sequence[NDArray[np.intp]], mask_id: int
) -> NDArray[np.float64]:
    """An answer's strength where some words are masked, for each of several choices of words."""
    ids = reading.inputs["input_ids"].repeat(len(masked), 1)
    for row, words in enumerate(masked):
        for word in words:
            ids[row, list(reading.words[word].positions)] = mask_id
    found = []
    for rows in ids.split(max(1, TOKENS_AT_ONCE[ids.device.type] // ids.shape[1])):
        others = {name: value.expand(len(rows), -1) for name, value in reading.inputs.items()}
        found.append(answer.strength(model(**others | {"input_ids": rows})).double().cpu())
    return torch.cat(found).numpy()


def summarize(texts: Sequence[Sequence[Faithfulness]]) -> dict[str, Any]:
    """Means over texts of the means of their answers, with bootstrap intervals over texts.

    Args:
        texts: at least one; for each its answers, at least one.

    Returns:
        `texts`: how many; for each measure its `value`, that of `random` orders, their `difference` and its 95 %
        `interval` (None for few texts); `better_than_random`: whether one measure is clearly better than that of
        random orders and none clearly worse (None for few texts).
    """
    table = np.array([np.mean(text, 0) for text in texts])  # (texts, ours and random, measures)

    def differences(rows: Rows) -> dict[str, float]:
        ours, random = table[rows].mean(0)
        return dict(zip(Fall._fields, (ours - random).tolist(), strict=True))

    intervals = bootstrap(Measure(rows=len(table), compute=differences)) if len(table) >= LEAST_TEXTS else {}
    ours, random = table.mean(0).tolist()
    found: dict[str, Any] = {"texts": len(table), "better_than_random": None}
    for place, (name, difference) in enumerate(differences(slice(None)).items()):
        figures = {"value": ours[place], "random": random[place], "difference": difference}
        found[name] = figures | {"interval": intervals.get(name)}
    if intervals:
        more, less = intervals["comprehensiveness"], intervals["sufficiency"]
        found["better_than_random"] = (more[0] > 0 or less[1] < 0) and more[1] >= 0 and less[0] <= 0
    return found
