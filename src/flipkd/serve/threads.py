"""The threads of a service: that of its model, and those of its index, whose calls wait for the disk."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

from flipkd.errors import ConfigError, DataError

Result = TypeVar("Result")
THREADS = 5  # searches of an index at a time, or one fewer while an entry is written


class ModelThread(Executor):
    """One daemon thread. concurrent.futures would neither show that its thread has died nor end without it."""

    def __init__(self) -> None:
        self.running_calls = 0
        """Number of calls in progress: 0 or 1."""
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    @property
    def is_dead(self) -> bool:
        """True when the thread was started and has ended; its calls never return."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Run a call after those before it."""
        future: Future[Any] = Future()

        def call() -> None:
            """Store the result of the call, or its error of any kind: a Rust panic is not an Exception."""
            if not future.set_running_or_notify_cancel():
                return
            self.running_calls = 1
            try:
                result = function(*arguments, **named)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            finally:
                self.running_calls = 0

        if self._thread.ident is None:
            self._thread.start()
        self._calls.put(call)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the thread after its calls; never waits, since a pass without a client may take long."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # it holds the model


class IndexThreads:
    """Threads that call the index of one service; `lock` is held by the one request that writes to it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="index")

    async def run(self, work: Callable[[], Result], *, until: float) -> Result:
        """Run a call in a thread. Raises DataError for a filter that is not one, TimeoutError at `until` (time.monotonic)."""
        try:
            async with asyncio.timeout(max(until - time.monotonic(), 0.0)):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except ConfigError as error:
            raise DataError(str(error)) from None

    def shutdown(self) -> None:
        """End the threads after their calls."""
        self._threads.shutdown(wait=False, cancel_futures=True)
