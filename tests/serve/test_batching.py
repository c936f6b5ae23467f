"""The request queue: composition and order of batches, errors, and cancelled requests."""

import asyncio
import threading

import pytest

from elektron.errors import ElektronError
from elektron.finetuning.readers.records import Record
from elektron.serve import batching
from elektron.serve.batching import Batcher, QueueFullError


def records(*texts, **more):
    return [Record({"text": text} | more, {}, "") for text in texts]


class Model:
    """Returns texts in upper case, records its batches, and blocks until `go_on` is set."""

    def __init__(self):
        self.batches = []
        self.go_on = threading.Event()

    def __call__(self, rows):
        self.go_on.wait(30)
        texts = [row.values["text"] for row in rows]
        self.batches.append(texts)
        if "bad" in texts:
            raise ElektronError("a bad row")
        return [text.upper() for text in texts]


def run(scenario, max_queue=100):
    """Run a coroutine function of a batcher, and stop the batcher."""

    async def main():
        batcher = Batcher(max_queue)
        worker = asyncio.create_task(batcher.run())
        try:
            return await asyncio.wait_for(scenario(batcher), 30)
        finally:
            worker.cancel()

    return asyncio.run(main())


async def after_the_first(batcher, model, *requests, most=100):
    """Submit a request that blocks the model, then others that queue together; returns the outcomes of these."""
    first = asyncio.create_task(batcher.submit(model, records("first")))
    await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(batcher.submit(model, rows, most)) for rows in requests]
    await asyncio.sleep(0.01)
    model.go_on.set()
    assert await first == ["FIRST"]
    return await asyncio.gather(*waiting, return_exceptions=True)


def test_waiting_requests_share_a_batch_in_round_robin_order():
    model = Model()
    rows = records("a1", "a2", "a3"), records("b1"), records("c1", "c2")
    found = run(lambda batcher: after_the_first(batcher, model, *rows))
    assert found == [["A1", "A2", "A3"], ["B1"], ["C1", "C2"]]
    assert model.batches == [["first"], ["a1", "b1", "c1", "a2", "c2", "a3"]]


def test_long_request_does_not_delay_short_one():
    model = Model()
    rows = records(*"abcdef"), records("x")
    run(lambda batcher: after_the_first(batcher, model, *rows, most=2))
    assert model.batches == [["first"], ["a", "x"], ["b", "c"], ["d", "e"], ["f"]]


def test_batch_size_is_limited_by_characters():
    model = Model()
    long = "x" * (batching.CHARACTERS_AT_ONCE // 2)
    run(lambda batcher: after_the_first(batcher, model, *(records(long),) * 3, records("y")))
    assert [len(batch) for batch in model.batches] == [1, 1, 1, 2]


def test_records_with_different_roles_are_batched_separately():
    model = Model()
    rows = records("a"), records("b", pair="p"), records("c")
    found = run(lambda batcher: after_the_first(batcher, model, *rows))
    assert found == [["A"], ["B"], ["C"]]
    assert model.batches == [["first"], ["a", "c"], ["b"]]


def test_incompatible_requests_do_not_split_each_others_batches():
    model = Model()
    rows = records(*"abcd"), records(*"wxyz", pair="p")
    assert run(lambda batcher: after_the_first(batcher, model, *rows)) == [list("ABCD"), list("WXYZ")]
    assert model.batches == [["first"], list("abcd"), list("wxyz")]


def test_error_fails_only_its_own_request():
    model = Model()
    rows = records("a1", "a2"), records("b", "bad"), records("c")
    a, b, c = run(lambda batcher: after_the_first(batcher, model, *rows))
    assert (a, c) == (["A1", "A2"], ["C"])
    assert isinstance(b, ElektronError)


def test_cancelled_request_is_not_computed():
    model = Model()

    async def scenario(batcher):
        first = asyncio.create_task(batcher.submit(model, records("first")))
        await asyncio.sleep(0.01)
        given_up = asyncio.create_task(batcher.submit(model, records("a", "b")))
        await asyncio.sleep(0.01)
        assert batcher.rows == 3
        given_up.cancel()
        await asyncio.sleep(0.01)
        model.go_on.set()
        await first
        assert await batcher.submit(model, records("c")) == ["C"]
        return batcher.rows, batcher.batches

    assert run(scenario) == (0, 2)
    assert model.batches == [["first"], ["c"]]


def test_rows_above_queue_limit_raise():
    model = Model()

    async def scenario(batcher):
        first = asyncio.create_task(batcher.submit(model, records("first", "second")))
        await asyncio.sleep(0.01)
        with pytest.raises(QueueFullError):
            await batcher.submit(model, records("a", "b"))
        third = asyncio.create_task(batcher.submit(model, records("third")))
        model.go_on.set()
        return await first + await third

    assert run(scenario, max_queue=3) == ["FIRST", "SECOND", "THIRD"]
