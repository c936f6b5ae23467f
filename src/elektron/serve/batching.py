"""Requests that wait together pass through the model together, on one worker thread.

No request is delayed to fill a batch: the worker takes the waiting rows, one from each request in turn, so that a
request with many rows does not block the others. Everything but the model runs in the event loop.
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
"""Rows taken at once; the predictor makes batches of similar length of them."""
CHARACTERS_AT_ONCE = 32_768
"""Characters taken at once, unless one row has more: about two of the predictor's batches on a CPU."""

Answer = Callable[[Sequence[Record]], Sequence[Any]]
"""From records to an answer for each."""


class QueueFullError(Exception):
    """So many rows wait that no more are accepted."""


@dataclass(eq=False)
class _Request:
    answer: Answer
    records: Sequence[Record]
    most: int
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
    """The queue of requests.

    Args:
        max_queue: most rows that wait or are being answered.
    """

    def __init__(self, max_queue: int) -> None:
        self.max_queue = max_queue
        self.rows = 0
        """Rows that wait or are being answered."""
        self.batches = 0
        """Batches so far."""
        self._waiting: deque[_Request] = deque()
        self._arrived = asyncio.Event()

    async def submit(self, answer: Answer, records: Sequence[Record], most: int = ROWS_AT_ONCE) -> list[Any]:
        """The answers to records, in their order; if the caller is cancelled, the rest of them is dropped.

        Args:
            answer: called on the worker thread.
            records: all with the same roles.
            most: rows that `answer` is called with.

        Raises:
            QueueFullError: too many rows wait.
            ElektronError: as `answer` does, and so for every other error.
        """
        if self.rows + len(records) > self.max_queue and self.rows:
            raise QueueFullError
        future = asyncio.get_running_loop().create_future()
        request = _Request(answer, records, most, future)
        self.rows += len(records)
        self._waiting.append(request)
        self._arrived.set()
        try:
            return await request.future
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
        """The requests and numbers of the next rows; a request of which rows remain goes to the back."""
        taken: list[tuple[_Request, int]] = []
        passed: list[_Request] = []
        characters = 0
        while self._waiting and (not taken or len(taken) < taken[0][0].most):
            request = self._waiting.popleft()
            if request.future.done():
                continue
            if taken and not request.mixes_with(taken[0][0]):
                passed.append(request)
                continue
            # As text, lists have about as many characters.
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
        """Pass an error on to the only request of a batch; of several, each is tried alone."""
        for request in requests:
            if len(requests) > 1:
                request.alone, request.taken = True, len(request.answers)
                if request not in self._waiting:
                    self._waiting.append(request)
            elif not request.future.done():
                request.future.set_exception(error)
