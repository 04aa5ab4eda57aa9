"""Requests of many clients, answered in batches one after another."""

import asyncio
import collections
import dataclasses
import math
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

GATHER_S = 0.003
"""Wait after a batch of several: those who were answered together ask again together."""
SHARE = 0.3
"""Weight of the newest batch in the mean time of its size."""


class Busy(Exception):
    """The request cannot be answered now."""

    def __init__(self, message: str, retry_after_s: int):
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclasses.dataclass(eq=False)
class Waiting:
    """A request that is not answered yet."""

    kind: Hashable
    asked: Any
    answer: asyncio.Future[Any]


class Pace:
    """Seconds that a batch of each kind and size takes here, as measured; thread-safe."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[Hashable, int], float] = {}

    def measured(self, kind: Hashable, size: int, seconds: float) -> None:
        before = self._seconds.get((kind, size), seconds)
        self._seconds[kind, size] = before + SHARE * (seconds - before)

    def seconds(self, kind: Hashable, size: int) -> float | None:
        """None where none was measured."""
        return self._seconds.get((kind, size))

    def room(self, kind: Hashable, waiting: int) -> int:
        """How many of `waiting` requests to answer at once, so that most are answered a second: all, where a large
        batch costs little more than a small one. Only sizes that were measured count, whose programs are compiled."""
        sizes = [size for of, size in list(self._seconds) if of == kind]
        best = max(sizes, key=lambda size: (min(waiting, size) / self._seconds[kind, size], size), default=1)
        return min(waiting, best)


class Batcher:
    """A bounded queue, and one thread that computes.

    Requests that wait together and are of one kind are computed together, the oldest first.
    """

    def __init__(
        self,
        compute: Callable[[Any, list[Any]], Sequence[Any]],
        sizes: Sequence[int],
        limit: int,
        limit_s: float,
        batched: Callable[[int], None] = lambda count: None,
    ):
        """
        Args:
          compute: gives for a kind, and a list of requests, an answer or an exception each.
          sizes: of the programs that compute; a batch is padded to the next of them.
          limit: requests that may wait.
          limit_s: seconds that a request may take.
          batched: is told the size of each batch.
        """
        self.pace = Pace()
        self._compute, self._sizes, self._limit, self._limit_s = compute, sorted(sizes), limit, limit_s
        self._batched = batched
        self._waiting: collections.deque[Waiting] = collections.deque()
        self._wakes = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "batches")
        self._mean_s = 0.1

    def __len__(self) -> int:
        """Requests that wait."""
        return sum(not one.answer.done() for one in self._waiting)

    async def ask(self, kind: Hashable, asked: Any) -> Any:
        """The result of `compute` for a request; raises that, where it is an exception.

        Raises:
          Busy: too many wait, or it took too long.
        """
        if len(self._waiting) >= self._limit:
            self._waiting = collections.deque(one for one in self._waiting if not one.answer.done())
        if len(self._waiting) >= self._limit:
            raise Busy(f"{self._limit} requests are waiting already", self._wait_s())
        one = Waiting(kind, asked, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._wakes.set()
        try:
            async with asyncio.timeout(self._limit_s):
                return await one.answer
        except TimeoutError:
            raise Busy(f"no answer within {self._limit_s:g} seconds", self._wait_s()) from None

    async def run(self) -> None:
        """Answers for ever."""
        together = False
        while True:
            await self._wakes.wait()
            if together:
                await asyncio.sleep(GATHER_S)
            batch = self._next()
            if not batch:
                self._wakes.clear()
                together = False
                continue
            together = len(batch) > 1
            try:
                answers = await self._computed(batch)
            except Exception as error:  # told to those who asked; the others go on
                answers = [error] * len(batch)
            for one, answer in zip(batch, answers):
                if one.answer.done():
                    continue
                if isinstance(answer, Exception):
                    one.answer.set_exception(answer)
                else:
                    one.answer.set_result(answer)

    async def _computed(self, batch: list[Waiting]) -> Sequence[Any]:
        kind, start, count = batch[0].kind, time.monotonic(), len(batch)
        self._batched(count)
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(self._thread, self._compute, kind, [one.asked for one in batch])
        if len(answers) != count:
            raise RuntimeError(f"{len(answers)} answers for {count} requests of {kind}")
        took = time.monotonic() - start
        self._mean_s += SHARE * (took / count - self._mean_s)
        size = self.size(count)
        if self.pace.seconds(kind, size) is not None:
            self.pace.measured(kind, size, took)
        return answers

    def size(self, count: int) -> int:
        """Of the program that computes a batch of `count`."""
        return next((size for size in self._sizes if size >= count), self._sizes[-1])

    def stop(self) -> None:
        """Nothing may be asked any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _next(self) -> list[Waiting]:
        alive = [one for one in self._waiting if not one.answer.done()]
        same = [one for one in alive if one.kind == alive[0].kind]
        batch = same[: self.pace.room(same[0].kind, min(len(same), self._sizes[-1]))] if same else []
        taken = set(map(id, batch))
        self._waiting = collections.deque(one for one in alive if id(one) not in taken)
        return batch

    def _wait_s(self) -> int:
        return max(1, math.ceil(self._mean_s * len(self._waiting)))
