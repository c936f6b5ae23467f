"""What the commands of the corpus room can be told: one dataclass a command.

The command line, its help and the reference page are made from these fields and from the
text under each. Nothing heavy is imported here: `--help` must answer at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from elektron.configuration import (
    AboveZero,
    Fraction,
    NotNegative,
    Positional,
    Size,
    ValidatedConfig,
    VocabSize,
    Within,
)


@dataclass
class TokenizerConfig(ValidatedConfig):
    """Train a WordPiece tokenizer on a corpus."""

    corpus: Positional[list[str]]
    """Files, folders, globs, `hf:NAME[@REVISION][:config][:split]` or `builtin:docs`."""
    out: Path
    """Folder for the tokenizer."""
    vocab_size: VocabSize = 30_522
    """Entries in the vocabulary, special tokens included."""
    lowercase: bool = False
    """Fold case. Accents are kept either way."""
    strip_accents: bool = False
    """Remove accents, as BERT's uncased vocabularies do."""
    min_frequency: Size = 2
    """A piece rarer than this does not enter the vocabulary."""
    allow_unknown: bool = False
    """Go on though more than 5 % of the text's characters become [UNK]."""
    max_documents: AboveZero[int] | None = None
    """Learn from this many documents, spread evenly over a larger corpus (default: all of it)."""
    text: str | None = None
    """Column that holds the text in jsonl, csv, parquet and hub data sets."""


@dataclass
class PrepareConfig(ValidatedConfig):
    """UpdateRoles a corpus into fixed-length rows of token ids, verified by checksums."""

    corpus: Positional[list[str]]
    """Files, folders, globs, `hf:NAME[@REVISION][:config][:split]` or `builtin:docs`."""
    tokenizer: str
    """Folder or hub name of the tokenizer; NAME@REVISION pins one of the hub."""
    out: Path
    """Folder for the blocks."""
    seq_len: Annotated[int, Within(least=8, most=1 << 20)] = 128
    """Tokens in a row."""
    packing: Literal["dense", "paper"] = "dense"
    """`dense`: several documents a row, each under its own attention; `paper`: [CLS] A [SEP] B
    [SEP] of one document."""
    validation: Fraction = 0.02
    """Share of the documents held out for evaluation."""
    deduplicate: bool = True
    """Drop exact copies of a document (takes 16 bytes of memory a document)."""
    seed: NotNegative[int] = 1
    """Decides the lengths that `paper` packing draws and which documents are held out."""
    allow_unknown: bool = False
    """Go on though more than 5 % of the text's characters become [UNK]."""
    engine: Literal["local", "ray"] = "local"
    """`local`: processes of this machine; `ray`: the cluster of RAY_ADDRESS, or one that is started here."""
    workers: Annotated[int, Within(least=1, most=1 << 12)] | None = None
    """World at once (default: one a core). The bytes written do not depend on it, nor on the engine."""
    text: str | None = None
    """Column that holds the text in jsonl, csv, parquet and hub data sets."""


@dataclass
class InspectConfig(ValidatedConfig):
    """Look at a corpus, or at prepared blocks, before anyone spends days of compute."""

    corpus: Positional[list[str]]
    """A corpus as for `prepare`, or one folder of prepared blocks."""
    tokenizer: str | None = None
    """Folder or hub name of a tokenizer: adds tokens per word and the share of text that becomes [UNK]."""
    rows: NotNegative[int] = 5
    """Rows of prepared blocks to show."""
    text: str | None = None
    """Column that holds the text in jsonl, csv, parquet and hub data sets."""
