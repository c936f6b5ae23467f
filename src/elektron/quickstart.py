"""`elektron quickstart`: every stage on a small scale, on text that every installation has.

It trains a tokenizer, makes blocks, pre-trains a generator and a discriminator for a few minutes, and measures what
pre-training gains on a classification task: which of seven libraries a docstring is from, learned from 500 labelled
docstrings by the pretrained network and by the same network from scratch. The stages are those of the other commands; a
complete stage is not repeated.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from elektron.configuration import AboveZero, ValidatedConfig, Within
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
EPOCHS = 4
# With `--steps`, for a first look or a test.
FEWER_TEST_DOCUMENTS = 500


@dataclass
class QuickstartConfig(ValidatedConfig):
    """Try every stage on a small scale, in minutes, on text that every installation has."""

    out: Path = Path("quickstart")
    """Folder for tokenizer/, blocks/, run/, labelled/ and report.html."""
    steps: AboveZero[int] | None = None
    """Pre-train for this number of steps, and shorten the fine-tuning (default: the recipe's number of steps)."""
    seed: Annotated[int, Within(least=0, below=1 << 31)] = 1
    """Decides initial weights, order, masks, samples, and which labelled documents are used."""


def quickstart(config: QuickstartConfig) -> None:
    """Run all stages into `config.out` and print the results and what to do next."""
    from elektron.corpus.prepare import prepare
    from elektron.corpus.tokenizer import train_tokenizer
    from elektron.pretraining.pretrain import pretrain
    from elektron.recipes import pretrain_config
    from elektron.report import report
    from elektron.reporting.task_result import is_task_result, read_task_result
    from elektron.reporting.task_summary import pretraining_gain, warnings

    out = config.out
    tokenizer, blocks, run = out / "tokenizer", out / "blocks", out / "run"
    train_tokenizer(TokenizerConfig(corpus=[CORPUS], out=tokenizer, vocab_size=VOCAB_SIZE))
    prepare(PrepareConfig(corpus=[CORPUS], tokenizer=str(tokenizer), out=blocks, seq_len=SEQ_LEN))
    overrides: dict[str, Any] = {"data": blocks, "out": run, "seed": config.seed}
    if config.steps is not None:
        overrides["steps"] = config.steps
    with output_enabled(output.progress, results=False):  # the quickstart prints its own below
        summary = pretrain(pretrain_config("quickstart", overrides))
        downstream = run / DOWNSTREAM
        if not is_task_result(downstream):
            downstream_check(config, run / "discriminator", downstream)
    page = report(ReportConfig(runs=[run], out=out / "report.html"))
    result = read_task_result(downstream)
    gain = pretraining_gain(result)
    assert gain is not None  # both sides were trained
    echo(summary_text(summary, " ".join([gain[-1], *warnings(result)]), page, blocks, run))


def downstream_check(config: QuickstartConfig, model: Path, out: Path) -> None:
    """Run `elektron finetune` on labelled docstrings into the folder `out`, pretrained against scratch."""
    from elektron.corpus.documentation import labelled
    from elektron.finetuning.finetune import finetune

    shortened = config.steps is not None
    train, test = labelled("train"), labelled("test")
    rng = random.Random(config.seed)
    rng.shuffle(train)
    rng.shuffle(test)
    rows = {
        "train": train[:LABELLED_DOCUMENTS],
        "eval": train[LABELLED_DOCUMENTS : LABELLED_DOCUMENTS + EVAL_DOCUMENTS],
        "test": test[: FEWER_TEST_DOCUMENTS if shortened else TEST_DOCUMENTS],
    }
    folder = config.out / "labelled"
    folder.mkdir(exist_ok=True)
    for split, documents in rows.items():
        lines = [json.dumps({"text": text, "label": label}) + "\n" for text, label in documents]
        atomic_write(folder / f"{split}.jsonl", "".join(lines))
    finetune(
        FinetuneConfig(
            task="classification",
            model=str(model),
            train=[str(folder / "train.jsonl")],
            eval=[str(folder / "eval.jsonl")],
            test=[str(folder / "test.jsonl")],
            text="text",
            label="label",
            out=out,
            baseline="scratch",
            # Each side uses the learning rate that is better for it on the evaluation documents.
            sweep=[] if shortened else ["learning_rate=1e-3,2e-3"],
            seeds=3,
            epochs=1 if shortened else EPOCHS,
            max_length=SEQ_LEN,
        )
    )


def summary_text(summary: dict[str, Any], verdict: str, page: Path, blocks: Path, run: Path) -> str:
    """The results in short, and what to do next."""
    return f"""
Pre-training: generator loss {summary["generator_loss"]:.2f} nats, \
discriminator AUC {summary["discriminator_auc"]:.3f} on held-out rows, {summary["steps"]:,} steps.
Fine-tuning ({TASK}, {LABELLED_DOCUMENTS} labels), pretrained against scratch: {verdict}

Look at it:        {page}
The classifier:    {run / DOWNSTREAM / "report.html"}
Your own text:     elektron inspect FILE
                   elektron tokenizer FILE --out tokenizer
                   elektron prepare FILE --tokenizer tokenizer --out blocks
                   elektron pretrain --config elektron-small --data blocks --out run
The model:         AutoModel.from_pretrained("{run / "discriminator"}"), after `import elektron.models`
Its training data: elektron inspect {blocks}"""
