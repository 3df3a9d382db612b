"""Limits for many connections: no more than the process has file descriptors for, and few lines in the log."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator

from flipkd.errors import ResourceError
from flipkd.serve.header_timeout import ACCEPTED_AT_ONCE

logger = logging.getLogger("uvicorn.error")
ITERATIONS = 6  # of the event loop until an accepted connection is counted or closed
RESERVED_FILES = 64  # descriptors for everything else that the process opens
MINUTE = 60.0


def limit_to_descriptors(connections: int) -> int:
    """Reduce the number of connections to the free file descriptors. Raises ResourceError when none is free."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return connections
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return connections
    free = soft - _open_files() - RESERVED_FILES - ITERATIONS * ACCEPTED_AT_ONCE
    if free < 1:
        raise ResourceError(
            f"this process may open {soft} files, too few for a server; raise the limit (ulimit -n 4096)"
        )
    if free < connections:
        logger.warning(
            "this process may open %d files, so at most %d connections; raise the limit with ulimit -n", soft, free
        )
    return min(connections, free)


def _open_files() -> int:
    """Count the descriptors in use: a new file gets the lowest free number."""
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    return lowest


@contextlib.contextmanager
def rate_limited_logs(*names: str) -> Iterator[None]:
    """Context manager that limits each message of these loggers to one per minute: clients that cause one could fill the disk."""
    last_logged: dict[str, float] = {}

    def is_due(record: logging.LogRecord) -> bool:
        """True when this message was not logged within the last minute."""
        now = time.monotonic()
        if now - last_logged.get(str(record.msg), -MINUTE) < MINUTE:
            return False
        if len(last_logged) > 1000:
            last_logged.clear()
        last_logged[str(record.msg)] = now
        return True

    loggers = [logging.getLogger(name) for name in names]
    for limited in loggers:
        limited.addFilter(is_due)
    try:
        yield
    finally:
        for limited in loggers:
            limited.removeFilter(is_due)
