"""The block store: rows of token ids on disk, written once, verified, read row by row.

A folder of blocks holds `train-00000.arrow`, `validation-00000.arrow` and so on, a copy of the
tokenizer in `tokenizer/`, and `manifest.json`. Each file is an Arrow IPC file with one column,
`input_ids`, of fixed-size lists. All record batches of a split have the same number of rows, except
the last, so that the position of a row follows from its index.

Damaged data is detected before it is trained on. The manifest has a SHA-256 of its own content, of every
file and of every record batch: `BlockStore.open` compares file sizes, `BlockStore.verify` compares the
checksums of all files, and `Rows` checks each record batch when it is first read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elektron.corpus.manifest import (
    MANIFEST,
    ROWS_PER_BATCH,
    SPLITS,
    BlockFile,
    Manifest,
    SourceManifest,
    Split,
    SplitManifest,
)
from elektron.corpus.packing import check_ids_in_vocabulary
from elektron.errors import ElektronError, first_line
from elektron.io.checksums import file_sha256
from elektron.io.files import unreadable

TOKENIZER = "tokenizer"
COLUMN = "input_ids"

BATCHES_PER_FILE = 256
"""With rows of 128 tokens a file has about 256 MB."""
COUNTED_SAMPLE = 64, 128
"""To count tokens, training rows are read from this many positions, and this many rows at each position."""
MAX_OPEN = 256
"""Maximum number of files that are open at once; operating systems allow about a thousand."""


def _digest_of_ids(ids: NDArray[Any]) -> str:
    return hashlib.sha256(ids.data).hexdigest()


class BlockWriter:
    """Writes blocks into a folder."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """`manifest` describes the rows; `finish` adds the counts and checksums."""
        self.folder = folder
        self.manifest = manifest
        self.splits = {split: _SplitWriter(folder, split, manifest) for split in SPLITS}

    def write(self, split: Split, rows: NDArray[Any], documents: int, member: str = "") -> None:
        """Append rows.

        Args:
            split: the split of the rows.
            rows: `(rows, seq_len)` token ids.
            documents: number of documents in the rows.
            member: the source in a mixture that the rows come from. All rows of one member must be written in
                succession.

        Raises:
            ElektronError: a token id is not in the vocabulary.
        """
        check_ids_in_vocabulary(rows, self.manifest.vocab_size, "nothing is stored")
        self.splits[split].write(rows, documents, member)

    def finish(self, duplicates: int, unknown: float = 0.0, redacted: Mapping[str, int] | None = None) -> Manifest:
        """Close the files and write the manifest; the tokenizer must be in the folder already.

        Args:
            duplicates: number of documents that were dropped as copies.
            unknown: fraction of the characters of the text that became [UNK].
            redacted: number of placeholders by kind.
        """
        manifest = replace(
            self.manifest,
            duplicates=duplicates,
            unknown=unknown,
            redacted=dict(redacted or {}),
            splits={name: split.finish() for name, split in self.splits.items()},
            tokenizer_files={path.name: file_sha256(path) for path in sorted((self.folder / TOKENIZER).iterdir())},
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
        self.pieces = 0
        self.members = {name: np.zeros(3, np.int64) for name in manifest.weights or [""]}
        """Numbers of documents, rows and tokens by source of a mixture."""
        self.pending: list[NDArray[Any]] = []
        """Rows that do not fill a record batch yet."""
        self.pending_rows = 0
        self.files: list[BlockFile] = []
        self.stream: pa.RecordBatchFileWriter | None = None
        self.batches: list[str] = []
        self.rows_in_file = 0

    def write(self, rows: NDArray[Any], documents: int, member: str) -> None:
        tokens = (rows != self.manifest.special_ids["pad"]).sum()
        self.members[member] += documents, len(rows), tokens
        self.pieces += int((rows == self.manifest.special_ids["cls"]).sum())
        self.pending.append(rows.astype(self.manifest.dtype))
        self.pending_rows += len(rows)
        while self.pending_rows >= ROWS_PER_BATCH:
            self._write_batch()

    def finish(self) -> SplitManifest:
        if self.pending_rows:
            self._write_batch()
        self._close_file()
        weights = self.manifest.weights
        epochs = _epochs({name: int(tokens) for name, (_, _, tokens) in self.members.items()}, weights)
        members = {}
        for name in weights:
            documents, rows, tokens = self.members[name].tolist()
            members[name] = SourceManifest(documents, rows, tokens, epochs[name])
        documents, rows, tokens = np.sum(list(self.members.values()), axis=0).tolist()
        return SplitManifest(documents, rows, tokens, self.pieces, self.files, members)

    def _write_batch(self) -> None:
        pending = np.concatenate(self.pending)
        rows, rest = pending[:ROWS_PER_BATCH], pending[ROWS_PER_BATCH:]
        self.pending, self.pending_rows = [rest], len(rest)
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
        size, sha256 = path.stat().st_size, file_sha256(path)
        self.files.append(BlockFile(path.name, self.rows_in_file, size, sha256, self.batches))
        self.stream, self.batches, self.rows_in_file = None, [], 0

    def _path(self) -> Path:
        return self.folder / f"{self.split}-{len(self.files):05d}.arrow"


def _epochs(tokens: dict[str, int], weights: dict[str, float]) -> dict[str, float]:
    """How often an epoch of a mixture repeats each source: at least once, so that its tokens match its weight.

    Sources of weight 0, which have held-out rows only, are not repeated.
    """
    total = max((tokens[name] / weight for name, weight in weights.items() if weight), default=0.0)
    return {
        name: round(weight * total / max(1, tokens[name]), 6) if weight else 1.0 for name, weight in weights.items()
    }


class BlockStore:
    """A folder of blocks, opened for reading."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: Path) -> BlockStore:
        """Open a folder of blocks; reads the manifest and compares the sizes of the files.

        Raises:
            ElektronError: there are no blocks, or files are missing or of the wrong size.
        """
        if not (folder / MANIFEST).is_file():
            raise ElektronError(f"{folder} holds no blocks (no {MANIFEST}): make them with `elektron prepare`")
        store = cls(folder, Manifest.load(folder / MANIFEST))
        for fault in store._faults(checksums=False):
            raise ElektronError(fault)
        return store

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that training depends on."""
        return self.manifest.fingerprint

    @property
    def tokenizer_folder(self) -> Path:
        """Folder of the copy of the tokenizer."""
        return self.folder / TOKENIZER

    @cached_property
    def token_counts(self) -> NDArray[np.int64]:
        """`(vocab_size,)` counts of each token in a sample of the training rows; 0 for special tokens."""
        rows, (positions, length) = self.rows("train"), COUNTED_SAMPLE
        starts = np.linspace(0, max(0, len(rows) - length), positions, dtype=np.int64)
        indices = np.unique(starts[:, None] + np.arange(min(length, len(rows))))
        counts = np.zeros(self.manifest.vocab_size, dtype=np.int64)
        for part in np.array_split(indices, positions):
            counts += np.bincount(rows.take(part).ravel(), minlength=len(counts))
        counts[self.manifest.all_special_ids] = 0
        return counts

    @property
    def unigram_entropy(self) -> float:
        """Entropy of the token frequencies in nats: the loss of a model that predicts from these frequencies alone."""
        counts = self.token_counts[self.token_counts > 0]
        frequencies = counts / max(1, counts.sum())
        return float(-(frequencies * np.log(frequencies)).sum())

    def rows(self, split: Split) -> Rows:
        """The rows of a split."""
        return Rows(self.folder, self.manifest, split)

    def verify(self) -> None:
        """Compare the checksums of all files with the manifest.

        Raises:
            ElektronError: names the first file that is damaged or missing.
        """
        for fault in self._faults():
            raise ElektronError(fault)

    def faults(self) -> Iterator[str]:
        """A message for each file that is missing, damaged, or not in the manifest."""
        yield from self._faults()
        listed = {self.folder / name for name in self.manifest.file_names}
        listed |= {self.tokenizer_folder / name for name in self.manifest.tokenizer_files}
        for pattern in ("*.arrow", f"{TOKENIZER}/*"):
            for path in sorted(self.folder.glob(pattern)):
                if path not in listed:
                    yield f"{path} is not in the manifest: move it away"

    def _faults(self, checksums: bool = True) -> Iterator[str]:
        files = [file for split in self.manifest.splits.values() for file in split.files]
        sizes = {file.name: file.bytes for file in files}
        digests = {file.name: file.sha256 for file in files}
        if checksums:
            digests |= {f"{TOKENIZER}/{name}": digest for name, digest in self.manifest.tokenizer_files.items()}
        for name, digest in digests.items():
            path = self.folder / name
            if not path.is_file():
                yield f"{path} is missing: prepare the blocks again"
            elif name in sizes and (size := path.stat().st_size) != sizes[name]:
                yield str(_damaged(path, f"{size:,} bytes instead of {sizes[name]:,}"))
            elif checksums and file_sha256(path) != digest:
                yield str(_damaged(path, "its checksum does not match"))


class Rows:
    """The rows of one split, read on demand; those of a mixture are repeated according to its weights.

    Files are read, not memory-mapped: if a mapped file is truncated or cannot be read, the process is
    ended by a signal instead of an exception.
    """

    def __init__(self, folder: Path, manifest: Manifest, split: Split) -> None:
        self.folder = folder
        self.manifest = manifest
        self.stored_count = manifest.splits[split].rows
        self.members = manifest.splits[split].members
        stored = [member.rows for member in self.members.values()] or [self.stored_count]
        counts = [member.rows_in_epoch for member in self.members.values()] or stored
        self.stored, self.stored_ends = np.array(stored), np.cumsum(stored)
        self.counts, self.ends = np.array(counts), np.cumsum(counts)
        self.count = int(self.ends[-1])
        self.batches = [(file, number) for file in manifest.splits[split].files for number in range(len(file.batches))]
        """The file of each record batch, and the index of the batch in that file."""
        self.offsets: dict[str, list[int]] = {}
        """Byte offsets of the token ids of each record batch, by file name."""
        self.descriptors: dict[str, int] = {}
        """File descriptors of the open files by file name, oldest first."""
        self.checked: dict[int, tuple[BlockFile, int]] = {}
        """File and byte offset of each record batch whose checksum was verified, by number of the record batch."""

    def __len__(self) -> int:
        return self.count

    def __del__(self) -> None:
        for descriptor in self.descriptors.values():
            os.close(descriptor)

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Read rows by index.

        Args:
            indices: `(n,)` indices in `range(len(self))`.

        Returns:
            `(n, seq_len)` token ids.

        Raises:
            IndexError: an index is out of range.
            ElektronError: a record batch is damaged, or cannot be read.
        """
        if len(indices) and not 0 <= indices.min() <= indices.max() < self.count:
            raise IndexError(f"rows are numbered from 0 to {self.count - 1}")
        rows = np.empty((len(indices), self.manifest.seq_len), dtype=self.manifest.dtype)
        batches, positions = np.divmod(self._stored_rows(indices), ROWS_PER_BATCH)
        row_bytes = rows.itemsize * self.manifest.seq_len
        # Row by row: for the scattered rows of a step this is faster than sorting by batch.
        for row, batch, position in zip(rows, batches.tolist(), positions.tolist(), strict=True):
            file, begin = self.checked.get(batch) or self._check(batch)
            self._read(file, row, begin + position * row_bytes)
        return rows.astype(np.int64)

    def member_of(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each row of `indices`, the index of the source in the mixture that it comes from."""
        return np.searchsorted(self.ends, indices, side="right")

    def _stored_rows(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Indices of the stored rows. The last, partial repetition of a source takes evenly spaced rows of it."""
        if not self.members:
            return indices
        member = self.member_of(indices)
        stored, counts = self.stored[member], self.counts[member]
        repetition, row = np.divmod(indices - (self.ends - self.counts)[member], stored)
        rest = np.maximum(1, counts % stored)
        row = np.where(repetition == counts // stored, row * stored // rest, row)
        return np.asarray((self.stored_ends - self.stored)[member] + row, np.int64)

    def _check(self, number: int) -> tuple[BlockFile, int]:
        """Verify the checksum of a record batch; returns its file and byte offset."""
        file, number_in_file = self.batches[number]
        path = self.folder / file.name
        if file.name not in self.offsets:
            self.offsets[file.name] = self._batch_offsets(file)
        begin = self.offsets[file.name][number_in_file]
        count = min(ROWS_PER_BATCH, self.stored_count - number * ROWS_PER_BATCH)
        batch = np.empty((count, self.manifest.seq_len), dtype=self.manifest.dtype)
        self._read(file, batch, begin)
        if _digest_of_ids(batch) != file.batches[number_in_file]:
            raise _damaged(path, f"checksum of record batch {number_in_file}")
        check_ids_in_vocabulary(batch, self.manifest.vocab_size, f"{path}, record batch {number_in_file}")
        self.checked[number] = file, begin
        return file, begin

    def _read(self, file: BlockFile, into: NDArray[Any], offset: int) -> None:
        """Fill an array with the bytes of a file that begin at an offset."""
        try:
            view, count = memoryview(into.data).cast("B"), 0
            # A call reads at most 2 GiB.
            while count < into.nbytes and (read := os.preadv(self._descriptor(file), [view[count:]], offset + count)):
                count += read
        except OSError as error:
            raise unreadable(self.folder / file.name, error, "") from error
        if count != into.nbytes:
            raise _damaged(self.folder / file.name, "it was truncated while it was open")

    def _descriptor(self, file: BlockFile) -> int:
        """The descriptor of a file, opened if necessary; the oldest one is closed if MAX_OPEN files are open."""
        if file.name not in self.descriptors:
            if len(self.descriptors) >= MAX_OPEN:
                os.close(self.descriptors.pop(next(iter(self.descriptors))))
            self.descriptors[file.name] = os.open(self.folder / file.name, os.O_RDONLY)
        return self.descriptors[file.name]

    def _batch_offsets(self, file: BlockFile) -> list[int]:
        """Byte offsets of the token ids of each record batch in a file."""
        path = self.folder / file.name
        try:
            size = os.fstat(self._descriptor(file)).st_size
            if size != file.bytes:
                raise _damaged(path, f"{size:,} bytes instead of {file.bytes:,}")
            # The file is mapped only here, since pyarrow gives memory addresses, not file offsets.
            with pa.memory_map(str(path)) as source:
                first = source.read_buffer(1).address
                reader = pa.ipc.open_file(source)
                count = reader.num_record_batches
                if reader.schema != row_schema(self.manifest) or count != len(file.batches):
                    raise _damaged(path, "its layout differs from the manifest")
                offsets, rows = [], 0
                for number in range(count):
                    batch = reader.get_batch(number)
                    batch.validate()  # otherwise a wrong length would read past the end
                    ids = batch.column(0).flatten().to_numpy(zero_copy_only=True)
                    offsets.append(ids.ctypes.data - first)
                    rows += len(batch)
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise unreadable(path, error, "") from error
            raise _damaged(path, first_line(error)) from error
        if rows != file.rows or not all(0 <= offset < size for offset in offsets):
            raise _damaged(path, "its layout differs from the manifest")
        return offsets


def row_schema(manifest: Manifest) -> pa.Schema:
    """The Arrow schema of every file: one column of fixed-size lists of token ids."""
    return pa.schema([(COLUMN, pa.list_(pa.from_numpy_dtype(manifest.dtype), manifest.seq_len))])


def _damaged(path: Path, how: str) -> ElektronError:
    return ElektronError(f"{path} is damaged ({how}): prepare the blocks again")
