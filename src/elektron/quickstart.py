"""The whole way in small, on text that every installation has: `elektron quickstart`.

Tokenizer, blocks, a pair pre-trained for a few minutes, then a downstream check that says whether it was
worth it: which of seven libraries a docstring is from, learned from 500 labelled ones by the
pretrained network and by the same network from scratch. Each stage is the stage that the commands
run, and a stage that is done is not done again.
"""

from __future__ import annotations

import json
import random
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elektron.configuration import AboveZero, NotNegative, ValidatedConfig
from elektron.corpus.config import PrepareConfig, TokenizerConfig
from elektron.finetuning.config import FinetuneConfig
from elektron.io.files import atomic_write
from elektron.reporting.config import ReportConfig
from elektron.reporting.pretraining_run import DOWNSTREAM
from elektron.terminal import echo, output, output_enabled

CORPUS = "builtin:docs"
VOCAB_SIZE = 4096
SEQ_LEN = 64
TASK = "which library a docstring is from"
LABELLED_DOCUMENTS = 500
TEST_DOCUMENTS = 2000
EVAL_DOCUMENTS = 500
SEEDS = 3
EPOCHS = 4
RATES = ["learning_rate=1e-3,2e-3"]
"""Each side takes the one that is better for it on the evaluation documents."""
# `--steps` asks for the way in small, for a look or a test.
TEST_DOCUMENTS_IN_SMALL = 500
EPOCHS_IN_SMALL = 1


@dataclass
class QuickstartConfig(ValidatedConfig):
    """Tokenizer, blocks, a small pair, fine-tuning and a report, in minutes, without a download."""

    out: Path = Path("quickstart")
    """Folder for tokenizer/, blocks/, run/, labelled/, downstream/ and report.html."""
    steps: AboveZero[int] | None = None
    """Pre-train for so many steps, and shorten the fine-tuning (default: as many as the recipe has)."""
    seed: NotNegative[int] = 1
    """Decides initial weights, order, masks, samples, and which labelled documents are used."""


def quickstart(config: QuickstartConfig) -> None:
    """Run all stages into `config.out` and say what to do next."""
    from elektron.corpus.prepare import prepare
    from elektron.corpus.tokenizer import train_tokenizer
    from elektron.pretraining.pretrain import pretrain
    from elektron.recipes import pretrain_config
    from elektron.reporting.pretraining_report import downstream_verdict
    from elektron.reporting.pretraining_run import read_run
    from elektron.reporting.report import report

    out = config.out
    tokenizer, blocks, run = out / "tokenizer", out / "blocks", out / "run"
    train_tokenizer(TokenizerConfig(corpus=[CORPUS], out=tokenizer, vocab_size=VOCAB_SIZE))
    prepare(PrepareConfig(corpus=[CORPUS], tokenizer=str(tokenizer), out=blocks, seq_len=SEQ_LEN))
    overrides: dict[str, Any] = {"data": blocks, "out": run, "seed": config.seed}
    if config.steps is not None:
        overrides["steps"] = config.steps
    with output_enabled(
        output.progress, results=False
    ):  # the quickstart has closing words of its own
        summary = pretrain(pretrain_config("quickstart", overrides))
        downstream_check(config, run)
    page = report(ReportConfig(runs=[run], out=out / "report.html"))
    check = read_run(run).downstream
    assert check is not None
    echo(closing_words(summary, downstream_verdict(check), page, blocks, run))


def downstream_check(config: QuickstartConfig, run: Path) -> None:
    """`elektron finetune` on labelled docstrings, pretrained against scratch; its figures for the run's report."""
    from elektron.corpus.documentation import labelled
    from elektron.finetuning.finetune import finetune
    from elektron.reporting.task_result import SIDES, is_task_result, read_task_result

    if (run / DOWNSTREAM).exists():
        return
    in_small = config.steps is not None
    chooser = random.Random(config.seed)
    train, test = labelled("train"), labelled("test")
    chooser.shuffle(train)
    chooser.shuffle(test)
    test = test[: TEST_DOCUMENTS_IN_SMALL if in_small else TEST_DOCUMENTS]
    held_out = train[LABELLED_DOCUMENTS : LABELLED_DOCUMENTS + EVAL_DOCUMENTS]
    rows = {"train": train[:LABELLED_DOCUMENTS], "eval": held_out, "test": test}
    folder = config.out / "labelled"
    folder.mkdir(exist_ok=True)
    for split, documents in rows.items():
        lines = [json.dumps({"text": text, "label": label}) + "\n" for text, label in documents]
        atomic_write(folder / f"{split}.jsonl", "".join(lines))
    out = config.out / "downstream"
    if not is_task_result(out):
        finetune(
            FinetuneConfig(
                task="classification",
                model=str(run / "discriminator"),
                train=[str(folder / "train.jsonl")],
                eval=[str(folder / "eval.jsonl")],
                test=[str(folder / "test.jsonl")],
                text="text",
                label="label",
                out=out,
                baseline="scratch",
                sweep=[] if in_small else RATES,
                seeds=SEEDS,
                epochs=EPOCHS_IN_SMALL if in_small else EPOCHS,
                max_length=SEQ_LEN,
            )
        )
    result = read_task_result(out)
    sides: dict[str, Any] = {}
    for side in SIDES:
        trial = result.chosen(side)
        assert trial is not None
        accuracies = [tuning.test["accuracy"] for tuning in trial.runs]
        sides[side] = {"accuracies": accuracies}
    labels = [label for _, label in rows["train"]]
    commonest = statistics.mode(labels)
    content = {
        "task": TASK,
        "classes": sorted(set(labels)),
        "train_documents": len(labels),
        "test_documents": len(test),
        "majority_accuracy": sum(label == commonest for _, label in test) / len(test),
        **sides,
    }
    atomic_write(run / DOWNSTREAM, json.dumps(content, indent=1))


def closing_words(
    summary: dict[str, Any], act_in_words: str, page: Path, blocks: Path, run: Path
) -> str:
    """The results in short, and what to do next."""
    return f"""
Pre-training: generator loss {summary["generator_loss"]:.2f} nats, \
discriminator AUC {summary["discriminator_auc"]:.3f} on held-out rows, {summary["steps"]:,} steps.
Fine-tuning ({TASK}, {LABELLED_DOCUMENTS} labels), pretrained against scratch: {act_in_words}

Look at it:        {page}
The classifier:    {run.parent / "downstream" / "report.html"}
Your own text:     elektron inspect FILE
                   elektron tokenizer FILE --out tokenizer
                   elektron prepare FILE --tokenizer tokenizer --out blocks
                   elektron pretrain --config elektron-small --data blocks --out run
The model:         AutoModel.from_pretrained("{run / "discriminator"}"), after `import elektron.models`
Its training data: elektron inspect {blocks}"""
