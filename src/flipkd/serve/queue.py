"""Items of many requests into passes of the model: bounded, fair between requests, and each answer to its own asker."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

Work = Callable[[list[Any]], Sequence[Any]]


class Overloaded(Exception):
    """The queue is full; `retry_after` is how many seconds it takes to empty at the pace of late."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue is full; try again in {retry_after} s")
        self.retry_after = retry_after


class _Job:
    """One request: what it asks for, and what has been found of it so far."""

    def __init__(self, items: list[Any], future: asyncio.Future[list[Any]]) -> None:
        self.items, self.future, self.taken, self.missing = items, future, 0, len(items)
        self.results: list[Any] = [None] * len(items)

    @property
    def waiting(self) -> int:
        """Items that no pass has taken yet."""
        return len(self.items) - self.taken

    def put(self, start: int, results: Sequence[Any]) -> None:
        self.results[start : start + len(results)] = results
        self.missing -= len(results)
        if not self.missing and not self.future.done():
            self.future.set_result(self.results)


Part = tuple[_Job, int, int]  # items [start, stop) of a request


class BatchQueue:
    """`work` on up to `batch_size` items at a time, in `executor`, for any number of askers in one event loop.

    A pass takes from the waiting requests in turn, so a long one does not hold up a short one. An asker that gives up is
    dropped before its items reach the model. When a pass fails, each request of it is tried alone, and only the one at
    fault gets the error. `ended` is told of each request that reached the model whether it went well.
    """

    def __init__(
        self,
        work: Work,
        *,
        executor: Executor,
        batch_size: int,
        max_queue: int,
        max_wait: float = 0.0,
        ended: Callable[[bool], None] = lambda well: None,
    ) -> None:
        self.work, self.executor, self.ended = work, executor, ended
        self.batch_size, self.max_queue, self.max_wait = batch_size, max_queue, max_wait
        self.passes = 0
        self._waiting: deque[_Job] = deque()
        self._something = asyncio.Event()
        self._seconds_per_item = 0.01

    @property
    def depth(self) -> int:
        """Items that wait for a pass."""
        return sum(job.waiting for job in self._waiting if not job.future.done())

    async def ask(self, items: Sequence[Any], *, timeout: float) -> list[Any]:
        """What `work` gives for each item, in their order.

        Raises Overloaded when they do not fit in the queue, TimeoutError when they take longer, and what `work` raises.
        """
        if not items:
            return []
        depth = self.depth
        if depth + len(items) > self.max_queue:
            raise Overloaded(max(1, math.ceil(depth * self._seconds_per_item)))
        job = _Job(list(items), asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._something.set()
        try:
            async with asyncio.timeout(timeout):
                return await job.future
        finally:
            job.future.cancel()  # of an asker that is gone or too late: its items are dropped

    async def run(self) -> None:
        """Make passes until cancelled; one task runs this."""
        while True:
            await self._something.wait()
            if self.max_wait and self.depth < self.batch_size:
                await asyncio.sleep(self.max_wait)
            parts = self._next()
            if not parts:
                self._something.clear()
                continue
            await self._pass(parts)

    def _next(self) -> list[Part]:
        """Parts of waiting requests for one pass, by turns of an equal share."""
        starts: dict[_Job, int] = {}
        room, share = self.batch_size, max(1, self.batch_size // max(1, len(self._waiting)))
        while room and self._waiting:
            job = self._waiting.popleft()
            if job.future.done():
                continue
            starts.setdefault(job, job.taken)
            taken = min(share, room, job.waiting)
            job.taken += taken
            room -= taken
            if job.waiting:
                self._waiting.append(job)
        return [(job, start, job.taken) for job, start in starts.items()]

    async def _pass(self, parts: list[Part]) -> None:
        items = [item for job, start, stop in parts for item in job.items[start:stop]]
        began = time.monotonic()
        try:
            results = await asyncio.get_running_loop().run_in_executor(self.executor, self.work, items)
            if len(results) != len(items):
                raise RuntimeError(f"{len(items)} items went in and {len(results)} results came out")
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # a panic in Rust is no Exception, and would end the queue in silence
            if len(parts) > 1:
                for part in parts:
                    await self._pass([part])
                return
            self.ended(False)
            if not parts[0][0].future.done():
                parts[0][0].future.set_exception(_as_exception(error))
            return
        self.passes += 1
        self._seconds_per_item = 0.8 * self._seconds_per_item + 0.2 * (time.monotonic() - began) / len(items)
        done = 0
        for job, start, stop in parts:
            job.put(start, results[done : done + stop - start])
            done += stop - start
            self.ended(True)


def _as_exception(error: BaseException) -> Exception:
    """An error as one that ends a request and not its task."""
    if isinstance(error, Exception):
        return error
    wrapped = RuntimeError(f"the pass ended with {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped
