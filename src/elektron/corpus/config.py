"""Configuration of the commands `tokenizer`, `prepare` and `inspect`.

The command line, its help and the reference page are made from these fields and their docstrings.
Imports must be light, so that `--help` is fast.
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

TokenizerKind = Literal["wordpiece", "bpe", "unigram"]
RedactKind = Literal["all", "url", "key", "email", "iban", "resident_id", "card", "ssn", "mac", "ip", "phone"]


@dataclass
class TokenizerConfig(ValidatedConfig):
    """Train a tokenizer on a corpus."""

    corpus: Positional[list[str]]
    """Files, folders, globs, `hf:NAME[@REVISION][:config][:split]` or `builtin:docs`."""
    out: Path
    """Folder for the tokenizer."""
    kind: TokenizerKind | None = None
    """`wordpiece`: as in BERT, for text with spaces between words, and Chinese; `bpe`: byte-level, as in
    RoBERTa, for code; `unigram`: for scripts without spaces, and proteins (default: the one that
    suits the text)."""
    vocab_size: VocabSize = 30_522
    """Entries in the vocabulary, special tokens included."""
    lowercase: bool = False
    """Lowercase the text. This does not remove accents."""
    strip_accents: bool = False
    """Remove accents, as BERT's uncased vocabularies do."""
    min_frequency: Size = 2
    """Minimum number of occurrences of a piece of several characters in the vocabulary."""
    allow_unknown: bool = False
    """Accept that more than 5 % of the characters of the text become [UNK]."""
    redact: list[RedactKind] | None = None
    """Kinds of personal data to leave out, as for `prepare`; the placeholders are added to the
    vocabulary and count towards `--vocab-size`."""
    max_documents: AboveZero[int] | None = None
    """Number of documents to learn from, evenly spread over the corpus (default: all)."""
    text: str | None = None
    """Column that holds the text in jsonl, csv, parquet and hub data sets."""


@dataclass
class PrepareConfig(ValidatedConfig):
    """Turn a corpus into fixed-length rows of token ids, verified by checksums."""

    corpus: Positional[list[str]]
    """Files, folders, globs, `hf:NAME[@REVISION][:config][:split]` or `builtin:docs`; with weights
    a mixture: `enwiki=0.8 zhwiki=0.2`, or a YAML file with a list of these. A source with weight 0
    is only evaluated: only its held-out rows are kept."""
    tokenizer: str
    """Folder or hub name of the tokenizer; NAME@REVISION pins one of the hub."""
    out: Path
    """Folder for the blocks."""
    seq_len: Annotated[int, Within(least=8, most=1 << 20)] = 128
    """Tokens in a row."""
    packing: Literal["dense", "paper"] = "dense"
    """`dense`: several documents per row, which do not attend to each other; `paper`: one document per
    row, as [CLS] A [SEP] B [SEP]."""
    validation: Fraction = 0.02
    """Fraction of the documents that is held out for evaluation."""
    deduplicate: bool = True
    """Drop exact copies of a document (takes 16 bytes of memory per document)."""
    seed: NotNegative[int] = 1
    """Seed of the choice of held-out documents, and of the random lengths of `paper` packing."""
    allow_unknown: bool = False
    """Accept that more than 5 % of the characters of the text become [UNK]."""
    redact: list[RedactKind] | None = None
    """Kinds of personal data to replace by placeholders such as `[EMAIL]`: `all`, or some of `url`
    (credentials in URLs), `key` (API and private keys), `email`, `iban`, `resident_id` (Chinese),
    `card`, `ssn` (US), `mac`, `ip`, `phone`. Names, addresses and more are not found. Needs the extra
    `privacy`."""
    engine: Literal["local", "ray"] = "local"
    """`local`: processes of this machine; `ray`: the cluster of RAY_ADDRESS, or one that is started here."""
    workers: Annotated[int, Within(least=1, most=1 << 12)] | None = None
    """Number of workers (default: one per core). The result does not depend on it, nor on the engine."""
    text: str | None = None
    """Column that holds the text in jsonl, csv, parquet and hub data sets."""


@dataclass
class InspectConfig(ValidatedConfig):
    """Describe a corpus or prepared blocks, and point out what looks wrong."""

    corpus: Positional[list[str]]
    """A corpus as for `prepare`, or one folder of prepared blocks."""
    tokenizer: str | None = None
    """Folder or hub name of a tokenizer: adds tokens per word and the fraction that becomes [UNK]."""
    redact: list[RedactKind] | None = None
    """Kinds of personal data to look for, as for `prepare`: shows counts and partly hidden samples. No file
    is written."""
    rows: NotNegative[int] = 5
    """Number of rows of prepared blocks, or of samples of each kind of `--redact`, to show."""
    text: str | None = None
    """Column that holds the text in jsonl, csv, parquet and hub data sets."""
