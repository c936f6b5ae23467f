"""The manifest of a folder of blocks: its contents, how they were made, and checksums.

`Manifest.load` refuses a manifest whose checksum is wrong, and impossible values even if the checksum
is right, since all readers of blocks rely on these values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from elektron.errors import ElektronError
from elektron.io.checksums import text_sha256
from elektron.io.files import from_json, parse_json_object, read_text, unreadable

FORMAT = 1
MAX_EPOCHS = 1e6
MANIFEST = "manifest.json"
ROWS_PER_BATCH = 4096
"""Number of rows in a record batch; the last one of a split may have fewer."""

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = get_args(Split)
Packing = Literal["dense", "paper"]
SPECIAL = {"pad", "unk", "cls", "sep", "mask"}


@dataclass(frozen=True)
class BlockFile:
    """One Arrow file."""

    name: str
    rows: int
    bytes: int
    sha256: str
    batches: list[str]
    """SHA-256 of the token ids of each record batch."""


@dataclass(frozen=True)
class SourceManifest:
    """Counts of one source of a mixture, in one split; its rows are stored together."""

    documents: int
    rows: int
    tokens: int
    epochs: float
    """How often an epoch of the mixture repeats its rows."""

    @property
    def rows_in_epoch(self) -> int:
        """Number of its rows in an epoch of the mixture, with repetitions."""
        return round(self.rows * self.epochs)


@dataclass(frozen=True)
class SplitManifest:
    """Counts of one split."""

    documents: int
    rows: int
    tokens: int
    """Tokens that are not padding."""
    pieces: int
    """Number of [CLS] tokens, one for each document or part of a document in a row."""
    files: list[BlockFile]
    members: dict[str, SourceManifest] = field(default_factory=dict)
    """The sources of a mixture, in the order of their rows."""


@dataclass(frozen=True)
class Manifest:
    """The contents of a folder of blocks and how they were made."""

    seq_len: int
    packing: Packing
    vocab_size: int
    tokenizer: str
    """Fingerprint of the tokenizer."""
    special_ids: dict[str, int]
    """Ids of `pad`, `unk`, `cls`, `sep` and `mask`."""
    all_special_ids: list[int]
    corpus: list[str]
    """The sources, as on the command line."""
    options: dict[str, Any]
    """The other settings that the rows depend on."""
    duplicates: int = 0
    """Documents dropped because they are copies of earlier ones."""
    unknown: float = 0.0
    """Fraction of the characters of the text that became [UNK]."""
    redacted: dict[str, int] = field(default_factory=dict)
    """Number of placeholders by kind of `--redact`."""
    not_redacted: str = ""
    """A description of what `--redact` does not find."""
    splits: dict[str, SplitManifest] = field(default_factory=dict)
    tokenizer_files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file in the folder of the tokenizer."""
    format: int = FORMAT

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the token ids on disk: the smallest that holds the vocabulary."""
        return np.dtype(np.uint16 if self.vocab_size <= np.iinfo(np.uint16).max else np.uint32)

    @property
    def weights(self) -> dict[str, float]:
        """The weights of the sources of a mixture; empty if the blocks are not a mixture."""
        return dict(self.options.get("weights", {}))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that training depends on; sources and file names are not part of it."""
        content = asdict(self)
        for name in ("corpus", "options", "tokenizer_files", "duplicates", "unknown", "redacted", "not_redacted"):
            del content[name]
        content["splits"] = {
            name: {
                "documents": split.documents,
                "rows": split.rows,
                "batches": [batch for file in split.files for batch in file.batches],
            }
            for name, split in self.splits.items()
        }
        if self.weights:
            content["epochs"] = [
                [(member.rows, member.epochs) for member in split.members.values()] for split in self.splits.values()
            ]
        return digest_of_json(content)

    def save(self, path: Path) -> None:
        """Write the manifest with a checksum of its content."""
        path.write_text(sealed(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read a manifest.

        Raises:
            ElektronError: it is missing, damaged, or of another version of the format.
        """
        again = "prepare the blocks again"
        try:
            text = read_text(path)
            content = parse_json_object(text)
            is_sealed = text == sealed({k: v for k, v in content.items() if k != "sha256"})
        except (OSError, ValueError, RecursionError) as error:
            raise unreadable(path, error, again) from error
        if "format" not in content:
            raise ElektronError(f"{path}: not a manifest of blocks")
        if content["format"] != FORMAT:
            raise ElektronError(f"{path}: format {content['format']}, but this version reads {FORMAT}: {again}")
        content.pop("sha256", None)
        if not is_sealed:
            raise ElektronError(f"{path}: damaged (its checksum does not match): {again}")
        try:
            manifest: Manifest = from_json(content, cls, "it")
            manifest._check()
        except ValueError as error:
            raise ElektronError(f"{path}: not a manifest of blocks ({error})") from error
        return manifest

    def _check(self) -> None:
        """Raise ValueError for impossible values."""
        for name in (*self.file_names, *self.tokenizer_files):
            if Path(name).name != name:
                raise ValueError(f"{name!r:.80} is not the name of a file in its folder")
        if set(self.splits) != set(SPLITS):
            raise ValueError(f"its splits are not {' and '.join(SPLITS)}")
        if self.seq_len < 1 or not 1 <= self.vocab_size <= 1 << 32:
            raise ValueError("invalid seq_len or vocab_size")
        if not 0 <= self.unknown <= 1:
            raise ValueError("an impossible fraction of unknown characters")
        ids = [*self.special_ids.values(), *self.all_special_ids]
        if set(self.special_ids) != SPECIAL or not all(0 <= id < self.vocab_size for id in ids):
            raise ValueError("its special tokens are not in its vocabulary")
        if min(self.redacted.values(), default=0) < 0:
            raise ValueError("an impossible number of placeholders")
        for name in ("commits", "weights"):
            if not isinstance(self.options.get(name, {}), dict):
                raise ValueError(f"options.{name} must be an object")
        for split in self.splits.values():
            self._check_counts(split)

    @property
    def file_names(self) -> list[str]:
        """The names of all files of rows."""
        return [file.name for split in self.splits.values() for file in split.files]

    def _check_counts(self, split: SplitManifest) -> None:
        bytes_of_row = self.seq_len * self.dtype.itemsize
        counts = [split.documents, split.rows, split.pieces, self.duplicates]
        consistent = split.rows == sum(file.rows for file in split.files)
        for number, file in enumerate(split.files, start=1):
            batches, rest = divmod(file.rows, ROWS_PER_BATCH)
            last = number == len(split.files)
            consistent &= len(file.batches) == batches + (rest > 0) and (last or not rest)
            consistent &= file.rows > 0 and file.bytes >= file.rows * bytes_of_row
        members = split.members.values()
        consistent &= not members or split.rows == sum(member.rows for member in members)
        consistent &= split.members.keys() == self.weights.keys()
        consistent &= all(m.rows >= 0 and 0 <= m.epochs < MAX_EPOCHS for m in members)
        if not consistent or min(counts) < 0 or not 0 <= split.tokens <= split.rows * self.seq_len:
            raise ValueError("its numbers of rows are inconsistent")


def sealed(content: dict[str, Any]) -> str:
    """The JSON text of a manifest, with a checksum of its content."""
    content = {"sha256": digest_of_json(content)} | content
    return json.dumps(content, indent=1, ensure_ascii=False)


def digest_of_json(content: Mapping[str, Any]) -> str:
    return text_sha256(json.dumps(content, sort_keys=True, ensure_ascii=True))
