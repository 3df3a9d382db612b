"""The matcher behind the server: loaded beside it, asked through queues, one pass of the model at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Literal

import numpy as np

from flipkd.errors import DataError
from flipkd.index import Floats, Index
from flipkd.inputs import checked_sides, checked_texts
from flipkd.matcher import Matcher
from flipkd.serve.limits import Limits
from flipkd.serve.queue import BatchQueue, Work
from flipkd.text import truncate_text

State = Literal["loading", "ready", "draining", "failed"]
FAILURES = 3  # failed requests in a row, after which the service calls itself unhealthy
QUERY_CHARACTERS = 32_768  # of a search: an index's encoder reads fewer, and its tokenizer would read all
Pair = tuple[str, str]
WARM: Pair = ("warm", "up")
PROBES: dict[str, Any] = {"pairs": WARM, "texts": WARM[0], "searches": (WARM[0], 1)}


class NotReady(Exception):
    """The model is still loading, does not work, or the server is on its way out."""


@dataclass(frozen=True)
class Match:
    """What is known of one pair; `tokens` are those of both its texts that were read."""

    score: float
    probability: float
    decision: str
    truncated: bool
    tokens: int


@dataclass(frozen=True)
class EncodedText:
    """One text's unit vector; `tokens` are those that were read."""

    vector: list[float]
    truncated: bool
    tokens: int


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
        self.at_work = 0
        """Calls that the model's thread has begun and not ended."""
        self._load = load
        self._loaded: Loaded | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        work: dict[str, Work] = {"pairs": self._score, "texts": self._encode, "searches": self._nearest}
        self.queues = {name: self._queue(name, own) for name, own in work.items()}
        """What waits for the model, by what it is."""
        self.failures = dict.fromkeys(work, 0)
        """Failed requests in a row, by queue."""
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.finished = asyncio.Event()
        """Set when the model could not be loaded, or what makes the passes has died."""

    def _queue(self, name: str, work: Work) -> BatchQueue:
        return BatchQueue(
            self._noted(work),
            executor=self._thread,
            batch_size=self.limits.batch_size,
            max_queue=self.limits.max_queue,
            max_wait=self.limits.max_wait,
            ended=partial(self._ended, name),
        )

    def _noted(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            """The work, counted while it lasts."""
            self.at_work += 1
            try:
                return work(*arguments)
            finally:
                self.at_work -= 1

        return noted

    def _ended(self, name: str, well: bool) -> None:
        self.failures[name] = 0 if well else self.failures[name] + 1

    async def start(self) -> None:
        """Begin to load; requests are answered once that is done."""
        work = (self._recover, *(queue.run for queue in self.queues.values()))
        self._tasks = [asyncio.create_task(run()) for run in work]
        for task in self._tasks:
            task.add_done_callback(self._died)
        self._tasks.append(asyncio.create_task(self._load_it()))

    async def stop(self) -> None:
        """End without waiting for anybody."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _load_it(self) -> None:
        try:
            self._loaded = await asyncio.get_running_loop().run_in_executor(self._thread, self._noted(self._warm))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # a panic in Rust is no Exception
            self._end(error)

    def _died(self, task: asyncio.Task[None]) -> None:
        """A task that goes on for ever has ended: nobody would be answered again, so the server ends and says why."""
        if not (self._stopping or self.draining):  # after a second signal all tasks are cancelled
            self._end(None if task.cancelled() else task.exception())

    def _end(self, cause: BaseException | None) -> None:
        if not isinstance(cause, Exception):
            failure = RuntimeError(f"the service stopped working ({type(cause).__name__})")
            failure.__cause__ = cause
            cause = failure
        self.error = cause
        self.finished.set()

    def _warm(self) -> Loaded:
        """Load, and do once what sets things up that later requests find."""
        loaded = self._load()
        scores = loaded.matcher.predict([WARM])
        loaded.matcher.calibration.apply(scores)
        if loaded.encode is not None:
            loaded.encode([WARM[0]])
        return loaded

    async def _recover(self) -> None:
        """While it calls itself failed, nobody may send it a request by which it could be seen to work again."""
        while True:
            await asyncio.sleep(self.limits.probe_interval)
            for name, failures in self.failures.items():
                if failures >= FAILURES:
                    with contextlib.suppress(Exception):
                        await self.queues[name].ask([PROBES[name]], timeout=self.limits.timeout)

    @property
    def state(self) -> State:
        """Whether requests are answered, and if not, why."""
        if self.draining:
            return "draining"
        if self.error is not None or max(self.failures.values()) >= FAILURES:
            return "failed"
        return "loading" if self._loaded is None else "ready"

    @property
    def loaded(self) -> Loaded:
        """What is served. Raises NotReady while it loads and once the service has ended."""
        if self._loaded is None or self.error is not None:
            raise NotReady(f"the server is {self.state}")
        return self._loaded

    def deadline(self) -> float:
        """When a request that begins now is given up, in the seconds of time.monotonic."""
        return time.monotonic() + self.limits.timeout

    async def match(self, pairs: Sequence[Pair], *, until: float) -> list[Match]:
        """Each pair's score and what follows from it. Raises DataError for a pair that cannot be scored."""
        matcher = self.loaded.matcher
        shown = self._looked_at(chain(*checked_sides(pairs)))
        found = await self._ask("pairs", [(shown[left][0], shown[right][0]) for left, right in pairs], until=until)
        scores = np.array([score for score, _, _ in found], np.float32)
        return [
            Match(*judgement, truncated=cut or any(shown[text][1] for text in pair), tokens=tokens)
            for judgement, (_, cut, tokens), pair in zip(matcher.judge(scores), found, pairs, strict=True)
        ]

    async def encode(self, texts: Sequence[str], *, until: float) -> list[EncodedText]:
        """A unit vector for each text. Raises DataError for a text that cannot be read."""
        shown = self._looked_at(checked_texts(texts))
        found = await self._ask("texts", [shown[text][0] for text in texts], until=until)
        return [
            EncodedText(vector, cut or shown[text][1], tokens)
            for (vector, cut, tokens), text in zip(found, texts, strict=True)
        ]

    async def nearest(self, query: str, *, candidates: int, until: float) -> list[tuple[int, float]]:
        """(position, cosine) of the index's entries nearest to a query. Raises DataError when there is no index."""
        if self.loaded.index is None:
            raise DataError("no index is served here; start the server with --index")
        checked_texts([query], "query")
        [found] = await self._ask("searches", [(truncate_text(query, QUERY_CHARACTERS), candidates)], until=until)
        hits: list[tuple[int, float]] = found
        return hits

    def _looked_at(self, texts: Iterable[str]) -> dict[str, tuple[str, bool]]:
        """What the model looks at of each text and whether there is more, which no pass, and nobody who waits, holds.

        Each text is looked at once: a query of 2 MB may stand in a thousand pairs.
        """
        prompt = self.loaded.matcher.student.prompt
        return {text: prompt.looked_at(text) for text in dict.fromkeys(texts)}

    async def _ask(self, queue: str, items: Sequence[Any], *, until: float) -> list[Any]:
        return await self.queues[queue].ask(items, timeout=max(until - time.monotonic(), 0.0))

    def _score(self, pairs: list[Pair]) -> list[tuple[float, bool, int]]:
        """Score, whether a text was cut, and tokens, of each pair; runs in the model's thread."""
        matcher = self.loaded.matcher
        scores = matcher.predict(pairs, batch_size=self.limits.batch_size)
        left, right = (matcher.student.prompt.text_ids(side) for side in zip(*pairs, strict=True))
        sides = zip(scores, left, right, strict=True)
        return [(float(score), a_cut or b_cut, len(a) + len(b)) for score, (a, a_cut), (b, b_cut) in sides]

    def _encode(self, texts: list[str]) -> list[tuple[list[float], bool, int]]:
        matcher = self.loaded.matcher
        vectors = matcher.encode(texts, batch_size=self.limits.batch_size).tolist()
        read = matcher.student.prompt.text_ids(texts)
        return [(vector, cut, len(ids)) for vector, (ids, cut) in zip(vectors, read, strict=True)]

    def _nearest(self, searches: list[tuple[str, int]]) -> list[list[tuple[int, float]]]:
        loaded = self.loaded
        if loaded.index is None or loaded.encode is None:
            raise NotReady("no index is served")
        vectors = loaded.encode([query for query, _ in searches])
        return [
            loaded.index.nearest(vector, top_k=top_k) if len(loaded.index) else []
            for vector, (_, top_k) in zip(vectors, searches, strict=True)
        ]
