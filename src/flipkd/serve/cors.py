"""CORS headers: with an API key any web page may use the server, because it must send the key."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi.responses import Response

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ANY_PAGE = (b"access-control-allow-origin", b"*")
READABLE = (b"access-control-expose-headers", b"retry-after")
_NAMES = re.compile(r"[A-Za-z0-9_, -]{1,1000}")  # of headers, which the response repeats


def is_preflight(scope: MutableMapping[str, Any], headers: dict[str, bytes]) -> bool:
    """True for a CORS preflight request; browsers send it without the key."""
    return scope["method"] == "OPTIONS" and headers.keys() >= {"origin", "access-control-request-method"}


def preflight_response(headers: dict[str, bytes]) -> Response:
    """Allow any page, the methods GET and POST, and the requested headers."""
    requested = headers.get("access-control-request-headers", b"").decode("latin-1")
    allowed = requested if _NAMES.fullmatch(requested) else "authorization, content-type"
    response_headers = {
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": allowed,
        "access-control-max-age": "600",
    }
    return Response(status_code=204, headers=response_headers)


def with_cors_headers(send: Send) -> Send:
    """Wrap `send`: add the headers with which a page of another site may read the response."""

    async def send_with_headers(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), ANY_PAGE, READABLE]}
        await send(message)

    return send_with_headers
