"""Results of some minutes of pre-training: the rows of the tables in docs/speedrun.md.

Every arm is pre-trained on the same blocks for the same time, evaluation and compilation included, and evaluated by its
losses on held-out rows, its accuracy on BLiMP's minimal pairs, and fine-tuning on few labels (PROBES) with three seeds.
A row is one line of JSON with all metrics and the curve of the run; `--table` prints all rows, medians over seeds.

    python benchmarks/speedrun.py --corpus enwiki/train.txt.gz --data DATA --blimp dev.jsonl.gz --arm elektron

DATA is a folder with sst2/, mrpc/, sts-b/ and enwiki/valid.txt.gz. The last is text for the tagging probe, which
predicts which words of the lower-cased text began with a capital letter.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import gzip
import json
import logging
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from common import machine, new_parser
from elektron.compare.probes import parse_probe
from elektron.configuration import to_flat_dict
from elektron.corpus.config import PrepareConfig, TokenizerConfig
from elektron.corpus.prepare import prepare
from elektron.corpus.tokenizer import train_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning.config import EvaluateConfig, FinetuneConfig
from elektron.finetuning.finetune import finetune
from elektron.inference.evaluate import evaluate
from elektron.pretraining.config import PretrainConfig
from elektron.pretraining.pretrain import pretrain
from elektron.recipes import pretrain_config
from elektron.reporting.markdown import table
from elektron.reporting.task_result import RUNS

SIZES = {
    "network.num_hidden_layers": 4,
    "network.hidden_size": 256,
    "network.intermediate_size": 1024,
    "network.num_attention_heads": 4,
    "network.embedding_size": 128,
    "batch_size": 32,
    # No checkpoints during the run.
    "checkpoint.every": 10**9,
}
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "elektron": ("elektron-mini", {}),
    # The official settings except sizes; the warm-up of 10,000 steps is 1 % of the official run.
    "paper": ("electra-small", {"optimizer.warmup": 0.01}),
    "mlm": ("elektron-mini", {"objective": "mlm"}),
}
"""The recipe of each arm, and its overrides besides SIZES."""

PROBES = {
    "sst2": "classification --train {data}/sst2/train.tsv --eval {data}/sst2/dev.tsv",
    "mrpc": "classification --train {data}/mrpc/msr_paraphrase_train.txt"
    " --eval {data}/mrpc/msr_paraphrase_test.txt --text '#1 String' --pair '#2 String' --label Quality",
    "sts-b": "regression --train {data}/sts-b/sts-train.tsv --eval {data}/sts-b/sts-dev.tsv"
    " --text 6 --pair 7 --label 5",
    "capitals": "token-classification --train {work}/capitals.train.jsonl --eval {work}/capitals.eval.jsonl",
}
FIXED = "--epochs 5 --batch-size 32 --max-length 128 --keep last --seeds {seeds} --max-train {labels}"
"""Options of every probe; nothing is selected on the reported rows."""
TAGGED = "enwiki/valid.txt.gz"
WORD = re.compile(r"\w+|[^\w\s]")
SENTENCE_WORDS = range(5, 61)
EVALUATED_SENTENCES = 1000

POSITION = ("step", "tokens", "seconds")
LOSSES = ("generator_loss", "lm_loss", "discriminator_loss", "discriminator_auc")
SUMMARY = ("seconds", "steps", "tokens", "device", "precision", "compiled", *LOSSES)
METRICS = {
    "steps": "{:,.0f}",
    "tokens": "{:.3g}",
    "generator_loss": "{:.3f}",
    "discriminator_loss": "{:.4f}",
    "discriminator_auc": "{:.3f}",
    "blimp_generator": "{:.3f}",
    "blimp_discriminator": "{:.3f}",
    **dict.fromkeys(PROBES, "{:.3f}"),
}
"""Columns of the table with the format of their medians."""


def main() -> None:
    parser = new_parser(__doc__, "speedrun", suffix="jsonl")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--arm", nargs="+", choices=list(ARMS), default=["elektron"])
    parser.add_argument("--seed", nargs="+", type=int, default=[1])
    parser.add_argument("--corpus", help="file or folder of text")
    parser.add_argument("--data", type=Path, help="folder of the probes' data (default: no probes)")
    parser.add_argument("--blimp", help="minimal pairs (default: none)")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of pre-training")
    parser.add_argument("--finetune", default="", help="options of all probes, quoted")
    parser.add_argument("--probe-seeds", type=int, default=3)
    parser.add_argument("--labels", type=int, default=2000)
    parser.add_argument("--every", type=int, default=100, help="steps between points of the curve")
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--note", default="", help="description of the change, for the table")
    parser.add_argument("--work", type=Path, default=Path("runs/speedrun"))
    parser.add_argument("--table", action="store_true", help="only print the table of all rows")
    options = parser.parse_args()
    try:
        if not options.table:
            run_all(options)
        rows = [json.loads(line) for line in options.json.read_text(encoding="utf-8").splitlines()]
    except (ElektronError, FileNotFoundError) as error:
        parser.exit(2, f"speedrun: {error}\n")
    if not options.table:
        rows = rows[-len(options.arm) * len(options.seed) :]
    print(in_markdown(rows))


def run_all(options: argparse.Namespace) -> None:
    """Run every arm with every seed, and append a line of JSON for each."""
    if options.corpus is None:
        raise ElektronError("--corpus is needed: a file or folder of text")
    logging.basicConfig(format="%(message)s")
    logging.getLogger("elektron").setLevel(logging.WARNING)
    work = options.work / re.sub(r"\W+", "-", str(options.corpus)).strip("-")
    configs = [(arm, seed, arm_config(arm, seed, options)) for seed in options.seed for arm in options.arm]
    with contextlib.redirect_stdout(sys.stderr):
        blocks = prepare_blocks(work, options)
        probes = probe_configs(work, options)
        for arm, seed, config in configs:
            name = f"{time.strftime('%Y%m%d-%H%M%S')}-{arm}-seed-{seed}"
            config.data, config.out = blocks, work / "runs" / name
            row = {
                "date": datetime.date.today().isoformat(),
                "commit": commit(),
                "arm": arm,
                "note": options.note,
                "settings": sorted(options.set),
                "finetune": options.finetune,
                "seed": seed,
                "minutes": options.minutes,
                "corpus": str(options.corpus),
                "threads": torch.get_num_threads(),
            }
            row |= measured(config, options.blimp, probes)
            options.json.parent.mkdir(parents=True, exist_ok=True)
            with options.json.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def arm_config(arm: str, seed: int, options: argparse.Namespace) -> PretrainConfig:
    """Settings of the pre-training of an arm."""
    recipe, overrides = ARMS[arm]
    from_options = {"minutes": options.minutes, "seed": seed, "evaluation.every": options.every}
    from_options |= dict(item.split("=", 1) for item in options.set)
    return pretrain_config(recipe, SIZES | overrides | from_options)


def prepare_blocks(work: Path, options: argparse.Namespace) -> Path:
    """Make tokenizer and blocks of the corpus, once."""
    shape = f"{options.vocab_size}-{options.seq_len}"
    tokenizer, blocks = work / f"tokenizer-{options.vocab_size}", work / f"blocks-{shape}"
    corpus = [str(options.corpus)]
    train_tokenizer(TokenizerConfig(corpus=corpus, out=tokenizer, vocab_size=options.vocab_size))
    prepare(PrepareConfig(corpus=corpus, tokenizer=str(tokenizer), out=blocks, seq_len=options.seq_len))
    return blocks


def probe_configs(work: Path, options: argparse.Namespace) -> dict[str, FinetuneConfig]:
    """Settings of the probes, without the model."""
    if options.data is None:
        return {}
    write_capitals(options.data / TAGGED, work)
    fixed = FIXED.format(seeds=options.probe_seeds, labels=options.labels)
    folders = {"data": shlex.quote(str(options.data)), "work": shlex.quote(str(work))}
    return {
        name: parse_probe(f"{name}={text.format(**folders)} {fixed} {options.finetune}").config
        for name, text in PROBES.items()
    }


def write_capitals(text: Path, work: Path) -> None:
    """Write sentences in lower case, with a tag for each word: whether it began with a capital letter."""
    rows = []
    with gzip.open(text, "rt", encoding="utf-8") as file:
        for line in file:
            words = WORD.findall(line.split(". ")[0])
            if len(words) in SENTENCE_WORDS:
                tags = ["upper" if word[0].isupper() else "lower" for word in words]
                rows.append({"tokens": [word.lower() for word in words], "tags": tags})
    parts = {"eval": rows[:EVALUATED_SENTENCES], "train": rows[EVALUATED_SENTENCES:]}
    for name, part in parts.items():
        lines = "".join(json.dumps(row) + "\n" for row in part)
        (work / f"capitals.{name}.jsonl").write_text(lines, encoding="utf-8")


def commit() -> str | None:
    """Commit of the measured program, with a + if files differ from it; None outside of git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def measured(config: PretrainConfig, blimp: str | None, probes: dict[str, FinetuneConfig]) -> dict[str, Any]:
    """All metrics of one arm, and the curve of its pre-training."""
    summary = pretrain(config)
    shutil.rmtree(config.out / "checkpoints", ignore_errors=True)
    row = {name: summary.get(name) for name in SUMMARY}
    # Objectives without a generator report their own loss on the same masked tokens.
    if row["generator_loss"] is None:
        row["generator_loss"] = row["lm_loss"]
    row["processor"] = "{device} ({kind})".format(**machine())
    row["run"] = str(config.out)
    row["overrides"] = {name: str(value) for name, value in to_flat_dict(config).items()}
    row["curve"] = list(curve(config.out))
    if blimp is not None:
        result = evaluate(EvaluateConfig(model=str(config.out), blimp=blimp))
        kinds = {"masked language model": "generator", "discriminator": "discriminator"}
        for network in result["models"].values():
            row[f"blimp_{kinds[network['kind']]}"] = network["accuracy"]
            row[f"blimp_{kinds[network['kind']]}_phenomena"] = {
                name: each["accuracy"] for name, each in network.get("phenomenon", {}).items()
            }
    for name, probe in probes.items():
        row[name], row[f"{name}_seeds"] = probed(probe, config.out, name)
    return row


def curve(run: Path) -> Iterable[dict[str, Any]]:
    """The evaluations of a run with their seconds of training."""
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        point = json.loads(line)
        if point["kind"] == "evaluation":
            yield {name: point[name] for name in (*POSITION, *LOSSES) if point.get(name) is not None}


def probed(probe: FinetuneConfig, run: Path, name: str) -> tuple[float, list[float]]:
    """Fine-tune; returns the median of the probe's metric over its seeds, and all values."""
    probe.model, probe.out = str(run), run / "probes" / name
    finetune(probe)
    runs = json.loads((probe.out / RUNS).read_text(encoding="utf-8"))
    values = [each["eval"][each["metric"]] for each in runs]
    for weights in probe.out.glob("*.safetensors"):
        weights.unlink()
    return statistics.median(values), values


def in_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table with a row for each arm and change, medians over seeds."""
    groups: defaultdict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    same = ("date", "commit", "arm", "note", "settings", "finetune", "minutes", "corpus", "threads")
    for row in rows:
        groups[tuple(str(row[name]) for name in same)].append(row)
    lines = []
    for group in groups.values():
        first = group[0]
        change = " ".join(filter(None, [first["note"], *first["settings"], first["finetune"]]))
        cells = [first["date"], str(first["commit"]), first["arm"], change]
        cells += [",".join(str(row["seed"]) for row in group)]
        cells.append(f"{statistics.median(row['seconds'] for row in group):.0f}")
        for name, form in METRICS.items():
            values = [row[name] for row in group if row.get(name) is not None]
            cells.append(form.format(statistics.median(values)) if values else "–")
        lines.append(cells)
    head = ["date", "commit", "arm", "change", "seeds", "seconds"]
    return table([*head, *(name.replace("_", " ") for name in METRICS)], lines)


if __name__ == "__main__":
    main()
