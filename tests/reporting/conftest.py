"""Synthetic runs with realistic curves."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.reporting import tuned

CONFIG: dict[str, Any] = {
    "data": "quickstart/blocks",
    "out": "quickstart/run",
    "family": "elektron",
    "objective": "rtd",
    "plan": "joint",
    "init_from": None,
    "steps": 1200,
    "tokens": None,
    "minutes": None,
    "batch_size": 32,
    "seed": 1,
    "discriminator_weight": 50.0,
    "network": {
        "num_hidden_layers": 4,
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_attention_heads": 4,
        "embedding_size": 128,
        "generator_width": 0.5,
        "max_position_embeddings": 512,
        "dropout": 0.0,
    },
    "masking": {"mask_probability": 0.15, "keep_probability": 0.15},
    "optimizer": {"name": "muon", "learning_rate": 0.003, "muon_learning_rate": 0.02, "beta2": 0.999, "warmup": 0.01},
    "evaluation": {"every": 100, "rows": 512},
    "checkpoint": {"every": 400, "keep": 2},
    "log_every": 20,
    "compile": None,
    "precision": None,
}
CORPUS: dict[str, Any] = {
    "fingerprint": "5d1c0f",
    "sources": ["builtin:docs"],
    "documents": {"train": 35210, "validation": 718},
    "rows": {"train": 98340, "validation": 2011},
    "tokens": {"train": 6281120, "validation": 128444},
    "seq_len": 64,
    "packing": "dense",
    "padding_share": 0.0021,
    "vocab_size": 4096,
    "unigram_entropy": 6.07,
}
TEXTS = [
    "Return the sum of squared differ ##ences between two array ##s of the same shape .",
    "If axis is None , the array is fl ##attened before it is sorted ( the default ) .",
    "The model reads a batch of token ids and returns hidden states , one for each position .",
    "Raises Value ##Error if the file does not exist or max _ length is negative .",
]
MakeRun = Callable[..., Path]


def metrics(steps: int, seed: int, speed: float, end: float = 3.77) -> list[dict[str, Any]]:
    """Lines of `metrics.jsonl` of a run whose generator loss approaches `end` nats."""
    draw = random.Random(seed)
    lines: list[dict[str, Any]] = []
    for step in range(20, steps + 1, 20):
        place = {"step": step, "tokens": step * 2048, "flops": step * 2e10, "seconds": round(step * 2048 / speed, 2)}
        loss = end + (8.2 - end) * math.exp(-step / 260)
        auc = 0.5 + 0.262 / (1 + math.exp(-(step - 520) / 130)) + 0.2 * math.exp(-step / 45)
        learned = max(0.0, (step - 300) / 900)
        figures = {
            "generator_loss": loss + draw.gauss(0, 0.07),
            "generator_accuracy": 0.36 - 0.04 * (loss - end) + draw.gauss(0, 0.01),
            "discriminator_loss": 0.283 - 0.05 * learned + draw.gauss(0, 0.004),
            "discriminator_auc": auc + draw.gauss(0, 0.012),
            "replaced_share": 0.079 + draw.gauss(0, 0.001),
            "gradient_norm_generator": 0.9 + 2 * math.exp(-step / 80) + abs(draw.gauss(0, 0.15)),
            "gradient_norm_discriminator": 1.4 + 0.8 * learned + abs(draw.gauss(0, 0.3)),
            "learning_rate": 0.003 * min(step / 12, 1 - step / (steps + 20)),
            "tokens_per_second": speed + draw.gauss(0, speed / 40),
            "data_wait_share": 0.004 + abs(draw.gauss(0, 0.003)),
        }
        lines.append({"kind": "train"} | place | figures)
        if step % 100 == 0:
            lines.append(
                {"kind": "evaluation"}
                | place
                | {
                    "generator_loss": loss + 0.02,
                    "generator_accuracy": 0.36 - 0.04 * (loss - end),
                    "discriminator_loss": 0.283 - 0.05 * learned,
                    "discriminator_auc": auc,
                    "discriminator_precision": 0.71 if learned > 0.3 else None,
                    "discriminator_recall": 0.08 * learned,
                    "discriminator_precision_at_base_rate": 0.19 + 0.05 * learned,
                    "discriminator_recall_at_base_rate": 0.52 + 0.1 * learned,
                    "replaced_share": 0.079,
                    "logit_spread": 0.1 + learned,
                }
            )
    return lines


def examples(seed: int) -> list[dict[str, Any]]:
    """Corrupted texts with a discriminator that is right more often than not."""
    draw = random.Random(seed)
    made = []
    for text in TEXTS:
        original = text.split()
        masked = [draw.random() < 0.18 for _ in original]
        replaced = [m and draw.random() < 0.65 for m in masked]
        tokens = [draw.choice(["value", "index", "##ed", "model"]) if r else o
                  for o, r in zip(original, replaced, strict=True)]  # fmt: skip
        probability = [draw.betavariate(3, 4) if r else draw.betavariate(1, 16) for r in replaced]
        made.append(
            {
                "tokens": tokens,
                "original": original,
                "masked": masked,
                "replaced": replaced,
                "probability": [round(p, 4) for p in probability],
            }
        )
    return made


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write the folder of a run; an argument replaces the content of its file, None leaves the file out."""

    def make(
        name: str = "run",
        *,
        seed: int = 1,
        speed: float = 13200.0,
        end: float = 3.77,
        finished: bool = True,
        config: dict[str, Any] | None = None,
        lines: list[dict[str, Any]] | None = None,
        corpus: dict[str, Any] | None = CORPUS,
        sentences: list[dict[str, Any]] | None = None,
        downstream: bool = False,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | (config or {}), sort_keys=False))
        logged = metrics(1200 if finished else 640, seed, speed, end) if lines is None else lines
        text = "".join(json.dumps(line) + "\n" for line in logged)
        (folder / "metrics.jsonl").write_text(text if finished else text + '{"kind": "trai')
        files: dict[str, Any] = {
            "corpus.json": corpus,
            "examples.json": examples(seed) if sentences is None and finished else sentences,
        }
        if finished:
            last = [line for line in logged if line["kind"] == "evaluation"][-1]
            files["summary.json"] = {k: v for k, v in last.items() if k != "kind"} | {
                "steps": last["step"],
                "tokens_per_second": speed,
                "flops": 1.31e13,
                "device": "CPU, 2 threads",
                "parameters": {"generator": 742_144, "discriminator": 1_329_025},
                "versions": {"elektron": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "transformers": "5.23.0"},
            }
        for file, content in files.items():
            if content is not None:
                (folder / file).write_text(json.dumps(content))
        if downstream:
            tuned.write(folder / "downstream", tuned.classification())
        return folder

    return make
