"""`elektron inspect`: prints the findings of `corpus.inspection`, or those about prepared blocks.

Rows of blocks are printed with the positions that `mask_rows` of the pre-training selects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table
from transformers import PreTrainedTokenizerBase

from elektron.corpus.blocks import BlockStore
from elektron.corpus.config import InspectConfig
from elektron.corpus.inspection import Finding, Verdict, inspect_corpus
from elektron.corpus.manifest import MANIFEST, SPLITS, Manifest
from elektron.corpus.redaction import by_kind
from elektron.corpus.tokenizer import load_tokenizer
from elektron.corpus.vocabulary import readable
from elektron.errors import ElektronError
from elektron.pretraining.config import MaskingConfig
from elektron.pretraining.masking import draws_in_row, mask_rows, max_masked_positions
from elektron.pretraining.randomness import row_uniforms
from elektron.terminal import escape_control, rich_console

PADDING = {"dense": (0.01, 0.1), "paper": (0.3, 0.6)}
"""Fractions from which padding is worth a look, and wrong: it costs compute and trains nothing."""
# With fewer held-out rows the metrics of the evaluation are noisy.
FEW_HELD_OUT_ROWS = 100
# More repetitions of the same text teach little (Muennighoff et al., 2023).
MANY_EPOCHS = 4

LEGEND = (
    r"│ begins a text. Selected positions: [bold reverse]\[word][/] is masked, "
    r"[bold]{word}[/] keeps its token."
)
COLORS: dict[Verdict, str] = {"fine": "green", "worth a look": "yellow", "wrong": "red"}


def inspect(config: InspectConfig) -> list[Finding]:
    """Print findings about a corpus or a folder of blocks, and return them.

    Raises:
        ElektronError: the corpus cannot be read, or the blocks are damaged.
    """
    folders = [Path(source) for source in config.corpus if (Path(source) / MANIFEST).is_file()]
    if not folders:
        findings = inspect_corpus(config)
        with rich_console() as out:
            out.print(_table(findings))
            for finding in findings:
                if finding.samples:
                    lines = map(escaped, finding.samples)
                    out.print(f"\n[bold]{escaped(finding.subject)}[/bold]", *lines, sep="\n")
        return findings
    if len(config.corpus) > 1:
        raise ElektronError(f"{folders[0]}: a folder of blocks is inspected alone")
    if config.redact:
        raise ElektronError(f"--redact looks for findings in a corpus; {folders[0]} holds blocks")
    store = BlockStore.open(folders[0])
    store.verify()
    findings = list(_of_blocks(store.manifest))
    with rich_console() as out:
        out.print(_table(findings))
        if config.rows:
            out.print(f"\n{LEGEND}")
        for number, text in rows_with_masks(store, config.rows):
            out.print(f"\n[bold]row {number:,}[/bold]", text, sep="\n")
    return findings


def rows_with_masks(store: BlockStore, count: int) -> Iterator[tuple[int, str]]:
    """Some training rows, evenly spaced: their numbers, and their text as rich's markup, a line for each segment.

    `[word]` is masked; `{word}` is selected too, but keeps its token.
    """
    rows, manifest = store.rows("train"), store.manifest
    tokenizer = load_tokenizer(str(store.tokenizer_folder))
    masking = MaskingConfig()
    numbers = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows)), dtype=np.int64))
    input_ids = rows.take(numbers)
    positions = max_masked_positions(manifest.seq_len, masking.mask_probability)
    masks = mask_rows(
        input_ids,
        row_uniforms(0, 0, 0, len(numbers), draws_in_row(manifest.seq_len, positions)),
        manifest.special_ids,
        manifest.all_special_ids,
        masking.mask_probability,
        masking.keep_probability,
    )
    selected = np.zeros(input_ids.shape, dtype=bool)
    np.put_along_axis(selected, masks.positions, masks.weights > 0, axis=1)
    masked = selected & (masks.masked_ids == manifest.special_ids["mask"])
    for place, number in enumerate(numbers):
        row = zip(input_ids[place].tolist(), selected[place], masked[place], strict=True)
        yield int(number), _row_text(row, manifest.special_ids, tokenizer)


def _row_text(
    row: Iterable[tuple[int, bool, bool]], special: Mapping[str, int], tokenizer: PreTrainedTokenizerBase
) -> str:
    """One row, wordpieces joined to words."""
    lines = [""]
    for token_id, is_selected, is_masked in row:
        if token_id in (special["cls"], special["sep"]):
            lines.append("")
        elif token_id != special["pad"]:
            token = readable(str(tokenizer.convert_ids_to_tokens(token_id)), tokenizer.backend_tokenizer)
            text = escaped(token.removeprefix(" "))
            if is_masked:
                text = rf"[bold reverse]\[{text}][/]"
            elif is_selected:
                text = f"[bold]{{{text}}}[/]"
            lines[-1] += f" {text}" if token.startswith(" ") else text
    return "\n".join(f"│{line}" for line in lines if line)


def _of_blocks(manifest: Manifest) -> Iterator[Finding]:
    train, validation = (manifest.splits[split] for split in SPLITS)
    yield Finding("complete", "checksums match")
    yield Finding("made from", ", ".join(manifest.corpus))
    yield Finding("documents", f"{train.documents:,} to train on, {validation.documents:,} held out")
    for name, counts in train.members.items():
        if not manifest.weights[name]:
            watched = validation.members[name]
            yield Finding(name, f"held out only: {watched.documents:,} documents, {watched.tokens:,} tokens")
            continue
        yield Finding(
            name,
            f"{manifest.weights[name]:.3f} of the mixture: {counts.documents:,} documents, "
            f"{counts.tokens:,} tokens, {counts.epochs:.2f} times in an epoch",
            "worth a look" if counts.epochs > MANY_EPOCHS else "fine",
            "often repeated: lower its weight, or add text",
        )
    yield Finding("duplicates dropped", f"{manifest.duplicates:,}")
    if manifest.redacted:
        yield Finding("redacted", f"{by_kind(manifest.redacted)}; {manifest.not_redacted}")
    yield Finding(
        "rows",
        f"{train.rows:,} of {manifest.seq_len} tokens, {validation.rows:,} held out",
        "worth a look" if validation.rows < FEW_HELD_OUT_ROWS else "fine",
        "few rows to evaluate on: hold out more with --validation",
    )
    yield Finding("vocabulary", f"{manifest.vocab_size:,} entries, stored as {manifest.dtype.name}")
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
        "compute without a use: shorter rows (--seq-len), or --packing dense",
    )


def _table(findings: Iterable[Finding]) -> Table:
    table = Table("", "", "finding", "what it may mean", box=None, pad_edge=False)
    for finding in findings:
        verdict = f"[{COLORS[finding.verdict]}]{finding.verdict}[/]"
        advice = "" if finding.verdict == "fine" else finding.advice
        table.add_row(verdict, escaped(finding.subject), escaped(finding.value), escaped(advice))
    return table


def escaped(text: str) -> str:
    """Foreign text as rich's markup, with its own markup and control characters escaped."""
    return escape(escape_control(text))
