"""Threads that run the same function at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def numbers_inside(run: Callable[[Callable[[], None]], None], *, threads: int) -> list[int]:
    """Call `run(body)` in each of these threads, and return how many threads were in the body while each one was."""
    inside, found = [], []

    def body() -> None:
        inside.append(1)
        time.sleep(0.05)
        found.append(len(inside))
        inside.pop()

    running = [threading.Thread(target=run, args=(body,)) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return found
