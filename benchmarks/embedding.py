"""Quality of sentence embeddings: `elektron finetune embedding` and sentence-transformers' trainer on the same rows.

Both sides start from the same encoder and have the same rows, AdamW, rate, warm-up and number of epochs. Both results
are loaded by sentence-transformers in a process that does not import elektron, and measured there by the same code.

    python benchmarks/embedding.py ENCODER train.csv test.csv --seeds 3

Files have the columns `text`, `pair` and, for scored pairs, `label`.
"""

from __future__ import annotations

import contextlib
import csv
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import machine, median_and_range, new_parser, print_table, save

METRICS = {True: ("spearman", "pearson"), False: ("mrr", "recall@1", "recall@10")}
WARMUP = 0.1


def main() -> None:
    parser = new_parser(__doc__, "embedding")
    parser.add_argument("encoder", help="folder of an encoder")
    parser.add_argument("train", help="csv file of pairs")
    parser.add_argument("test", help="csv file of pairs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=64)
    options = parser.parse_args()
    environment = machine()
    scored = "label" in columns(options.test)
    results: dict[str, list[dict[str, float]]] = {
        "before": [in_new_process(measure, options.encoder, options.test, options.max_length)]
    }
    sides = {"elektron": train_elektron, "sentence-transformers": train_sentence_transformers}
    for seed in range(1, options.seeds + 1):
        for name, train in sides.items():
            with tempfile.TemporaryDirectory() as folder:
                out = str(Path(folder, "model"))
                in_new_process(train, options, seed, out)
                values = in_new_process(measure, out, options.test, options.max_length)
            results.setdefault(name, []).append(values)
            print(f"seed {seed}, {name}: {values}", flush=True)
    rows = [
        [name, *(" ".join(f"{values[metric]:.4f}" for values in of_seeds) for metric in METRICS[scored])]
        for name, of_seeds in results.items()
    ]
    print_table(f"{Path(options.test).name}, a value for each seed", ["", *METRICS[scored]], rows)
    summary = {
        name: {metric: median_and_range([values[metric] for values in of_seeds]) for metric in METRICS[scored]}
        for name, of_seeds in results.items()
    }
    settings = {name: str(value) for name, value in vars(options).items()}
    save({"machine": environment, "settings": settings, "values": results, "summary": summary}, options.json)


def columns(path: str) -> dict[str, list[Any]]:
    """The columns of a csv file; `label` as numbers."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) if name == "label" else row[name] for row in rows] for name in rows[0]}


def in_new_process(function: Any, *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def train_elektron(options: Any, seed: int, out: str) -> None:
    from elektron.finetuning.config import FinetuneConfig
    from elektron.finetuning.finetune import finetune

    config = FinetuneConfig(
        task="embedding",
        model=options.encoder,
        train=[options.train],
        eval=[options.test],
        epochs=options.epochs,
        batch_size=options.batch_size,
        max_length=options.max_length,
        optimizer="adamw",
        learning_rate=options.learning_rate,
        layer_decay=1.0,
        warmup=WARMUP,
        keep="last",
        seed=seed,
        out=Path(out),
        precision="fp32",
    )
    with contextlib.redirect_stdout(sys.stderr):
        finetune(config)


def train_sentence_transformers(options: Any, seed: int, out: str) -> None:
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss, MultipleNegativesRankingLoss

    model = SentenceTransformer(options.encoder, device="cpu", trust_remote_code=True)
    model.max_seq_length = options.max_length
    training = columns(options.train)
    loss = CoSENTLoss(model) if "label" in training else MultipleNegativesRankingLoss(model)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=f"{out}-state",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        warmup_steps=WARMUP,
        seed=seed,
        use_cpu=True,
    )
    SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_dict(training), loss=loss
    ).train()
    model.save_pretrained(out)


def measure(folder: str, test: str, max_length: int) -> dict[str, float]:
    """Load a model with sentence-transformers, and compute metrics of its embeddings."""
    import numpy as np
    from scipy.stats import pearsonr, spearmanr
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu", trust_remote_code=True)
    model.max_seq_length = max_length
    pairs = columns(test)
    first = model.encode(pairs["text"], normalize_embeddings=True)
    passages = sorted(set(pairs["pair"]))
    second = model.encode(passages, normalize_embeddings=True)
    if "elektron" in sys.modules:
        raise RuntimeError("elektron was imported: the folder was to load without it")
    cosines = first @ second.T
    place = {passage: index for index, passage in enumerate(passages)}
    right = cosines[np.arange(len(first)), [place[pair] for pair in pairs["pair"]]]
    if "label" in pairs:
        return {
            "spearman": float(spearmanr(right, pairs["label"]).statistic),
            "pearson": float(pearsonr(right, pairs["label"]).statistic),
        }
    ranks = 1 + (cosines > right[:, None]).sum(axis=1)
    return {
        "mrr": float((1 / ranks).mean()),
        "recall@1": float((ranks <= 1).mean()),
        "recall@10": float((ranks <= 10).mean()),
    }


if __name__ == "__main__":
    main()
