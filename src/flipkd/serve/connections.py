"""Connections: never more than there are file descriptors for, and none on which nothing comes."""

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
AT_ONCE = 16  # connections that the loop accepts in one turn; it takes a few turns until they are counted, or closed
TURNS = 6
FILES = 64  # descriptors that are left for all else that the process opens
MINUTE = 60.0


def limit_to_descriptors(connections: int) -> int:
    """As many of the connections as there are file descriptors for. Raises ResourceError when there is no room for any."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows, which has no such limit
        return connections
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return connections
    room = soft - _open_files() - FILES - TURNS * AT_ONCE
    if room < 1:
        raise ResourceError(f"this process may open {soft} files, too few for a server; raise it (ulimit -n 4096)")
    if room < connections:
        logger.warning("this process may open %d files, so at most %d connections; ulimit -n raises it", soft, room)
    return min(connections, room)


def _open_files() -> int:
    """Descriptors in use: the lowest free one, since each new one takes the lowest."""
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    return lowest


@contextlib.contextmanager
def rate_limited_logs(*names: str) -> Iterator[None]:
    """While it lasts, these loggers say the same thing once a minute: whoever can cause a line could fill the disk."""
    said: dict[str, float] = {}

    def new(record: logging.LogRecord) -> bool:
        """Whether this was not said within the last minute."""
        now = time.monotonic()
        if now - said.get(str(record.msg), -MINUTE) < MINUTE:
            return False
        if len(said) > 1000:
            said.clear()
        said[str(record.msg)] = now
        return True

    loggers = [logging.getLogger(name) for name in names]
    for found in loggers:
        found.addFilter(new)
    try:
        yield
    finally:
        for found in loggers:
            found.removeFilter(new)


class HeaderTimeoutProtocol(H11Protocol):
    """uvicorn's HTTP, but a connection on which headers are begun and not ended is closed: uvicorn waits for ever."""

    header_timeout = 10.0
    most = 2048
    """Connections; a little more are told so by uvicorn, and more than that are closed at once."""
    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the clock: the first headers must come."""
        super().connection_made(transport)
        if len(self.connections) > self.most + AT_ONCE:
            logger.warning("more than %d connections; new ones are closed", self.most)
            transport.abort()
            return
        self._start_clock()

    def data_received(self, data: bytes) -> None:
        """Start it for the next headers on the same connection too; stop it once there is a request."""
        if self._idle and self._due is None:
            self._start_clock()
        super().data_received(data)

    def handle_events(self) -> None:
        """Stop the clock once there is a request."""
        super().handle_events()
        if not self._idle:
            self._stop_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to wait for."""
        self._stop_clock()
        super().connection_lost(exc)

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _start_clock(self) -> None:
        self._due = self.loop.call_later(self.header_timeout, self._give_up)

    def _stop_clock(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _give_up(self) -> None:
        if self._idle:
            self.transport.close()
