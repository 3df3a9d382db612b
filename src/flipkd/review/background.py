"""ReviewThread: the queue of a server, written in a thread of its own; no problem of its disk stops an answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from flipkd.review.queue import ReviewQueue
from flipkd.review.sampling import ScoredPair, chosen

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
WAIT = 1.0  # seconds that an answer waits for the disk
MOST_WAITING = 256  # calls; with more, the disk does not keep up
MINUTE = 60.0


class ReviewThread:
    """A review queue for an event loop. `share`: share of the sure pairs that is added; `votes`: labels that a pair needs."""

    def __init__(self, queue: ReviewQueue, *, share: float, votes: int = 1) -> None:
        self.queue, self.share, self.votes = queue, share, votes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="review")
        self._waiting, self._lost, self._logged = 0, 0, -MINUTE

    async def call(self, work: Callable[[], Result]) -> Result:
        """Call a function of the queue in the thread and return its result."""
        return await asyncio.wrap_future(self._thread.submit(work))

    async def add(self, pairs: Sequence[ScoredPair], *, matcher: str) -> None:
        """Add the pairs that people should see; returns when they are on the disk, after WAIT at the latest.

        Pairs that cannot be stored are counted in one log line a minute.
        """
        if self._waiting >= MOST_WAITING:
            self._warn(len(pairs), "the disk is too slow")
            return
        self._waiting += 1
        # A future and no task: a loop that ends, or a client that disconnects, cancels tasks.
        write = asyncio.wrap_future(self._thread.submit(self._add, pairs, matcher))
        write.add_done_callback(lambda done: self._written(done, len(pairs)))
        await asyncio.wait([write], timeout=WAIT)

    def _add(self, pairs: Sequence[ScoredPair], matcher: str) -> None:
        if choices := chosen(pairs, share=self.share):
            self.queue.add(choices, matcher=matcher)

    def _written(self, write: asyncio.Future[None], pairs: int) -> None:
        self._waiting -= 1
        if not write.cancelled() and (error := write.exception()) is not None:
            self._warn(pairs, str(error))

    def _warn(self, pairs: int, reason: str) -> None:
        self._lost += pairs
        now = time.monotonic()
        if now - self._logged >= MINUTE:
            logger.error(
                "the review queue misses the pairs of requests with %d pairs in all, which were answered: %s",
                self._lost,
                reason,
            )
            self._logged, self._lost = now, 0

    def close(self) -> None:
        """Finish all writes and close the queue."""
        self._thread.shutdown(wait=True)
        self.queue.close()
