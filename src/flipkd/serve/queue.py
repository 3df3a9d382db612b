"""Bounded queue that batches the items of many requests fairly, and returns each result to its own request."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from flipkd.batching import Abandoned, abandoned_unless

Work = Callable[[list[Any]], Sequence[Any]]


class Overloaded(Exception):
    """The queue is full; `retry_after` is the expected time in seconds until it is empty, at the recent speed."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue is full; try again in {retry_after} s")
        self.retry_after = retry_after


class _Job:
    """One request: its items, and the results so far."""

    def __init__(self, items: list[Any], future: asyncio.Future[list[Any]]) -> None:
        self.items, self.future, self.started, self.missing = items, future, 0, len(items)
        self.results: list[Any] = [None] * len(items)

    @property
    def waiting(self) -> int:
        """Number of items that are in no batch yet."""
        return len(self.items) - self.started

    def store(self, start: int, results: Sequence[Any]) -> None:
        self.results[start : start + len(results)] = results
        self.missing -= len(results)
        if not self.missing and not self.future.done():
            self.future.set_result(self.results)


Part = tuple[_Job, int, int]  # items [start, stop) of a request


class BatchQueue:
    """Calls `work` on batches of up to `batch_size` items, in `executor`, for any number of requests in one event loop.

    A batch takes an equal share of each waiting request, so a long request does not delay a short one. The items of a
    cancelled request are dropped before they reach the model, and `work` may stop by `batching.check_wanted` when all requests
    of its batch are cancelled. When a batch fails, each of its requests is tried alone, and only the one at fault gets the
    error. `on_result` is a callback that gets True or False for each request that reached the model: success or failure.
    """

    def __init__(
        self,
        work: Work,
        *,
        executor: Executor,
        batch_size: int,
        max_queue: int,
        max_wait: float = 0.0,
        on_result: Callable[[bool], None] = lambda succeeded: None,
    ) -> None:
        self.work, self.executor, self.on_result = work, executor, on_result
        self.batch_size, self.max_queue, self.max_wait = batch_size, max_queue, max_wait
        self.passes = 0
        self._waiting: deque[_Job] = deque()
        self._unanswered: set[_Job] = set()
        self._has_items = asyncio.Event()
        self._seconds_per_item = 0.01

    @property
    def depth(self) -> int:
        """Number of items that wait for a batch."""
        return sum(job.waiting for job in self._waiting if not job.future.done())

    async def submit(self, items: Sequence[Any], *, timeout: float) -> list[Any]:
        """Return the result of `work` for each item, in their order.

        Raises Overloaded when the items do not fit in the queue, TimeoutError after `timeout` seconds, and any error of
        `work`.
        """
        if not items:
            return []
        if timeout <= 0:  # asyncio.timeout would let an idle queue start the batch first
            raise TimeoutError
        depth = self.depth
        if depth + len(items) > self.max_queue:
            raise Overloaded(max(1, math.ceil(depth * self._seconds_per_item)))
        job = _Job(list(items), asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._unanswered.add(job)
        self._has_items.set()
        try:
            async with asyncio.timeout(timeout):
                return await job.future  # a timeout or a disconnect cancels the future, which drops the items
        finally:
            self._unanswered.discard(job)

    def fail_all(self, error: Exception) -> None:
        """Answer every request with an error, also those whose items are in a batch: the model will not return it."""
        for job in self._unanswered:
            if not job.future.done():
                job.future.set_exception(error)

    async def run(self) -> None:
        """Run batches until cancelled; exactly one task runs this."""
        while True:
            await self._has_items.wait()
            if self.max_wait and self.depth < self.batch_size:
                await asyncio.sleep(self.max_wait)
            parts = self._next_batch()
            if not parts:
                self._has_items.clear()
                continue
            await self._run_batch(parts)

    def _next_batch(self) -> list[Part]:
        """Choose the parts of waiting requests for one batch: an equal share of each, in turn."""
        starts: dict[_Job, int] = {}
        space, share = self.batch_size, max(1, self.batch_size // max(1, len(self._waiting)))
        while space and self._waiting:
            job = self._waiting.popleft()
            if job.future.done():
                continue
            starts.setdefault(job, job.started)
            taken = min(share, space, job.waiting)
            job.started += taken
            space -= taken
            if job.waiting:
                self._waiting.append(job)
        return [(job, start, job.started) for job, start in starts.items()]

    async def _run_batch(self, parts: list[Part]) -> None:
        items = [item for job, start, stop in parts for item in job.items[start:stop]]
        begin = time.monotonic()
        try:
            results = await asyncio.get_running_loop().run_in_executor(self.executor, self._work_for, parts, items)
            if len(results) != len(items):
                raise RuntimeError(f"got {len(results)} results for {len(items)} items")
        except asyncio.CancelledError:
            raise
        except Abandoned:
            return
        except BaseException as error:  # a Rust panic is not an Exception, and would end the queue without an error
            if len(parts) > 1:
                for part in parts:
                    if not part[0].future.done():
                        await self._run_batch([part])
                return
            self.on_result(False)
            if not parts[0][0].future.done():
                parts[0][0].future.set_exception(_as_exception(error))
            return
        self.passes += 1
        self._seconds_per_item = 0.8 * self._seconds_per_item + 0.2 * (time.monotonic() - begin) / len(items)
        done = 0
        for job, start, stop in parts:
            job.store(start, results[done : done + stop - start])
            done += stop - start
            self.on_result(True)

    def _work_for(self, parts: list[Part], items: list[Any]) -> Sequence[Any]:
        """Call `work`, which stops between batches once each request of these parts has been cancelled."""
        with abandoned_unless(lambda: not all(job.future.done() for job, _, _ in parts)):
            return self.work(items)


def _as_exception(error: BaseException) -> Exception:
    """Wrap an error that is not an Exception, so that it ends a request and not its task."""
    if isinstance(error, Exception):
        return error
    wrapped = RuntimeError(f"the model failed with {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped
