"""What a request must pass before a route sees it: who asks, from where, how much, how fast; and whether they still listen."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from fastapi.responses import Response

from flipkd.serve.cors import is_preflight, preflight_response, with_cors_headers
from flipkd.serve.limits import Limits
from flipkd.serve.metrics import Metrics
from flipkd.serve.problems import DRAINING, internal_error, not_ready, problem
from flipkd.serve.service import Service

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/health", "/healthz", "/readyz")  # need no key, and answer while the server shuts down
PATIENCE = 1.0  # seconds for which a refused request may pause while it sends its body
MOST_DROPPED = 32  # times the largest body, of what a refused request may send before it is cut off
CLOSE = {"connection": "close"}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Gone(Exception):
    """The client closed the connection."""


@dataclass
class _Body:
    """What has come of a body so far."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    more: bool = True

    def whole(self) -> bytes:
        """All of it, in one piece that is not kept twice."""
        joined = b"".join(self.parts)
        self.parts.clear()
        return joined


class RequestGuard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: App, *, service: Service, metrics: Metrics, api_key: str | None, loopback: bool) -> None:
        self.app, self.service, self.metrics, self.loopback = app, service, metrics, loopback
        self.limits: Limits = service.limits
        self._key = None if api_key is None else api_key.encode()
        self.busy = 0
        """Requests that were let in and are not answered yet."""
        self.held = 0
        """Bytes of their bodies."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a problem, or hand the request and its whole body on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        self.busy += refusal is None
        with self.metrics.request(scope) as counted:
            counting = counted.listening(send if self._key is None else with_cors_headers(send))
            try:
                if self._key is not None and is_preflight(scope, headers):
                    await preflight_response(headers)(scope, receive, counting)
                elif refusal is None:
                    await self._let_in(scope, headers, receive, counting)
                else:
                    await self._dropped(headers, receive)
                    await refusal(scope, receive, counting)
            except Gone:
                counted.status = "gone"
            except Exception as error:
                if not counted.begun:
                    await internal_error(error)(scope, receive, counting)
            finally:
                self.busy -= refusal is None

    def _refusal(self, scope: Scope, headers: dict[str, bytes]) -> Response | None:
        """Why a request is not let in. Its body may not be read, so the connection ends with the answer."""
        health = scope["path"] in OPEN
        if self._key is None and not self._from_here(headers, nameless=health):
            return problem(403, "the Host or Origin of this request is not this server's", headers=CLOSE)
        if health:
            return None
        if self._key is not None and not self._has_key(headers):
            asked = CLOSE | {"www-authenticate": "Bearer"}
            return problem(401, "give the key: Authorization: Bearer KEY", headers=asked)
        return not_ready("the server is shutting down", headers=CLOSE) if self.service.draining else None

    def _has_key(self, headers: dict[str, bytes]) -> bool:
        scheme, _, key = headers.get("authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(key.strip(), self._key or b"")

    def _from_here(self, headers: dict[str, bytes], *, nameless: bool) -> bool:
        """Whether a browser sent this from a page of ours, if a browser sent it; `nameless` requests have no Host.

        Without a key a page of somebody else could otherwise use the server by way of its visitor's browser: by a name
        that it has pointed at 127.0.0.1, which Host gives away, or directly, which Origin does.
        """
        host = headers.get("host", b"").decode("latin-1")
        if not host and nameless:
            return True
        try:
            if self.loopback and not is_loopback(urlsplit(f"//{host}").hostname or ""):
                return False
            origin = headers.get("origin")
            return origin is None or urlsplit(origin.decode("latin-1")).netloc == host
        except ValueError:  # no address at all
            return False

    async def _let_in(self, scope: Scope, headers: dict[str, bytes], receive: Receive, send: Send) -> None:
        body = _Body()
        try:
            try:
                async with asyncio.timeout(self.limits.body_timeout):
                    refusal = await self._read(body, headers, receive)
            except TimeoutError:
                await problem(408, "the body came too slowly", headers=CLOSE)(scope, receive, send)
                return
            if refusal is None:
                await self._answer(scope, body.whole(), receive, send)
                return
            if body.more:
                await self._dropped(headers, receive)
            await refusal(scope, receive, send)
        finally:
            self.held -= body.size

    async def _dropped(self, headers: dict[str, bytes], receive: Receive) -> None:
        """Let what a refused client is sending go by: one that is cut off while it sends reads no answer.

        One that asks first whether to send (`Expect`) is told by the answer.
        """
        if "expect" in headers or not headers.keys() & {"content-length", "transfer-encoding"}:
            return
        left, more = MOST_DROPPED * self.limits.max_body_bytes, True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.body_timeout):
                while more and left > 0:
                    async with asyncio.timeout(PATIENCE):
                        part, more = await _part(receive)
                    left -= len(part)

    async def _read(self, body: _Body, headers: dict[str, bytes], receive: Receive) -> Response | None:
        """Read all of a body; or why not, which a chunked one says only as it comes."""
        most = self.limits.max_body_bytes
        length = headers.get("content-length", b"0")
        large = length.isdigit() and int(length) > most
        while body.more and not large:
            part, body.more = await _part(receive)
            body.parts.append(part)
            body.size += len(part)
            self.held += len(part)
            large = body.size > most
            if self.held > self.limits.max_held_bytes:
                wait = CLOSE | {"retry-after": str(DRAINING)}
                return problem(429, "the server holds as many bytes of requests as it may; try again", headers=wait)
        if large:
            return problem(413, f"the body has more than {most:,} bytes; send fewer texts at a time", headers=CLOSE)
        return None

    async def _answer(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Run the application until it is done or the client has gone."""
        given = False

        async def replay() -> MutableMapping[str, Any]:
            """The body once more, for the application."""
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        answer = asyncio.ensure_future(self.app(scope, replay, send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise Gone
            await answer
        finally:
            for task in (answer, gone):
                task.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)


async def _part(receive: Receive) -> tuple[bytes, bool]:
    """The next of a body, and whether there is more. Raises Gone."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    return message.get("body", b""), message.get("more_body", False)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
