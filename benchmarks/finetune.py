"""Speed of fine-tuning, compared with padding every text to the longest.

Both sides train the same network on the same random tokens. One groups texts of similar length and pads to the
longest of the batch, as elektron does; the other pads to the longest of all, as `padding="max_length"` does.
Sides alternate, so that other jobs slow both. Lengths are distributed as those of SST-2's phrases and IMDB's reviews.

    python benchmarks/finetune.py --json benchmarks/results/finetune.json
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from common import machine, new_parser, print_table, print_target, ratios, save
from elektron.allocator import keep_freed_memory
from elektron.corpus.tokenizer import train_tokenizer_on
from elektron.finetuning import recipe
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import scratch_encoder
from elektron.finetuning.inputs import Batch, Feature
from elektron.finetuning.tasks.classification import Classification
from elektron.finetuning.training import train

# Tokens of a text, [CLS] and [SEP] included, at every 5 % of the distribution, in a lower-case vocabulary of
# 8,192 pieces learned from IMDB's reviews. Longer texts are truncated to 512.
# fmt: off
LENGTHS = {
    "SST-2": (3, 4, 5, 5, 6, 6, 7, 8, 9, 10, 11, 12, 13, 15, 17, 19, 21, 25, 29, 36, 75),
    "IMDB": (
        13, 93, 129, 153, 165, 175, 186, 198, 212, 229, 246, 267, 293, 324, 362, 408, 468, 550, 672, 892, 1778,
    ),
}
# fmt: on
TARGET = 1.8  # on SST-2's lengths
LONGEST = 512


@dataclass(kw_only=True)
class PaddedToTheLongest(Classification):
    """The task with every batch as wide as the longest text."""

    width: int

    def collate(self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Pad to `width`."""
        longest = {"input_ids": [0] * self.width, "labels": 0}
        batch = super().collate([*features, longest], tokenizer)
        return {name: rows[:-1] for name, rows in batch.items()}


def main() -> None:
    parser = new_parser(__doc__, "finetune")
    parser.add_argument("--recipe", default="quickstart", help="whose discriminator is fine-tuned")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1280, help="with SST-2's lengths; half as many with IMDB's")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    keep_freed_memory()
    sets = [
        compare(name, options.recipe, options.rows // divisor, options.rounds)
        for name, divisor in (("SST-2", 1), ("IMDB", 2))
    ]
    results = machine() | {"recipe": options.recipe, "sets": sets}
    print_table(
        f"samples/s, medians; discriminator of {options.recipe}, batches of 32",
        ("lengths of", "by length", "to longest", "ratio", "ratios of the rounds"),
        [
            (
                result["name"],
                f"{result['by_length']:.1f}",
                f"{result['to_longest']:.1f}",
                f"{result['ratio']:.2f}",
                ", ".join(f"{ratio:.2f}" for ratio in result["ratios"]),
            )
            for result in sets
        ],
    )
    print_target("SST-2, ratio", sets[0]["ratio"], TARGET)
    save(results, options.json)


def compare(name: str, recipe_name: str, rows: int, rounds: int) -> dict[str, Any]:
    """Samples per second of both sides on texts with the lengths of a data set."""
    lengths = drawn_lengths(LENGTHS[name], rows)
    tokenizer = train_tokenizer_on(["the old house by the river"] * 20, 40)
    generator = np.random.default_rng(0)
    features = [
        {"input_ids": generator.integers(5, len(tokenizer), length).tolist(), "labels": number % 2}
        for number, length in enumerate(lengths)
    ]
    settings: dict[str, Any] = {
        "max_length": LONGEST,
        "labels": ["0", "1"],
        "pairs": False,
        "truncation": "head",
        "stride": 0,
    }
    sides = {"by_length": Classification(**settings), "to_longest": PaddedToTheLongest(width=max(lengths), **settings)}
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, task in sides.items():
            speeds[side].append(samples_per_second(task, recipe_name, features, tokenizer))
    medians = {side: statistics.median(values) for side, values in speeds.items()}
    return {
        "name": name,
        "rows": rows,
        **medians,
        "ratio": medians["by_length"] / medians["to_longest"],
        "ratios": ratios(speeds["by_length"], speeds["to_longest"]),
        "mean_length": statistics.fmean(lengths),
        "longest": max(lengths),
    }


def samples_per_second(
    task: Classification, recipe_name: str, features: list[Feature], tokenizer: PreTrainedTokenizerBase
) -> float:
    """Samples per second of one epoch, without the time to build the model."""
    encoder = scratch_encoder(recipe_name, tokenizer)
    config = FinetuneConfig(
        task="classification", model="scratch:quickstart", train=["none"], out=Path(), epochs=1.0, keep="last"
    )
    config = recipe.resolve(config, encoder.config.model_type, encoder.config.hidden_size, LONGEST, 0, False)
    torch.manual_seed(0)
    model = task.new_model(encoder, config.dropout)
    began = time.perf_counter()
    train(task, model, tokenizer, features, config, dict, task.__class__.__name__, seed=0)
    return len(features) / (time.perf_counter() - began)


def drawn_lengths(twentieths: Sequence[int], rows: int) -> list[int]:
    """`rows` lengths, spread evenly over the distribution, in random order."""
    places = np.linspace(0, len(twentieths) - 1, rows)
    lengths = np.interp(places, np.arange(len(twentieths)), np.minimum(twentieths, LONGEST))
    shuffled: list[int] = np.random.default_rng(0).permutation(np.rint(lengths)).astype(int).tolist()
    return shuffled


if __name__ == "__main__":
    main()
