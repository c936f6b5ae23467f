"""The block store: rows of token ids on disk, written once, verified, mapped into memory.

A folder of blocks holds `train-00000.arrow`, `validation-00000.arrow` and so on, a copy of the
tokenizer under `tokenizer/`, and `manifest.json`. Each file is an Arrow IPC file with one column,
`input_ids`, of fixed-size lists, so that any tool that reads Arrow reads the rows. All record
batches of a split have the same number of rows, except its last: a row's place follows from its
number. Reading maps the files into memory and copies nothing but the rows that are asked for.

Nothing damaged is trained on. The manifest states a SHA-256 of itself, of every file, and of every
record batch; `BlockStore.open` compares sizes, `BlockStore.verify` every byte, `BlockStore.faults`
that and every record batch, and a record batch is checked again when it is first touched. A token
id that the vocabulary does not have is neither written nor handed out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elektron.bounded import object_in, read_text
from elektron.corpus.packing import refuse_unknown_ids
from elektron.errors import ElektronError
from elektron.reading import first_line

FORMAT = 1
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer"
COLUMN = "input_ids"

ROWS_PER_BATCH = 4096
# At 128 tokens a row a file has 256 MB: few enough files to keep open, small enough to copy.
BATCHES_PER_FILE = 256

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = get_args(Split)
Packing = Literal["dense", "paper"]


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
        return _digest_of_json(content)

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
            content = object_in(text)
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
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ElektronError(f"{path}: not a manifest of blocks ({error})") from error

    @classmethod
    def _of(cls, content: dict[str, Any]) -> Manifest:
        """The manifest with this content; whatever it lacks comes up as one of Python's own errors."""
        splits = {
            name: SplitManifest(**split | {"files": [BlockFile(**file) for file in split["files"]]})
            for name, split in content["splits"].items()
        }
        manifest = cls(**content | {"splits": splits})
        files = [file.name for split in splits.values() for file in split.files]
        for name in (*files, *manifest.tokenizer_files):
            if Path(name).name != name:
                raise ValueError(f"{name!r} is no name of a file in its folder")
        if set(splits) != set(SPLITS) or manifest.seq_len < 1 or manifest.vocab_size < 1:
            raise ValueError("splits, row length or vocabulary cannot be")
        if not 0 <= manifest.unknown <= 1:
            raise ValueError("the share of unknown characters cannot be")
        return manifest


def sealed(content: dict[str, Any]) -> str:
    """A manifest with a checksum of itself, as it is written: another text says the same of no blocks."""
    content = {"sha256": _digest_of_json(content)} | content
    return json.dumps(content, indent=1, ensure_ascii=False)


def _digest_of_json(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_of_ids(ids: NDArray[Any]) -> str:
    return hashlib.sha256(ids.data).hexdigest()


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class BlockWriter:
    """Writes blocks into a folder; `new_folder` makes that folder appear whole or not at all."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """`manifest` says what the rows are; `finish` fills in its numbers."""
        self.folder = folder
        self.manifest = manifest
        self.splits = {split: _SplitWriter(folder, split, manifest) for split in SPLITS}

    def write(self, split: Split, rows: NDArray[Any], documents: int) -> None:
        """Append rows `(rows, seq_len)` that hold so many documents."""
        self.splits[split].write(rows, documents)

    def finish(self, duplicates: int, unknown: float = 0.0) -> Manifest:
        """Close the files and write the manifest; the tokenizer must be in the folder by now."""
        manifest = replace(
            self.manifest,
            duplicates=duplicates,
            unknown=unknown,
            splits={name: split.finish() for name, split in self.splits.items()},
            tokenizer_files={
                path.name: _digest_of_file(path)
                for path in sorted((self.folder / TOKENIZER).iterdir())
            },
        )
        manifest.save(self.folder / MANIFEST)
        return manifest


class _SplitWriter:
    """Collects the rows of one split into record batches, and record batches into files."""

    def __init__(self, folder: Path, split: Split, manifest: Manifest) -> None:
        self.folder = folder
        self.split = split
        self.manifest = manifest
        self.schema = row_schema(manifest)
        self.documents = self.rows = self.tokens = self.pieces = 0
        self.waiting: list[NDArray[Any]] = []
        self.rows_waiting = 0
        self.files: list[BlockFile] = []
        self.stream: pa.RecordBatchFileWriter | None = None
        self.batches: list[str] = []
        self.rows_in_file = 0

    def write(self, rows: NDArray[Any], documents: int) -> None:
        self.documents += documents
        self.rows += len(rows)
        self.tokens += int((rows != self.manifest.special_ids["pad"]).sum())
        self.pieces += int((rows == self.manifest.special_ids["cls"]).sum())
        refuse_unknown_ids(rows, self.manifest.vocab_size, "nothing is stored")
        self.waiting.append(rows.astype(self.manifest.dtype))
        self.rows_waiting += len(rows)
        while self.rows_waiting >= ROWS_PER_BATCH:
            self._write_batch()

    def finish(self) -> SplitManifest:
        if self.rows_waiting:
            self._write_batch()
        self._close_file()
        return SplitManifest(self.documents, self.rows, self.tokens, self.pieces, self.files)

    def _write_batch(self) -> None:
        together = np.concatenate(self.waiting)
        rows, rest = together[:ROWS_PER_BATCH], together[ROWS_PER_BATCH:]
        self.waiting, self.rows_waiting = [rest], len(rest)
        if self.stream is None:
            self.stream = pa.ipc.new_file(self._path(), self.schema)
        column = pa.FixedSizeListArray.from_arrays(rows.ravel(), self.manifest.seq_len)
        self.stream.write_batch(pa.record_batch([column], schema=self.schema))
        self.batches.append(_digest_of_ids(rows))
        self.rows_in_file += len(rows)
        if len(self.batches) == BATCHES_PER_FILE:
            self._close_file()

    def _close_file(self) -> None:
        if self.stream is None:
            return
        self.stream.close()
        path = self._path()
        self.files.append(
            BlockFile(
                path.name,
                self.rows_in_file,
                path.stat().st_size,
                _digest_of_file(path),
                self.batches,
            )
        )
        self.stream, self.batches, self.rows_in_file = None, [], 0

    def _path(self) -> Path:
        return self.folder / f"{self.split}-{len(self.files):05d}.arrow"


class BlockStore:
    """A folder of blocks, opened for reading."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: Path) -> BlockStore:
        """Open a folder of blocks after a look at its manifest and the sizes of its files.

        Raises:
            ElektronError: there are no blocks, or they are not whole.
        """
        if not (folder / MANIFEST).is_file():
            raise ElektronError(
                f"{folder} holds no blocks (no {MANIFEST}): `elektron prepare` makes them"
            )
        store = cls(folder, Manifest.load(folder / MANIFEST))
        for file in store._files():
            path = folder / file.name
            if not path.is_file():
                raise ElektronError(f"{path} is missing: prepare the blocks again")
            if path.stat().st_size != file.bytes:
                raise ElektronError(
                    f"{path} is damaged: {path.stat().st_size:,} bytes long, {file.bytes:,} were "
                    "written: prepare the blocks again"
                )
        return store

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what training depends on."""
        return self.manifest.fingerprint

    @property
    def tokenizer_folder(self) -> Path:
        """Where the copy of the tokenizer lies."""
        return self.folder / TOKENIZER

    def rows(self, split: Split) -> Rows:
        """The rows of a split."""
        return Rows(self.folder, self.manifest, split)

    def verify(self) -> None:
        """Read every byte and compare it with what was written.

        Raises:
            ElektronError: names the first file that is damaged or missing.
        """
        for fault in self._faults_of_files():
            raise ElektronError(fault)

    def faults(self) -> Iterator[str]:
        """A line for every file that is missing, damaged or too many, and every record batch that
        is not what the manifest says; it reads everything."""
        damaged = False
        for fault in self._faults_of_files():
            damaged = True
            yield fault
        yield from self._files_too_many()
        if not damaged:  # what is known to be damaged is not opened
            for split in SPLITS:
                yield from self.rows(split).faults()

    def _faults_of_files(self) -> Iterator[str]:
        sizes = {file.name: file.bytes for file in self._files()}
        checksums = {file.name: file.sha256 for file in self._files()}
        checksums |= {
            f"{TOKENIZER}/{name}": sha256 for name, sha256 in self.manifest.tokenizer_files.items()
        }
        for name, sha256 in checksums.items():
            path = self.folder / name
            if not path.is_file():
                yield f"{path} is missing: prepare the blocks again"
            elif (size := path.stat().st_size) != sizes.get(name, size):
                yield str(_damaged(path, f"{size:,} bytes long, {sizes[name]:,} were written"))
            elif _digest_of_file(path) != sha256:
                yield str(_damaged(path, "its checksum does not fit"))

    def _files_too_many(self) -> Iterator[str]:
        """Files that the manifest does not name and that would be read with the others."""
        known = {self.folder / file.name for file in self._files()}
        known |= {self.tokenizer_folder / name for name in self.manifest.tokenizer_files}
        for path in [
            *sorted(self.folder.glob("*.arrow")),
            *sorted(self.tokenizer_folder.glob("*")),
        ]:
            if path not in known:
                yield f"{path} is not in the manifest: move it away"

    def _files(self) -> list[BlockFile]:
        return [file for split in self.manifest.splits.values() for file in split.files]


class Rows:
    """The rows of one split, mapped into memory."""

    def __init__(self, folder: Path, manifest: Manifest, split: Split) -> None:
        self.folder = folder
        self.manifest = manifest
        self.files = manifest.splits[split].files
        self.count = manifest.splits[split].rows
        # Where each record batch stands; those of a file are mapped together, on first use.
        self.places = [(file, place) for file in self.files for place in range(len(file.batches))]
        self.mapped: dict[str, list[NDArray[Any]]] = {}
        self.checked: dict[int, NDArray[Any]] = {}

    def __len__(self) -> int:
        return self.count

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows by number, in the order asked for: `(len(indices), seq_len)`.

        Raises:
            IndexError: there is no row of such a number.
            ElektronError: a record batch that is touched for the first time is damaged.
        """
        if len(indices) and not 0 <= indices.min() <= indices.max() < self.count:
            raise IndexError(f"rows are numbered from 0 to {self.count - 1}")
        taken = np.empty((len(indices), self.manifest.seq_len), dtype=np.int64)
        batches, places = np.divmod(indices, ROWS_PER_BATCH)
        # Row by row: for the scattered rows of a step this is faster than sorting them by batch.
        for row, batch, place in zip(taken, batches.tolist(), places.tolist(), strict=True):
            row[:] = self._batch(batch)[place]
        return taken

    def _batch(self, number: int) -> NDArray[Any]:
        """A record batch `(rows, seq_len)` without a copy, checked when it is first touched."""
        if number not in self.checked:
            file, place = self.places[number]
            if file.name not in self.mapped:
                self.mapped[file.name] = self._map(file)
            batch = self.mapped[file.name][place]
            path = self.folder / file.name
            if _digest_of_ids(batch) != file.batches[place]:
                raise _damaged(path, f"checksum of record batch {place}")
            if len(batch) != min(ROWS_PER_BATCH, self.count - number * ROWS_PER_BATCH):
                raise _damaged(path, f"record batch {place} has {len(batch)} rows")
            refuse_unknown_ids(batch, self.manifest.vocab_size, f"{path}, record batch {place}")
            self.checked[number] = batch
        return self.checked[number]

    def faults(self) -> Iterator[str]:
        """A line for every record batch that is not what the manifest says."""
        if self.count != sum(file.rows for file in self.files):
            yield f"{self.folder / MANIFEST}: its numbers of rows do not add up"
        for number in range(len(self.places)):
            try:
                self._batch(number)
            except ElektronError as error:
                yield str(error)

    def _map(self, file: BlockFile) -> list[NDArray[Any]]:
        """The record batches of a file as views of the mapped file."""
        path = self.folder / file.name
        try:
            with pa.memory_map(str(path)) as source:
                reader = pa.ipc.open_file(source)
                count = reader.num_record_batches
                if reader.schema != row_schema(self.manifest) or count != len(file.batches):
                    raise _damaged(path, "its layout is not that of the manifest")
                batches = [reader.get_batch(number) for number in range(count)]
                for (
                    batch
                ) in batches:  # one that claims more than there is would be read past its end
                    batch.validate()
                columns = [batch.column(0) for batch in batches]
                flat = [column.flatten().to_numpy(zero_copy_only=True) for column in columns]
        except (OSError, pa.ArrowException) as error:
            raise _damaged(path, first_line(error)) from error
        return [ids.reshape(-1, self.manifest.seq_len) for ids in flat]


def row_schema(manifest: Manifest) -> pa.Schema:
    """The schema of every file: one column of rows of token ids."""
    return pa.schema([(COLUMN, pa.list_(pa.from_numpy_dtype(manifest.dtype), manifest.seq_len))])


def _damaged(path: Path, how: str) -> ElektronError:
    return ElektronError(f"{path} is damaged ({how}): prepare the blocks again")
