"""CORS: the origins of web pages that may use the server from a browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware

from flipkd.errors import UsageError
from flipkd.serve.chosen import EXPOSED

ANY = "*"
DEFAULT_PORTS = {"http": 80, "https": 443}  # a browser leaves them out of the Origin header


def check_origins(origins: Sequence[str]) -> None:
    """Raise UsageError for an origin that no browser would send, so that it could never match."""
    for origin in origins:
        if origin != ANY and not _is_origin(origin):
            raise UsageError(
                f"--cors_origins: {origin!r} is not an origin; write it as a browser sends it: scheme, host and a port other "
                "than the default, without a path, for example https://shop.example or http://localhost:3000; or * for every page"
            )


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # not an address
        return False
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    plain = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
    return bool(parts.scheme and host) and text == plain and port != DEFAULT_PORTS.get(parts.scheme, 0)


def allows(origins: Sequence[str], origin: str) -> bool:
    """True when a page of this origin may use the server."""
    return ANY in origins or origin in origins


def with_cors(app: Any, origins: Sequence[str]) -> Any:
    """Wrap the application: respond to preflight requests, and add the headers to every response, errors too.

    It must be outside of the check of the key, which browsers do not send with a preflight request. Cookies are never
    allowed: the key is a header that the page itself sets.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],  # PUT and DELETE: /index
        allow_headers=["*"],
        expose_headers=["Retry-After", "X-Ignored-Fields", *EXPOSED],
    )
