"""Timeout for headers, and a bound on open connections: a protocol around uvicorn's own, which has no setting for either.

uvicorn waits forever for the end of headers, and `limit_concurrency` answers 503 but never closes a connection. So this
module gives `uvicorn.Config(http=...)` a protocol that passes every call of asyncio on to uvicorn's and keeps a timer.
Whether a request is in progress it learns from the ASGI calls, so it needs nothing of uvicorn but the protocol's constructor.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

logger = logging.getLogger("uvicorn.error")
ACCEPTED_AT_ONCE = 16  # connections that the event loop accepts in one iteration


class HeaderTimeout:
    """ASGI middleware that also makes the protocol of each connection; both are given to `uvicorn.Config`.

    timeout: seconds for the headers of a request. max_connections: above it uvicorn responds 503 (its
    `limit_concurrency`); connections above it by more than ACCEPTED_AT_ONCE are closed at once.
    """

    def __init__(self, app: ASGIApp, *, timeout: float, max_connections: int) -> None:
        self.app, self.timeout, self.max_connections = app, timeout, max_connections
        self.connections: dict[Any, _Connection] = {}
        """Open connections by the address of the client."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell the connection when its request begins, and when the response is complete."""
        connection = self.connections.get(scope.get("client"))
        if connection is None:
            await self.app(scope, receive, send)
            return
        end = connection.begin_request()

        async def send_to_end(message: Message) -> None:
            """End the request before its last byte is sent: the next headers may arrive before this call returns."""
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                end()
            await send(message)

        try:
            await self.app(scope, receive, send_to_end)
        finally:
            end()

    def protocol(self, **wiring: Any) -> asyncio.Protocol:
        """Make the protocol of a new connection from the arguments that uvicorn gives to its own."""
        return _Connection(H11Protocol(**wiring), self)


class _Connection(asyncio.Protocol):
    """One connection: `inner` is uvicorn's protocol."""

    def __init__(self, inner: asyncio.Protocol, owner: HeaderTimeout) -> None:
        self._inner, self._owner = inner, owner
        self._requests: set[object] = set()  # in progress
        self._timer: asyncio.TimerHandle | None = None
        self._transport: Any = None
        self._client: Any = None

    def connection_made(self, transport: Any) -> None:
        """Start the timer for the first headers, or close the connection when there are too many."""
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._client = None if peer is None else tuple(peer[:2])  # as in the scope of a request
        connections, most = self._owner.connections, self._owner.max_connections
        connections[self._client] = self
        self._inner.connection_made(transport)
        if len(connections) > most + ACCEPTED_AT_ONCE:
            logger.warning("more than %d connections; new ones are closed", most)
            transport.abort()
            return
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Start the timer for the next headers on a reused connection."""
        if not self._requests and self._timer is None:
            self._start_timer()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on that the client sends no more."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """Pass on that the client reads too slowly."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the client reads again."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer and forget the connection."""
        self._stop_timer()
        if self._owner.connections.get(self._client) is self:
            del self._owner.connections[self._client]
        self._inner.connection_lost(exc)

    def begin_request(self) -> Callable[[], None]:
        """Stop the timer, as the headers have arrived. Returns the function that ends the request."""
        request = object()
        self._requests.add(request)
        self._stop_timer()
        return lambda: self._requests.discard(request)

    def _start_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._owner.timeout, self._transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
