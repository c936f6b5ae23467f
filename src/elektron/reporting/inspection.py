"""`elektron inspect`: prints findings about a corpus, or about a folder of blocks and some of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from elektron.corpus.blocks import BlockStore
from elektron.corpus.config import InspectConfig
from elektron.corpus.inspection import Finding, Verdict, inspect_corpus
from elektron.corpus.manifest import MANIFEST, SPLITS
from elektron.corpus.redaction import by_kind
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.terminal import escape_control, rich_console

PADDING = {"dense": (0.01, 0.1), "paper": (0.3, 0.6)}
"""By packing, the fractions of padding above which it is `worth a look` and `wrong`, as it wastes compute."""
COLORS: dict[Verdict, str] = {"fine": "green", "worth a look": "yellow", "wrong": "red"}


def inspect(config: InspectConfig) -> list[Finding]:
    """Print findings about a corpus or a folder of blocks, and return them.

    Raises:
        ElektronError: the corpus cannot be read, or the blocks are damaged.
    """
    folders = [Path(source) for source in config.corpus if (Path(source) / MANIFEST).is_file()]
    if not folders:
        findings = inspect_corpus(config)
        _print(findings, ((finding.subject, finding.samples) for finding in findings if finding.samples))
        return findings
    if len(config.corpus) > 1:
        raise ElektronError(f"{folders[0]}: a folder of blocks is inspected alone")
    for name in ("redact", "tokenizer", "text"):
        if getattr(config, name):
            raise ElektronError(f"--{name} only applies to a corpus; {folders[0]} holds blocks")
    store = BlockStore.open(folders[0])
    store.verify()
    findings = list(_of_blocks(store))
    _print(findings, ((f"row {number:,}", text.splitlines()) for number, text in rows_as_text(store, config.rows)))
    return findings


def rows_as_text(store: BlockStore, count: int) -> Iterator[tuple[int, str]]:
    """Yield some training rows, evenly spaced: the number and the decoded text, with a new line at each [CLS]."""
    rows, special = store.rows("train"), store.manifest.special_ids
    tokenizer = load_tokenizer(str(store.tokenizer_folder))
    numbers = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows)), dtype=np.int64))
    for number, ids in zip(numbers.tolist(), rows.take(numbers), strict=True):
        texts = np.split(ids[ids != special["pad"]], np.flatnonzero(ids == special["cls"])[1:])
        yield number, "\n".join(tokenizer.decode(text) for text in texts)


def _of_blocks(store: BlockStore) -> Iterator[Finding]:
    manifest = store.manifest
    train, validation = (manifest.splits[split] for split in SPLITS)
    yield Finding("complete", "checksums match")
    yield Finding("made from", ", ".join(manifest.corpus))
    yield Finding("documents", f"{train.documents:,} to train on, {validation.documents:,} held out")
    for name, counts in train.members.items():
        if not manifest.weights[name]:
            held_out = validation.members[name]
            yield Finding(name, f"held out only: {held_out.documents:,} documents, {held_out.tokens:,} tokens")
            continue
        yield Finding(
            name,
            f"{manifest.weights[name]:.3f} of the mixture: {counts.documents:,} documents, "
            f"{counts.tokens:,} tokens, {counts.epochs:.2f} times in an epoch",
            # Further repetitions of the same text help little (Muennighoff et al. 2023).
            "worth a look" if counts.epochs > 4 else "fine",
            "often repeated: lower its weight, or add text",
        )
    yield Finding("duplicates dropped", f"{manifest.duplicates:,}")
    if manifest.redacted:
        yield Finding("redacted", f"{by_kind(manifest.redacted)}; {manifest.not_redacted}")
    yield Finding(
        "rows",
        f"{train.rows:,} of {manifest.seq_len} tokens, {validation.rows:,} held out",
        "worth a look" if validation.rows < 100 else "fine",
        "few rows to evaluate on, metrics will be noisy: hold out more with --validation",
    )
    yield Finding("vocabulary", f"{manifest.vocab_size:,} entries, stored as {manifest.dtype.name}")
    entropy = f"{store.unigram_entropy:.2f} nats, the loss of a generator that knows token frequencies only"
    yield Finding("unigram entropy", entropy)
    kind = "pieces" if manifest.packing == "dense" else "stretches of one document"
    yield Finding(
        f"{manifest.packing} packing",
        f"{train.pieces / max(1, train.rows):.2f} {kind} a row, "
        f"{train.pieces / max(1, train.documents):.2f} a document",
    )
    padding = 1 - train.tokens / max(1, train.rows * manifest.seq_len)
    look, wrong = PADDING[manifest.packing]
    yield Finding(
        "padding",
        f"{padding:.2%}",
        "wrong" if padding > wrong else "worth a look" if padding > look else "fine",
        "wasted compute: use shorter rows (--seq-len), or --packing dense",
    )


def _print(findings: Iterable[Finding], samples: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Print a table of the findings, then samples, each a title and its lines."""
    table = Table("", "", "finding", "what it may mean", box=None, pad_edge=False)
    for finding in findings:
        verdict = f"[{COLORS[finding.verdict]}]{finding.verdict}[/]"
        advice = "" if finding.verdict == "fine" else finding.advice
        table.add_row(verdict, escaped(finding.subject), escaped(finding.value), escaped(advice))
    with rich_console() as out:
        out.print(table)
        for title, lines in samples:
            out.print(f"\n[bold]{escaped(title)}[/bold]", *map(escaped, lines), sep="\n")


def escaped(text: str) -> str:
    """Escape rich's markup and control characters in text of unknown origin."""
    return escape(escape_control(text))
