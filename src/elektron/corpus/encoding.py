"""What a worker process does: texts in, packed rows of token ids out.

Kept apart from `prepare` so that a worker imports little and starts quickly.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from multiprocessing import parent_process
from typing import Any, Literal, NamedTuple

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import Tokenizer

import elektron
from elektron.corpus.packing import pack_dense, pack_paper, refuse_unknown_ids
from elektron.corpus.unknown import Unknown, UnknownCounter, visible_characters
from elektron.errors import ElektronError


@dataclass(frozen=True)
class Encoding:
    """How text becomes rows."""

    tokenizer: str
    """The tokenizer as JSON, as the `tokenizers` library writes it."""
    special_ids: dict[str, int]
    all_special_ids: list[int]
    vocab_size: int
    packing: Literal["dense", "paper"]
    seq_len: int
    seed: int
    dtype: str


class Packed(NamedTuple):
    """What a chunk of documents becomes."""

    rows: NDArray[Any]
    """`(rows, seq_len)` token ids."""
    unknown: Unknown
    """How much of its text is lost in them."""


class Encoder:
    """Turns chunks of documents into rows."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.tokenizer = Tokenizer.from_str(encoding.tokenizer)
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        # "[CLS]" in a document is text like any other.
        self.tokenizer.encode_special_tokens = True
        refuse_unknown_ids(
            np.array(encoding.all_special_ids),
            encoding.vocab_size,
            "a special token of the tokenizer",
        )
        self.is_special = np.zeros(encoding.vocab_size, dtype=bool)
        self.is_special[encoding.all_special_ids] = True
        self.counter = UnknownCounter(self.tokenizer, encoding.special_ids["unk"])

    def pack(self, texts: Sequence[str], chunk: int) -> Packed:
        """Pack the documents of a chunk; its number decides random choices."""
        encoding = self.encoding
        unknown = Unknown()
        cls_id, sep_id, pad_id = (encoding.special_ids[kind] for kind in ("cls", "sep", "pad"))
        if encoding.packing == "dense":
            rows = pack_dense(
                self._tokens(texts, unknown), encoding.seq_len, cls_id, sep_id, pad_id
            )
        else:
            lines = self._tokens_of_lines(texts, unknown)
            generator = np.random.default_rng([encoding.seed, chunk])
            rows = pack_paper(lines, encoding.seq_len, cls_id, sep_id, pad_id, generator)
        return Packed(rows.astype(encoding.dtype), unknown)

    def _tokens(self, texts: Sequence[str], unknown: Unknown) -> list[NDArray[np.int32]]:
        """Token ids of each text, none of them special; what is lost is added to `unknown`."""
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ids = [encoding.ids for encoding in encodings]
        ends = np.cumsum([len(text) for text in ids])
        flat = np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=int(ends[-1]))
        refuse_unknown_ids(flat, self.encoding.vocab_size, "from the tokenizer")
        unknown_id = self.encoding.special_ids["unk"]
        lossy = [text for text, numbers in zip(texts, ids, strict=True) if unknown_id in numbers]
        found = self.counter.count(lossy)
        found.characters = visible_characters(texts)
        unknown.add(found)
        # Some tokenizers can still spell a special token; in rows it would begin or end a piece.
        flat[self.is_special[flat]] = unknown_id
        return np.split(flat, ends[:-1])

    def _tokens_of_lines(self, texts: Sequence[str], unknown: Unknown) -> list[list[list[int]]]:
        """Token ids of each line of each text."""
        lines = [text.split("\n") for text in texts]
        tokens = iter(self._tokens([line for document in lines for line in document], unknown))
        return [[next(tokens).tolist() for _ in document] for document in lines]


# A worker process has one encoder at a time.
_encoder: Encoder | None = None


def start_worker(encoding: Encoding) -> None:
    """Make a process ready for `pack_in_worker`."""
    global _encoder  # noqa: PLW0603
    # There is a process for each core already.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # The parent is interrupted too, and ends its workers in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _encoder = Encoder(encoding)


def pack_in_worker(texts: Sequence[str], chunk: int) -> Packed:
    """`Encoder.pack` in a worker process that `start_worker` has made ready."""
    assert _encoder is not None
    return _encoder.pack(texts, chunk)


def versions() -> str:
    """What decides, besides an encoding, which rows a text becomes."""
    return f"elektron {elektron.__version__}, tokenizers {tokenizers.__version__}"


def pack_on_ray(encoding: Encoding, wanted: str, texts: Sequence[str], chunk: int) -> Packed:
    """`Encoder.pack` in a process of Ray, which serves one preparation after another.

    Raises:
        ElektronError: the `versions` there are not those of the process that asks.
    """
    global _encoder  # noqa: PLW0603
    if _encoder is None or _encoder.encoding != encoding:
        if versions() != wanted:
            raise ElektronError(
                f"a machine of the Ray cluster has {versions()}, this one {wanted}: install the same"
            )
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        _encoder = Encoder(encoding)
    return _encoder.pack(texts, chunk)


def _end_with_parent() -> None:
    """Do not outlive a parent that was killed and could not say so."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
