"""Pack documents of token ids into rows of one length, and compute document, position and segment ids of rows.

Dense packing fills each row with several texts, each as [CLS] text [SEP]; in pre-training, tokens attend
only to tokens of the same text. Short documents stay whole if possible and are combined until the row is
full. If no combination fills it, a document is cut, which costs less than padding.

Paper packing follows the official ELECTRA code: a row is one stretch of one document, in 90 % of
rows as two segments, [CLS] A [SEP] B [SEP]. Unlike in that code, what does not fit into a row begins the
next one, and a line longer than a segment is cut instead of trimmed; only fewer than five tokens at the
end of a document are dropped.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektron.errors import ElektronError

Tokens = NDArray[np.int32]
TokenIds = Sequence[int] | Tokens

SHORTEST_TEXT = 5
"""Dense packing never cuts a document into parts of fewer tokens (in very short rows, of less than a quarter of a row).
Paper packing drops the end of a document if it has fewer tokens."""

# Constants of the official code, for paper packing: the fraction of rows with one segment, the fraction of rows
# with a random length, and the least such length.
ONE_SEGMENT = 0.1
SHORT_ROW = 0.05
SHORTEST_ROW = 5


def check_ids_in_vocabulary(ids: NDArray[Any], vocab_size: int, what: str) -> None:
    """Refuse token ids outside the vocabulary, which could overflow the integer type on disk.

    Raises:
        ElektronError: names the id and `what`, which says where it is or what it would cause.
    """
    if not ids.size:
        return
    lowest, highest = int(ids.min()), int(ids.max())
    if lowest < 0 or highest >= vocab_size:
        raise ElektronError(
            f"token id {lowest if lowest < 0 else highest:,} is not in the vocabulary of "
            f"{vocab_size:,} entries ({what}): does the tokenizer's numbering have gaps?"
        )


def pack_dense(documents: Sequence[TokenIds], seq_len: int, cls_id: int, sep_id: int, pad_id: int) -> Tokens:
    """Pack documents densely; empty ones are left out.

    Args:
        documents: the token ids of each document, without special tokens.
        seq_len: tokens in a row, at least 4.
        cls_id: id of [CLS], before each text.
        sep_id: id of [SEP], after each text.
        pad_id: id of [PAD], at the end of a row that is not full.

    Returns:
        `(rows, seq_len)`, ordered by the first of the documents in each row.
    """
    room = seq_len - 2
    shortest = min(SHORTEST_TEXT, max(1, room // 4))
    full: list[Tokens] = []
    first_documents: list[int] = []
    remainders = _Remainders(shortest)
    for number, document in enumerate(documents):
        ids = np.asarray(document, dtype=np.int32)
        full_rows, left_over = divmod(len(ids), room)
        if full_rows and 0 < left_over < shortest:
            # The last full row is given up, so that the last part of the document is long enough.
            full_rows -= 1
            cut = len(ids) - shortest
            remainders.add(number, ids[full_rows * room : cut])
            remainders.add(number, ids[cut:])
        elif left_over:
            remainders.add(number, ids[full_rows * room :])
        rows = np.full((full_rows, seq_len), sep_id, dtype=np.int32)
        rows[:, 0] = cls_id
        rows[:, 1:-1] = ids[: full_rows * room].reshape(-1, room)
        full.append(rows)
        first_documents += [number] * full_rows

    combined = list(_combine(remainders, seq_len))
    rows = np.full((len(combined), seq_len), pad_id, dtype=np.int32)
    for row, texts in zip(rows, combined, strict=True):
        position = 0
        for _, text in texts:
            end = position + len(text) + 2
            row[position], row[position + 1 : end - 1], row[end - 1] = cls_id, text, sep_id
            position = end
        first_documents.append(min(number for number, _ in texts))
    return np.concatenate([*full, rows])[np.argsort(first_documents, kind="stable")]


class _Remainders:
    """Texts that do not fill a row alone, by length; texts of one length are a first-in, first-out queue."""

    def __init__(self, shortest: int) -> None:
        self.shortest = shortest
        self.by_length: dict[int, deque[tuple[int, Tokens]]] = {}
        self.lengths: list[int] = []

    def __bool__(self) -> bool:
        return bool(self.lengths)

    def add(self, number: int, text: Tokens) -> None:
        """Add a text of document `number`."""
        if len(text) not in self.by_length:
            self.by_length[len(text)] = deque()
            insort(self.lengths, len(text))
        self.by_length[len(text)].append((number, text))

    def longest(self, limit: int) -> int:
        """Length of the longest text of at most `limit` tokens, or 0."""
        index = bisect_right(self.lengths, limit)
        return self.lengths[index - 1] if index else 0

    def take(self, length: int) -> tuple[int, Tokens]:
        """Remove a text of this length."""
        texts = self.by_length[length]
        text = texts.popleft()
        if not texts:
            del self.by_length[length]
            self.lengths.remove(length)
        return text

    def spare(self) -> int:
        """Tokens that can be cut from the longest text."""
        return max(0, self.lengths[-1] - self.shortest)

    def cut(self, head: int) -> tuple[int, Tokens]:
        """Remove the first `head` tokens of the longest text."""
        number, text = self.take(self.lengths[-1])
        self.add(number, text[head:])
        return number, text[:head]


def _combine(remainders: _Remainders, seq_len: int) -> Iterator[list[tuple[int, Tokens]]]:
    """Empty `remainders` into rows; each text takes two more tokens, for [CLS] and [SEP].

    A text fits well if it ends the row exactly or leaves room for another one. The longest that
    fits well is taken; if there is none, a longer text is cut to fit; if none can be cut, the
    longest that fits is taken and the rest of the row is padding.
    """
    least = remainders.shortest + 2
    while remainders:
        row: list[tuple[int, Tokens]] = []
        left = seq_len
        while remainders and left >= 3:
            limit = left - 2
            length = limit if remainders.longest(limit) == limit else remainders.longest(limit - least)
            head = limit if remainders.spare() >= limit else min(remainders.spare(), limit - least)
            if length:
                number_and_text = remainders.take(length)
            elif head >= remainders.shortest:
                number_and_text = remainders.cut(head)
            elif length := remainders.longest(limit):
                number_and_text = remainders.take(length)
            else:
                break
            row.append(number_and_text)
            left -= len(number_and_text[1]) + 2
        yield row


def pack_paper(
    documents: Sequence[Sequence[Sequence[int]]],
    seq_len: int,
    cls_id: int,
    sep_id: int,
    pad_id: int,
    generator: np.random.Generator,
) -> Tokens:
    """Pack as in the paper: one document a row, mostly as two segments; the rest is padding.

    Args:
        documents: for each document its lines, for each line its token ids, no special tokens.
        seq_len: tokens in a row, at least 5.
        cls_id: id of [CLS], which begins the row.
        sep_id: id of [SEP], which ends each segment.
        pad_id: id of [PAD].
        generator: draws three random numbers per row, for its length and its segments.

    Returns:
        `(rows, seq_len)` in the order of the documents.
    """
    packed: list[list[int]] = []
    for document in documents:
        for first, second in _segments(document, seq_len, generator):
            packed.append([cls_id, *first, sep_id, *second, *([sep_id] if second else [])])
    rows = np.full((len(packed), seq_len), pad_id, dtype=np.int32)
    for row, ids in zip(rows, packed, strict=True):
        row[: len(ids)] = ids
    return rows


def _segments(
    document: Sequence[Sequence[int]], seq_len: int, generator: np.random.Generator
) -> Iterator[tuple[list[int], list[int]]]:
    """The two segments of each row of a document; the second may be empty."""
    half = (seq_len - 3) // 2
    lines = deque(line[at : at + half] for line in document for at in range(0, len(line), half))
    while lines:
        draw_length, draw_segments, draw_balance = generator.random(3)
        target = seq_len
        if draw_length < SHORT_ROW:
            target = SHORTEST_ROW + int(draw_length / SHORT_ROW * (seq_len + 1 - SHORTEST_ROW))
        one_segment = draw_segments < ONE_SEGMENT

        collected: list[Sequence[int]] = []
        length = 0
        while lines and length < target:
            collected.append(lines.popleft())
            length += len(collected[-1])

        middle = (target - 3) // 2
        first: list[int] = []
        second: list[int] = []
        for line in collected:
            fits = len(first) + len(line) < middle
            # The line that crosses the middle goes to either side at random.
            crosses = not fits and not second and len(first) < middle and draw_balance < 0.5
            if one_segment or not first or (fits and not second) or crosses:
                first += line
            else:
                second += line

        first, excess = first[: seq_len - 2], first[seq_len - 2 :]
        room = max(0, seq_len - 3 - len(first))
        second, excess = second[:room], excess + second[room:]
        if len(excess) >= SHORTEST_TEXT or (excess and lines):
            lines.appendleft(excess)
        yield first, second


def document_and_position_ids(
    input_ids: NDArray[np.int64], cls_id: int, pad_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Document ids and position ids of the tokens of densely packed rows.

    Args:
        input_ids: `(batch, length)` densely packed rows.
        cls_id: id of [CLS].
        pad_id: id of [PAD].

    Returns:
        `(batch, length)` document ids, counted from 0 in each row, -1 for padding, and
        `(batch, length)` positions in the document, 0 for padding. A row may begin in the middle
        of a document.
    """
    begins = input_ids == cls_id
    padding = input_ids == pad_id
    positions = np.arange(input_ids.shape[1])
    beginnings = np.maximum.accumulate(np.where(begins, positions, 0), axis=1)
    document_ids = np.where(padding, -1, np.cumsum(begins, axis=1) - begins[:, :1])
    position_ids = np.where(padding, 0, positions - beginnings)
    return document_ids, position_ids


def make_token_type_ids(input_ids: NDArray[np.int64], sep_id: int, pad_id: int) -> NDArray[np.int64]:
    """Token types `(batch, length)` of rows packed as in the paper: 1 in the second segment."""
    ends = input_ids == sep_id
    ended_before = np.cumsum(ends, axis=1) - ends
    in_second: NDArray[np.bool_] = (ended_before > 0) & (input_ids != pad_id)
    return in_second.astype(np.int64)
