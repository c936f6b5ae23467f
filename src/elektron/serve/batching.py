"""Dynamic batching: rows of several waiting requests form a batch, which the model reads on one worker thread.

No request is delayed to fill a batch: the worker takes the rows that wait, one from each request in turn, so that a
request with many rows does not block the others. Everything except the model runs in the event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from elektron.finetuning.readers.records import Record

ROWS_AT_ONCE = 256
"""Maximum number of rows in a batch; the predictor splits it into smaller ones of similar length."""
CHARACTERS_AT_ONCE = 32_768
"""Maximum number of characters in a batch, unless one row has more: about two of the predictor's batches on a CPU."""

Answer = Callable[[Sequence[Record]], Sequence[Any]]
"""A function from records to an answer for each."""


class QueueFullError(Exception):
    """Too many rows wait to accept more."""


@dataclass(eq=False)
class _Request:
    answer: Answer
    records: Sequence[Record]
    max_rows: int
    future: asyncio.Future[list[Any]]
    answers: list[Any] = field(default_factory=list)
    taken: int = 0
    """Records that have been given to the worker."""
    alone: bool = False
    """Whether it must not share a batch, because a batch that it was in has failed."""

    def mixes_with(self, other: _Request) -> bool:
        """Whether both can be in one batch: tasks expect the same roles in all records."""
        if self.alone or other.alone:
            return self is other
        roles = self.records[0].values.keys(), other.records[0].values.keys()
        return self.answer == other.answer and roles[0] == roles[1]


class Batcher:
    """The queue of requests, and the worker that answers them.

    Args:
        max_queue: maximum number of rows that wait or are being answered.
    """

    def __init__(self, max_queue: int) -> None:
        self.max_queue = max_queue
        self.rows = 0
        """Number of rows that wait or are being answered."""
        self.answered = 0
        """Number of rows answered so far."""
        self.batches = 0
        """Number of batches so far."""
        self._waiting: deque[_Request] = deque()
        self._arrived = asyncio.Event()

    async def submit(self, answer: Answer, records: Sequence[Record], max_rows: int = ROWS_AT_ONCE) -> list[Any]:
        """Queue records and return their answers, in order.

        If the caller is cancelled, the records not yet answered are dropped.

        Args:
            answer: called on the worker thread.
            records: all with the same roles.
            max_rows: maximum number of records that `answer` is called with.

        Raises:
            QueueFullError: too many rows wait.
            ElektronError: `answer` raised it; any other exception of `answer` is passed on too.
        """
        if self.rows + len(records) > self.max_queue and self.rows:
            raise QueueFullError(f"{self.rows:,} rows are waiting, and the limit is {self.max_queue:,}: retry later")
        future = asyncio.get_running_loop().create_future()
        request = _Request(answer, records, max_rows, future)
        self.rows += len(records)
        self._waiting.append(request)
        self._arrived.set()
        try:
            answers = await request.future
            self.answered += len(records)
            return answers
        finally:
            self.rows -= len(records)

    async def run(self) -> None:
        """Answer requests until this is cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "model") as worker:
            while True:
                if not (batch := self._take()):
                    self._arrived.clear()
                    await self._arrived.wait()
                    continue
                records = [request.records[number] for request, number in batch]
                future = loop.run_in_executor(worker, batch[0][0].answer, records)
                await asyncio.wait([future])
                self.batches += 1
                requests = [request for request, _ in batch]
                if (error := future.exception()) is not None:
                    self._failed(list(dict.fromkeys(requests)), error)
                    continue
                for request, answer in zip(requests, future.result(), strict=True):
                    request.answers.append(answer)
                    if len(request.answers) == len(request.records) and not request.future.done():
                        request.future.set_result(request.answers)

    def _take(self) -> list[tuple[_Request, int]]:
        """Take the next rows, as requests and row numbers; a request with rows left goes to the back of the queue."""
        taken: list[tuple[_Request, int]] = []
        passed: list[_Request] = []
        characters = 0
        while self._waiting and (not taken or len(taken) < taken[0][0].max_rows):
            request = self._waiting.popleft()
            if request.future.done():
                continue
            if taken and not request.mixes_with(taken[0][0]):
                passed.append(request)
                continue
            # Values may be lists; the length of their text approximates the number of characters.
            characters += len(str(request.records[request.taken].values))
            if taken and characters > CHARACTERS_AT_ONCE:
                passed.append(request)
                break
            taken.append((request, request.taken))
            request.taken += 1
            if request.taken < len(request.records):
                self._waiting.append(request)
        self._waiting.extendleft(reversed(passed))
        return taken

    def _failed(self, requests: Sequence[_Request], error: BaseException) -> None:
        """Pass an error on if the batch had one request; if it had several, try each of them alone."""
        for request in requests:
            if len(requests) > 1:
                request.alone, request.taken = True, len(request.answers)
                if request not in self._waiting:
                    self._waiting.append(request)
            elif not request.future.done():
                request.future.set_exception(error)
