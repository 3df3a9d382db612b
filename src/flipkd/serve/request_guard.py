"""Checks of a request before a route gets it: key, host and origin, size and speed of the body; and client disconnects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fastapi.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flipkd.serve.access import Access
from flipkd.serve.addresses import is_loopback
from flipkd.serve.cors import allows
from flipkd.serve.limits import Limits
from flipkd.serve.metrics import Metrics
from flipkd.serve.models import Models
from flipkd.serve.problems import CLOSE, DRAINING, internal_error, not_ready, problem

HEALTH_PATHS = ("/health", "/healthz", "/readyz")  # need no key, and work while the server shuts down
DISCARD_PAUSE = 1.0  # seconds that a refused client may pause while it sends its body
DISCARD_FACTOR = 32  # a refused client may send this many times the largest body before it is disconnected


class ClientDisconnected(Exception):
    """The client closed the connection."""


@dataclass
class _Body:
    """Parts of a body that have arrived."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    more: bool = True

    def take(self) -> bytes:
        """Join the parts and release them, so that the body is in memory once."""
        joined = b"".join(self.parts)
        self.parts.clear()
        return joined


class RequestGuard:
    """ASGI middleware around the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        models: Models,
        metrics: Metrics,
        access: Access,
        loopback: bool,
        pages: Collection[str],
        cors_origins: Sequence[str] = (),
    ) -> None:
        """`pages`: paths of the web pages' files, which ask for the key themselves and hold nothing of the model or the queue."""
        self.app, self.models, self.metrics, self.loopback = app, models, metrics, loopback
        self.limits: Limits = models.limits
        self.cors_origins = cors_origins
        self._access, self._pages = access, frozenset(pages)
        self.active_requests = 0
        """Number of accepted requests in progress."""
        self.held_bytes = 0
        """Bytes of their bodies."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send an error response, or pass the request with its complete body to the application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        self.active_requests += refusal is None
        with self.metrics.request(scope) as recorded:
            recording = recorded.record_status(send)
            try:
                if refusal is None:
                    await self._accept(scope, headers, receive, recording)
                else:
                    await self._discard_body(headers, receive)
                    await refusal(scope, receive, recording)
            except ClientDisconnected:
                recorded.status = "gone"
            except Exception as error:
                if not recorded.has_response:
                    await internal_error(error)(scope, receive, recording)
            finally:
                self.active_requests -= refusal is None

    def _refusal(self, scope: Scope, headers: dict[str, bytes]) -> Response | None:
        """Return the error response of a request that is not accepted; it closes the connection, as the body may be unread."""
        is_health = scope["path"] in HEALTH_PATHS
        if self._access.keys is None and not self._is_own_origin(headers, allow_no_host=is_health):
            return problem(403, "the Host or Origin header of this request names another server", headers=CLOSE)
        if is_health:
            return None
        if not self._is_page(scope) and (refusal := self._access.refusal(scope, headers)):
            return refusal
        return not_ready("the server is shutting down", headers=CLOSE) if self.models.draining else None

    def _is_page(self, scope: Scope) -> bool:
        return scope["path"] in self._pages and scope["method"] in ("GET", "HEAD")

    def _is_own_origin(self, headers: dict[str, bytes], *, allow_no_host: bool) -> bool:
        """True unless a browser sent this from a page of another site; `allow_no_host`: a missing Host header is allowed.

        Without a key, a page of another site could otherwise use the server through its visitor's browser: by a host name
        that points to 127.0.0.1 (DNS rebinding; the Host header shows it), or directly (the Origin header shows it, and
        `cors_origins` has those that may).
        """
        host = headers.get("host", b"").decode("latin-1")
        if not host and allow_no_host:
            return True
        try:
            if self.loopback and not is_loopback(urlsplit(f"//{host}").hostname or ""):
                return False
            origin = headers.get("origin", b"").decode("latin-1")
            return not origin or allows(self.cors_origins, origin) or urlsplit(origin).netloc == host
        except ValueError:  # not an address
            return False

    async def _accept(self, scope: Scope, headers: dict[str, bytes], receive: Receive, send: Send) -> None:
        body = _Body()
        try:
            try:
                async with asyncio.timeout(self.limits.body_timeout):
                    refusal = await self._read_body(body, headers, receive)
            except TimeoutError:
                await problem(
                    408,
                    f"the body did not arrive within {self.limits.body_timeout:g} s; send it faster or in smaller requests",
                    headers=CLOSE,
                )(scope, receive, send)
                return
            if refusal is None:
                await self._respond(scope, body.take(), receive, send)
                return
            if body.more:
                await self._discard_body(headers, receive)
            await refusal(scope, receive, send)
        finally:
            self.held_bytes -= body.size

    async def _discard_body(self, headers: dict[str, bytes], receive: Receive) -> None:
        """Read and discard the body of a refused request: a client that is disconnected while it sends reads no response.

        A client that waits for permission to send (`Expect`) gets the response at once.
        """
        if "expect" in headers or not headers.keys() & {"content-length", "transfer-encoding"}:
            return
        left, more = DISCARD_FACTOR * self.limits.max_body_bytes, True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.body_timeout):
                while more and left > 0:
                    async with asyncio.timeout(DISCARD_PAUSE):
                        part, more = await _next_part(receive)
                    left -= len(part)

    async def _read_body(self, body: _Body, headers: dict[str, bytes], receive: Receive) -> Response | None:
        """Read the complete body. Returns the error response when it is too large; a chunked body shows that only while read."""
        limit = self.limits.max_body_bytes
        length = headers.get("content-length", b"0")
        large = length.isdigit() and int(length) > limit
        while body.more and not large:
            part, body.more = await _next_part(receive)
            body.parts.append(part)
            body.size += len(part)
            self.held_bytes += len(part)
            large = body.size > limit
            if self.held_bytes > self.limits.max_held_bytes:
                retry = CLOSE | {"retry-after": str(DRAINING)}
                return problem(
                    429, "the bodies of all requests in progress are too large; try again later", headers=retry
                )
        if large:
            return problem(413, f"the body has more than {limit:,} bytes; send fewer texts at a time", headers=CLOSE)
        return None

    async def _respond(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Run the application until it is done or the client has disconnected."""
        is_sent = False

        async def replay() -> Message:
            """Send the body that was read to the application."""
            nonlocal is_sent
            if is_sent:
                return await receive()
            is_sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        response = asyncio.ensure_future(self.app(scope, replay, send))
        disconnect = asyncio.ensure_future(_wait_for_disconnect(receive))
        try:
            await asyncio.wait((response, disconnect), return_when=asyncio.FIRST_COMPLETED)
            if not response.done():
                raise ClientDisconnected
            await response
        finally:
            for task in (response, disconnect):
                task.cancel()
            await asyncio.gather(response, disconnect, return_exceptions=True)


async def _next_part(receive: Receive) -> tuple[bytes, bool]:
    """Receive the next part of a body, and whether more follow. Raises ClientDisconnected."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnected
    return message.get("body", b""), message.get("more_body", False)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
