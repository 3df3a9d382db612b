"""Limits of connections: no more than the process has file descriptors for, and a timeout for headers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from flipkd.errors import ResourceError

logger = logging.getLogger("uvicorn.error")
ACCEPTED_AT_ONCE = 16  # connections that the event loop accepts in one iteration
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


class HeaderTimeoutProtocol(H11Protocol):
    """uvicorn's HTTP protocol with a timeout for headers; uvicorn itself would wait forever for their end."""

    header_timeout = 10.0
    max_connections = 2048
    """Above this uvicorn answers 503; connections above it by more than ACCEPTED_AT_ONCE are closed."""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the timer for the first headers."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections + ACCEPTED_AT_ONCE:
            logger.warning("more than %d connections; new ones are closed", self.max_connections)
            transport.abort()
            return
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Start the timer for the next headers on a reused connection."""
        if self._idle and self._timer is None:
            self._start_timer()
        super().data_received(data)

    def handle_events(self) -> None:
        """Stop the timer once a request has arrived."""
        super().handle_events()
        if not self._idle:
            self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self.header_timeout, self._close_if_idle)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_if_idle(self) -> None:
        if self._idle:
            self.transport.close()
