"""Batches: what is computed together, what is refused, and who is answered whatever happens to others."""

import asyncio
import threading

import pytest

from realm_jax.serving.batcher import Batcher, Busy, Pace


class Computed:
    """Doubles numbers, when it is let to."""

    def __init__(self):
        self.batches, self.may = [], threading.Event()
        self.may.set()

    def __call__(self, kind, asked):
        assert self.may.wait(60)
        self.batches.append((kind, list(asked)))
        if kind == "broken":
            raise RuntimeError("a fault")
        return [ValueError("seven") if one == 7 else 2 * one for one in asked]


def run(use, **limits):
    """What `use(batcher, computed)` gives while the batcher runs."""

    async def within():
        computed = Computed()
        batcher = Batcher(computed, **({"sizes": [1, 4, 8], "limit": 20, "limit_s": 60.0} | limits))
        task = asyncio.create_task(batcher.run())
        try:
            return await use(batcher, computed)
        finally:
            computed.may.set()
            task.cancel()
            batcher.stop()

    return asyncio.run(within())


async def asked_while_busy(batcher, computed, asked):
    """Answers of requests that arrive while another is computed."""
    for size in (1, 4, 8):
        batcher.pace.measured("a", size, 1.0)
        batcher.pace.measured("b", size, 1.0)
    computed.may.clear()
    tasks = [asyncio.create_task(batcher.ask("a", 0))]
    await asyncio.sleep(0.05)
    tasks += [asyncio.create_task(batcher.ask(*one)) for one in asked]
    await asyncio.sleep(0.05)
    computed.may.set()
    return (await asyncio.gather(*tasks, return_exceptions=True))[1:]


def test_what_arrives_together_is_computed_together():
    async def use(batcher, computed):
        answers = await asked_while_busy(batcher, computed, [("a", 1), ("b", 2), ("a", 3), ("b", 4), ("a", 5)])
        assert answers == [2, 4, 6, 8, 10]
        assert computed.batches == [("a", [0]), ("a", [1, 3, 5]), ("b", [2, 4])]

    run(use)


def test_a_batch_has_no_more_than_its_program():
    async def use(batcher, computed):
        await asked_while_busy(batcher, computed, [("a", i) for i in range(8, 27)])
        assert [len(asked) for _, asked in computed.batches] == [1, 8, 8, 3]

    run(use)


def test_an_exception_is_told_to_who_caused_it():
    async def use(batcher, computed):
        answers = await asked_while_busy(batcher, computed, [("a", 6), ("a", 7), ("broken", 1), ("a", 8)])
        assert answers[0] == 12 and isinstance(answers[1], ValueError) and answers[3] == 16
        assert isinstance(answers[2], RuntimeError)
        assert await batcher.ask("a", 9) == 18

    run(use)


def test_a_full_queue_refuses_and_forgets():
    async def use(batcher, computed):
        computed.may.clear()
        tasks = [asyncio.create_task(batcher.ask("a", 0))]
        await asyncio.sleep(0.05)
        tasks += [asyncio.create_task(batcher.ask("a", i)) for i in (1, 2, 3)]
        await asyncio.sleep(0.05)
        assert len(batcher) == 3
        with pytest.raises(Busy, match="3 requests are waiting already") as refused:
            await batcher.ask("a", 4)
        assert refused.value.retry_after_s >= 1
        tasks[2].cancel()  # its client has gone
        await asyncio.sleep(0.05)
        tasks.append(asyncio.create_task(batcher.ask("a", 5)))
        await asyncio.sleep(0.05)
        computed.may.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert answers[:2] + answers[3:] == [0, 2, 6, 10] and isinstance(answers[2], asyncio.CancelledError)
        assert 2 not in [one for _, asked in computed.batches for one in asked]

    run(use, limit=3)


def test_a_request_has_a_limit_of_time():
    async def use(batcher, computed):
        computed.may.clear()
        with pytest.raises(Busy, match="no answer within 0.1 seconds"):
            await batcher.ask("a", 1)
        computed.may.set()
        assert len(batcher) == 0

    run(use, limit_s=0.1)


def test_batches_are_as_large_as_pays():
    pace = Pace()
    assert pace.room("a", 5) == 1  # nothing else is known to be compiled
    pace.measured("a", 1, 1.0)
    pace.measured("a", 4, 4.2)
    assert [pace.room("a", waiting) for waiting in (1, 3, 4, 9)] == [1, 1, 1, 1]
    pace.measured("b", 1, 1.0)
    pace.measured("b", 4, 1.2)
    pace.measured("b", 16, 2.0)
    assert [pace.room("b", waiting) for waiting in (1, 2, 4, 5, 9, 99)] == [1, 2, 4, 4, 9, 16]
    before = pace.seconds("a", 4)
    for _ in range(20):
        pace.measured("a", 4, 1.0)
    assert pace.seconds("a", 4) < before and pace.room("a", 4) == 4
