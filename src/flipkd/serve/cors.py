"""What browsers ask before a page of another site may use the server; with a key any page may, since it must have the key."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi.responses import Response

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ANY_PAGE = (b"access-control-allow-origin", b"*")
READABLE = (b"access-control-expose-headers", b"retry-after")
_NAMES = re.compile(r"[A-Za-z0-9_, -]{1,1000}")  # of headers, which are repeated in the answer


def is_preflight(scope: MutableMapping[str, Any], headers: dict[str, bytes]) -> bool:
    """Whether this is a browser's question before the request itself; browsers never send the key with it."""
    return scope["method"] == "OPTIONS" and headers.keys() >= {"origin", "access-control-request-method"}


def preflight_response(headers: dict[str, bytes]) -> Response:
    """Yes, for any page, any method there is and the headers asked for."""
    asked = headers.get("access-control-request-headers", b"").decode("latin-1")
    allowed = asked if _NAMES.fullmatch(asked) else "authorization, content-type"
    answer = {
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": allowed,
        "access-control-max-age": "600",
    }
    return Response(status_code=204, headers=answer)


def with_cors_headers(send: Send) -> Send:
    """`send` whose answers a page of another site may read."""

    async def marked(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), ANY_PAGE, READABLE]}
        await send(message)

    return marked
