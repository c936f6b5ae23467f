"""The manifest of a folder of blocks: what it holds, how it was made, and checksums of everything.

A manifest that is not to the letter what was written is refused, and so is one that someone has sealed
again whose values cannot be: everything that reads blocks relies on them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from elektron.errors import ElektronError
from elektron.io.files import from_json, parse_json_object, read_text

FORMAT = 1
MANIFEST = "manifest.json"
ROWS_PER_BATCH = 4096
"""In a record batch; the last one of a split may have fewer."""

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
class SplitManifest:
    """One split in numbers."""

    documents: int
    rows: int
    tokens: int
    """Tokens that are not padding."""
    pieces: int
    """How often [CLS] begins a text."""
    files: list[BlockFile]


@dataclass(frozen=True)
class Manifest:
    """What a folder of blocks holds and how it was made."""

    seq_len: int
    packing: Packing
    vocab_size: int
    tokenizer: str
    """Fingerprint of the tokenizer."""
    special_ids: dict[str, int]
    """Ids of `pad`, `unk`, `cls`, `sep` and `mask`."""
    all_special_ids: list[int]
    corpus: list[str]
    """The sources as they were given."""
    options: dict[str, Any]
    """Whatever else shapes the rows."""
    duplicates: int = 0
    """Documents dropped because an equal one came before."""
    unknown: float = 0.0
    """Share of the text's characters that became [UNK]."""
    splits: dict[str, SplitManifest] = field(default_factory=dict)
    tokenizer_files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file of the tokenizer's folder."""
    format: int = FORMAT

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the token ids on disk: the smallest that holds the vocabulary."""
        return np.dtype(np.uint16 if self.vocab_size <= np.iinfo(np.uint16).max else np.uint32)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what training depends on: not of where the text lay or how files are named."""
        content = asdict(self)
        for name in ("corpus", "options", "tokenizer_files", "duplicates", "unknown"):
            del content[name]
        content["splits"] = {
            name: {
                "documents": split.documents,
                "rows": split.rows,
                "batches": [batch for file in split.files for batch in file.batches],
            }
            for name, split in self.splits.items()
        }
        return digest_of_json(content)

    def save(self, path: Path) -> None:
        """Write the manifest with a checksum of itself."""
        path.write_text(sealed(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read a manifest.

        Raises:
            ElektronError: it is missing, damaged, or of another version of the format.
        """
        try:
            text = read_text(path)
            content = parse_json_object(text)
            whole = text == sealed({k: v for k, v in content.items() if k != "sha256"})
        except OSError as error:
            raise ElektronError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, RecursionError) as error:
            raise ElektronError(f"{path}: damaged ({error}): prepare the blocks again") from error
        if "format" not in content:
            raise ElektronError(f"{path}: not a manifest of blocks")
        if content["format"] != FORMAT:
            raise ElektronError(
                f"{path}: format {content['format']}, but this version reads {FORMAT}: "
                "prepare the blocks again"
            )
        content.pop("sha256", None)
        if not whole:
            raise ElektronError(
                f"{path}: damaged (its checksum does not fit): prepare the blocks again"
            )
        try:
            return cls._of(content)
        except (TypeError, ValueError) as error:
            raise ElektronError(f"{path}: not a manifest of blocks ({error})") from error

    @classmethod
    def _of(cls, content: dict[str, Any]) -> Manifest:
        """The manifest with this content; whatever it lacks comes up as one of Python's own errors."""
        manifest: Manifest = from_json(content, cls, "it")
        for name in (*manifest.file_names, *manifest.tokenizer_files):
            if Path(name).name != name:
                raise ValueError(f"{name!r:.80} is no name of a file in its folder")
        if set(manifest.splits) != set(SPLITS):
            raise ValueError(f"its splits are not {' and '.join(SPLITS)}")
        if manifest.seq_len < 1 or not 1 <= manifest.vocab_size <= 1 << 32:
            raise ValueError("such a row length or vocabulary cannot be")
        if not 0 <= manifest.unknown <= 1:
            raise ValueError("the share of unknown characters cannot be")
        ids = [*manifest.special_ids.values(), *manifest.all_special_ids]
        if set(manifest.special_ids) != SPECIAL or not all(
            0 <= number < manifest.vocab_size for number in ids
        ):
            raise ValueError("its special tokens are none of its vocabulary")
        if not isinstance(manifest.options.get("commits", {}), dict):
            raise ValueError("options.commits must be an object")
        for split in manifest.splits.values():
            manifest._check_numbers(split)
        return manifest

    @property
    def file_names(self) -> list[str]:
        """Of all files of rows."""
        return [file.name for split in self.splits.values() for file in split.files]

    def _check_numbers(self, split: SplitManifest) -> None:
        """Raise ValueError if they do not add up."""
        bytes_of_row = self.seq_len * self.dtype.itemsize
        counts = [split.documents, split.rows, split.pieces, self.duplicates]
        whole = split.rows == sum(file.rows for file in split.files)
        for number, file in enumerate(split.files, start=1):
            batches, rest = divmod(file.rows, ROWS_PER_BATCH)
            last = number == len(split.files)
            whole &= len(file.batches) == batches + (rest > 0) and (last or not rest)
            whole &= file.rows > 0 and file.bytes >= file.rows * bytes_of_row
        if not whole or min(counts) < 0 or not 0 <= split.tokens <= split.rows * self.seq_len:
            raise ValueError("its numbers of rows do not add up")


def sealed(content: dict[str, Any]) -> str:
    """A manifest with a checksum of itself, as it is written: another text says the same of no blocks."""
    content = {"sha256": digest_of_json(content)} | content
    return json.dumps(content, indent=1, ensure_ascii=False)


def digest_of_json(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
