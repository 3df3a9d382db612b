"""The threads of an index: its calls wait for the disk, and the model's thread must not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from flipkd.errors import ConfigError, DataError

Result = TypeVar("Result")
THREADS = 5  # searches at a time, or one fewer while an entry is written


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
