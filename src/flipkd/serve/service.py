"""Service: one version of a matcher, loaded in a thread and used through queues, one batch at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any, Literal

import numpy as np

from flipkd.errors import DataError
from flipkd.index import Floats, Hit
from flipkd.inputs import checked_sides, checked_texts
from flipkd.serve.limits import Limits
from flipkd.serve.loaded import NO_INDEX, EncodedText, Loaded, Match, Pair
from flipkd.serve.queue import BatchQueue, Work
from flipkd.serve.threads import IndexThreads, ModelThread
from flipkd.text import truncate_text

State = Literal["loading", "ready", "draining", "failed"]
THREAD_CHECK = 0.25  # seconds between two checks that the model's thread lives
POLL_INTERVAL = 0.02  # seconds between two checks whether the last request is finished
MAX_FAILURES = 3  # failed requests in a row, after which the service is unhealthy
# Of a search query: the encoder of an index truncates to fewer, but its tokenizer would process all.
QUERY_CHARACTERS = 32_768
WARM_UP: Pair = ("warm", "up")
PROBES: dict[str, Any] = {"pairs": WARM_UP, "texts": WARM_UP[0], "searches": WARM_UP[0], "entries": WARM_UP[0]}


class NotReady(Exception):
    """The model is loading or has failed, or the server shuts down."""


class ServiceDied(RuntimeError):
    """The model's thread or the task of a queue has ended; the service never answers again."""


class Service:
    """One version of the matcher `name`, and its queues. `load` runs in a thread; until it returns, requests raise NotReady."""

    def __init__(self, load: Callable[[], Loaded], *, limits: Limits, name: str) -> None:
        self.limits, self.name = limits, name
        self.error: BaseException | None = None
        self.draining = False
        self.users = 0
        """Number of requests that this version answers."""
        self.thread = ModelThread()
        self._load = load
        self._loaded: Loaded | None = None
        self.index_threads = IndexThreads()
        rows = limits.batch_size
        work: dict[str, Work] = {
            "pairs": lambda pairs: self.loaded.score(pairs, batch_size=rows),
            "texts": lambda texts: self.loaded.encode_texts(texts, batch_size=rows),
        }
        work |= dict.fromkeys(("searches", "entries"), lambda texts: self.loaded.encode_for_index(texts))
        self.queues = {name: self._queue(name, call) for name, call in work.items()}
        """Queue of each kind of item."""
        self.failures = dict.fromkeys(work, 0)
        """Failed requests in a row, by queue."""
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.finished = asyncio.Event()
        """Set when the service has ended: by `stop`, or by itself, and then `error` is not None."""

    def _queue(self, name: str, work: Work) -> BatchQueue:
        return BatchQueue(
            work,
            executor=self.thread,
            batch_size=self.limits.batch_size,
            max_queue=self.limits.max_queue,
            max_wait=self.limits.max_wait,
            on_result=partial(self._record_result, name),
        )

    def _record_result(self, name: str, succeeded: bool) -> None:
        self.failures[name] = 0 if succeeded else self.failures[name] + 1

    async def start(self) -> None:
        """Start to load the model; requests are accepted once that is done."""
        loops = (self._recover, self._watch_thread, *(queue.run for queue in self.queues.values()))
        self._tasks = [asyncio.create_task(run()) for run in loops]
        for task in self._tasks:
            task.add_done_callback(self._on_task_end)
        self._tasks.append(asyncio.create_task(self._load_in_thread()))

    async def until_loaded(self) -> None:
        """Wait until the model is loaded. Raises the error of loading it."""
        failed = asyncio.ensure_future(self.finished.wait())
        await asyncio.wait({self._tasks[-1], failed}, return_when=asyncio.FIRST_COMPLETED)
        failed.cancel()
        if self.error is not None:
            raise self.error

    async def drain(self) -> None:
        """Wait until no request uses this version, then stop."""
        while self.users:
            await asyncio.sleep(POLL_INTERVAL)
        await self.stop()

    async def stop(self) -> None:
        """Stop at once, without waiting for requests; the model's memory is free once its last pass ends."""
        self._stopping = True
        self.finished.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.thread.shutdown()
        self.index_threads.shutdown()
        self._loaded = None

    async def _load_in_thread(self) -> None:
        try:
            self._loaded = await asyncio.get_running_loop().run_in_executor(self.thread, self._load_and_warm_up)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # a Rust panic is not an Exception
            self._fail(error)

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        """End the server with an error: a task that should run forever has ended, so no request would get a response again."""
        if not (self._stopping or self.draining):  # after a second signal all tasks are cancelled
            self._fail(None if task.cancelled() else task.exception())

    def _fail(self, cause: BaseException | None) -> None:
        if not isinstance(cause, Exception):
            failure = ServiceDied(f"the service stopped working ({type(cause).__name__})")
            failure.__cause__ = cause
            cause = failure
        self.error = self.error or cause
        for queue in self.queues.values():
            queue.fail_all(NotReady(f"the model {self.name} stopped working and is loaded again"))
        self.finished.set()

    def _load_and_warm_up(self) -> Loaded:
        """Load the models and run each once, since the first call is slow."""
        loaded = self._load()
        scores = loaded.matcher.predict([WARM_UP])
        loaded.matcher.calibration.apply(scores)
        if loaded.encode is not None:
            loaded.encode([WARM_UP[0]])
        return loaded

    async def _watch_thread(self) -> None:
        """Notice that the model's thread has died: its calls would never return."""
        while not self.thread.is_dead:
            await asyncio.sleep(THREAD_CHECK)
        raise ServiceDied("the model's thread has died")

    async def _recover(self) -> None:
        """Send test requests to a queue that failed: while the server is unhealthy, clients may send none."""
        while True:
            await asyncio.sleep(self.limits.probe_interval)
            for name, failures in self.failures.items():
                if failures >= MAX_FAILURES:
                    with contextlib.suppress(Exception):
                        await self.queues[name].submit([PROBES[name]], timeout=self.limits.timeout)

    @property
    def state(self) -> State:
        """State of the service; requests are accepted in "ready" only."""
        if self.draining:
            return "draining"
        if self.error is not None or max(self.failures.values()) >= MAX_FAILURES:
            return "failed"
        return "loading" if self._loaded is None else "ready"

    @property
    def loaded(self) -> Loaded:
        """The loaded models. Raises NotReady while they load and after the service has ended."""
        if self._loaded is None or self.error is not None:
            raise NotReady(f"the model {self.name} is {self.state}")
        return self._loaded

    @property
    def was_loaded(self) -> bool:
        """True once the model has been loaded, also when the service has failed since."""
        return self._loaded is not None

    @property
    def version(self) -> str:
        """Short hash of the matcher's folder. Raises NotReady."""
        return self.loaded.version

    def deadline(self) -> float:
        """Return the time, in seconds of time.monotonic, at which a request that starts now times out."""
        return time.monotonic() + self.limits.timeout

    async def match(self, pairs: Sequence[Pair], *, until: float) -> list[Match]:
        """Score pairs and decide. Raises DataError for an invalid pair, NotReady, Overloaded, TimeoutError."""
        matcher = self.loaded.matcher
        clipped = self._clipped(chain(*checked_sides(pairs)))
        found = await self._submit(
            "pairs", [(clipped[left][0], clipped[right][0]) for left, right in pairs], until=until
        )
        scores = np.array([score for score, _, _ in found], np.float32)
        return [
            Match(*judgement, truncated=cut or any(clipped[text][1] for text in pair), tokens=tokens)
            for judgement, (_, cut, tokens), pair in zip(matcher.judge(scores), found, pairs, strict=True)
        ]

    async def encode(self, texts: Sequence[str], *, until: float) -> list[EncodedText]:
        """Encode texts as unit vectors. Raises DataError for an invalid text, NotReady, Overloaded, TimeoutError."""
        clipped = self._clipped(checked_texts(texts))
        found = await self._submit("texts", [clipped[text][0] for text in texts], until=until)
        return [
            EncodedText(vector, cut or clipped[text][1], tokens)
            for (vector, cut, tokens), text in zip(found, texts, strict=True)
        ]

    async def nearest(self, query: str, *, candidates: int, until: float, where: str | None = None) -> list[Hit]:
        """Find the index's entries nearest to a query. Raises DataError without an index or for a filter that is not one."""
        index = self.loaded.index
        if index is None:
            raise DataError(NO_INDEX)
        checked_texts([query], "query")
        [vector] = await self.encode_for_index([query], "searches", until=until)
        return await self.index_threads.run(partial(index.hits, vector, top_k=candidates, where=where), until=until)

    async def encode_for_index(self, texts: Sequence[str], queue: str, *, until: float) -> list[Floats]:
        """Encode texts by the index's encoder; `queue`: "searches" or "entries"."""
        return await self._submit(queue, [truncate_text(text, QUERY_CHARACTERS) for text in texts], until=until)

    def _clipped(self, texts: Iterable[str]) -> dict[str, tuple[str, bool]]:
        """Cut each text to the part that the models use, so that the queue holds no more; True for a text that was cut.

        Each different text is processed once: a query of 2 MB may be part of a thousand pairs.
        """
        loaded = self.loaded
        return {text: loaded.clip(text) for text in dict.fromkeys(texts)}

    async def _submit(self, queue: str, items: Sequence[Any], *, until: float) -> list[Any]:
        return await self.queues[queue].submit(items, timeout=max(until - time.monotonic(), 0.0))
