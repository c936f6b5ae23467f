"""The whole way in small, on text that every installation has: `elektron quickstart`.

Tokenizer, blocks, a pair pre-trained for a few minutes, then a second act that says whether it was
worth it: which of seven libraries a docstring is from, learned from 500 labelled ones by the
pretrained network and by the same network from scratch. Each stage is the stage that the commands
run, and a stage that is done is not done again.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elektron.configuration import AboveZero, Checked, NotNegative
from elektron.corpus.config import PrepareConfig, TokenizerConfig
from elektron.evidence.config import ReportConfig
from elektron.evidence.runs import SECOND_ACT
from elektron.folders import write_whole
from elektron.terminal import say

CORPUS = "builtin:docs"
VOCAB_SIZE = 4096
SEQ_LEN = 64
TASK = "which library a docstring is from"
LABELLED_DOCUMENTS = 500
TEST_DOCUMENTS = 2000
SEEDS = (1, 2, 3)
EPOCHS = 4
# `--steps` asks for the way in small, for a look or a test.
TEST_DOCUMENTS_IN_SMALL = 500
EPOCHS_IN_SMALL = 1


@dataclass
class QuickstartConfig(Checked):
    """Tokenizer, blocks, a small pair, fine-tuning and a report, in minutes, without a download."""

    out: Path = Path("quickstart")
    """Folder for tokenizer/, blocks/, run/ and report.html."""
    steps: AboveZero[int] | None = None
    """Pre-train for so many steps, and shorten the fine-tuning (default: as many as the recipe has)."""
    seed: NotNegative[int] = 1
    """Decides initial weights, order, masks, samples, and which labelled documents are used."""


def quickstart(config: QuickstartConfig) -> None:
    """Run all stages into `config.out` and say what to do next."""
    from elektron.corpus.prepare import prepare
    from elektron.corpus.vocabulary import train_tokenizer
    from elektron.evidence.report import report
    from elektron.evidence.runs import read_run
    from elektron.evidence.second_act import verdict
    from elektron.pretraining.loop import pretrain
    from elektron.recipes import pretrain_config

    out = config.out
    tokenizer, blocks, run = out / "tokenizer", out / "blocks", out / "run"
    train_tokenizer(TokenizerConfig(corpus=[CORPUS], out=tokenizer, vocab_size=VOCAB_SIZE))
    prepare(PrepareConfig(corpus=[CORPUS], tokenizer=str(tokenizer), out=blocks, seq_len=SEQ_LEN))
    overrides: dict[str, Any] = {"data": blocks, "out": run, "seed": config.seed}
    if config.steps is not None:
        overrides["steps"] = config.steps
    summary = pretrain(pretrain_config("quickstart", overrides))
    second_act(config, run)
    page = report(ReportConfig(runs=[run], out=out / "report.html"))
    act = read_run(run).second_act
    assert act is not None
    say(closing_words(summary, verdict(act), page, blocks, run))


def second_act(config: QuickstartConfig, run: Path) -> None:
    """Fine-tune on labelled docstrings, pretrained against scratch; kept in `second_act.json`."""
    from elektron.corpus.documentation import labelled
    from elektron.finetuning.probe import ProbeRecipe, probe

    path = run / SECOND_ACT
    if path.exists():
        return
    chooser = random.Random(config.seed)
    train = chooser.sample(labelled("train"), LABELLED_DOCUMENTS)
    in_small = config.steps is not None
    count = TEST_DOCUMENTS_IN_SMALL if in_small else TEST_DOCUMENTS
    test = chooser.sample(labelled("test"), count)
    recipe = ProbeRecipe(epochs=EPOCHS_IN_SMALL if in_small else EPOCHS)
    result = probe(run / "discriminator", TASK, train, test, SEEDS, recipe)
    write_whole(path, json.dumps(result, indent=1))


def closing_words(
    summary: dict[str, Any], act_in_words: str, page: Path, blocks: Path, run: Path
) -> str:
    """The results in short, and what to do next."""
    return f"""
Pre-training: generator loss {summary["generator_loss"]:.2f} nats, \
discriminator AUC {summary["discriminator_auc"]:.3f} on held-out rows, {summary["steps"]:,} steps.
Fine-tuning ({TASK}, {LABELLED_DOCUMENTS} labels), pretrained against scratch: {act_in_words}

Look at it:        {page}
Your own text:     elektron inspect FILE
                   elektron tokenizer FILE --out tokenizer
                   elektron prepare FILE --tokenizer tokenizer --out blocks
                   elektron pretrain --config elektron-small --data blocks --out run
The model:         AutoModel.from_pretrained("{run / "discriminator"}"), after `import elektron.models`
Its training data: elektron inspect {blocks}"""
