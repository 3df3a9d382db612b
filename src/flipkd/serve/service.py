"""The matcher behind the server: loaded beside it, asked through queues, one pass of the model at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from flipkd.errors import DataError
from flipkd.index import Floats, Index
from flipkd.matcher import Matcher, checked_sides, checked_texts
from flipkd.serve.limits import Limits
from flipkd.serve.queue import BatchQueue, Work

logger = logging.getLogger(__name__)
State = Literal["loading", "ready", "draining", "failed"]
FAILURES = 3  # failed requests in a row, after which the service calls itself unhealthy
Pair = tuple[str, str]


class NotReady(Exception):
    """The model is still loading, does not work, or the server is on its way out."""


@dataclass(frozen=True)
class Match:
    """What is known of one pair."""

    score: float
    probability: float
    decision: str
    truncated: bool


@dataclass(frozen=True)
class Loaded:
    """What is served: a matcher, and an index with the function that turns queries into vectors as it has them."""

    matcher: Matcher
    index: Index | None = None
    encode: Callable[[Sequence[str]], Floats] | None = None


class Service:
    """One matcher and the queues before it. `load` is called in a thread; requests are refused until it is done."""

    def __init__(self, load: Callable[[], Loaded], *, limits: Limits, name: str, revision: str) -> None:
        self.limits, self.name, self.revision = limits, name, revision
        self.error: BaseException | None = None
        self.draining = False
        self._load = load
        self._loaded: Loaded | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self.pairs = self._queue(self._score)
        self.texts = self._queue(self._encode)
        self.searches = self._queue(self._nearest)
        self._tasks: list[asyncio.Task[None]] = []
        self.finished = asyncio.Event()
        """Set when the model could not be loaded."""

    def _queue(self, work: Work) -> BatchQueue:
        return BatchQueue(
            work,
            executor=self._thread,
            batch_size=self.limits.batch_size,
            max_queue=self.limits.max_queue,
            max_wait=self.limits.max_wait,
        )

    async def start(self) -> None:
        """Begin to load; requests are answered once that is done."""
        work = (self._load_it, *(queue.run for queue in self.queues.values()))
        self._tasks = [asyncio.create_task(run()) for run in work]

    async def stop(self) -> None:
        """End without waiting for anybody."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _load_it(self) -> None:
        try:
            self._loaded = await asyncio.get_running_loop().run_in_executor(self._thread, self._warm)
        except Exception as error:
            self.error = error
            self.finished.set()

    def _warm(self) -> Loaded:
        loaded = self._load()
        loaded.matcher.predict([("warm", "up")])  # the first pass sets things up that later ones find
        return loaded

    @property
    def state(self) -> State:
        """Whether requests are answered, and if not, why."""
        if self.draining:
            return "draining"
        if self.error is not None or max(queue.failures for queue in self.queues.values()) >= FAILURES:
            return "failed"
        return "loading" if self._loaded is None else "ready"

    @property
    def queues(self) -> dict[str, BatchQueue]:
        """What waits for the model, by what it is."""
        return {"pairs": self.pairs, "texts": self.texts, "searches": self.searches}

    @property
    def loaded(self) -> Loaded:
        """What is served, for a new request. Raises NotReady while it loads or the server shuts down."""
        if self._loaded is None or self.draining:
            raise NotReady(f"the server is {self.state}")
        return self._loaded

    async def match(self, pairs: Sequence[Pair]) -> list[Match]:
        """Each pair's score and what follows from it. Raises DataError for a pair that cannot be scored."""
        matcher = self.loaded.matcher
        checked_sides(pairs)
        found: list[tuple[float, bool]] = await self.pairs.ask(pairs, timeout=self.limits.timeout)
        scores = np.array([score for score, _ in found], np.float32)
        values = scores.tolist(), matcher.calibration.apply(scores).tolist(), matcher.decisions(scores)
        return [
            Match(score, probability, decision, cut)
            for score, probability, decision, (_, cut) in zip(*values, found, strict=True)
        ]

    async def encode(self, texts: Sequence[str]) -> list[list[float]]:
        """A unit vector for each text. Raises DataError for a text that cannot be read."""
        _ = self.loaded
        vectors: list[list[float]] = await self.texts.ask(checked_texts(texts), timeout=self.limits.timeout)
        return vectors

    async def nearest(self, query: str, *, candidates: int) -> list[tuple[int, float]]:
        """(position, cosine) of the index's entries nearest to a query. Raises DataError when there is no index."""
        if self.loaded.index is None:
            raise DataError("no index is served here; start the server with --index")
        checked_texts([query], "query")
        [found] = await self.searches.ask([(query, candidates)], timeout=self.limits.timeout)
        hits: list[tuple[int, float]] = found
        return hits

    def _score(self, pairs: list[Pair]) -> list[tuple[float, bool]]:
        """Score of each pair, and whether one of its texts was cut; runs in the model's thread."""
        matcher = self._there().matcher
        scores = matcher.predict(pairs, batch_size=self.limits.batch_size)
        left, right = (matcher.student.prompt.text_ids(side) for side in zip(*pairs, strict=True))
        return [(float(score), a or b) for score, (_, a), (_, b) in zip(scores, left, right, strict=True)]

    def _encode(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._there().matcher.encode(texts, batch_size=self.limits.batch_size).tolist()
        return vectors

    def _nearest(self, searches: list[tuple[str, int]]) -> list[list[tuple[int, float]]]:
        loaded = self._there()
        if loaded.index is None or loaded.encode is None:
            raise NotReady("no index is served")
        vectors = loaded.encode([query for query, _ in searches])
        return [
            loaded.index.nearest(vector, top_k=top_k) if len(loaded.index) else []
            for vector, (_, top_k) in zip(vectors, searches, strict=True)
        ]

    def _there(self) -> Loaded:
        if self._loaded is None:
            raise NotReady(f"the server is {self.state}")
        return self._loaded
