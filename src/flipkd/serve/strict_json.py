"""JSON bodies read to the letter: what is not JSON, says a thing twice or is something else is refused with its own code.

What a body holds is counted before it is read, and its items before they are looked at. Otherwise 2 MB of empty lists
would cost seconds, and a million errors gigabytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

MEMBERS = 64  # of one body; no shape has as many
VALUES_PER_ITEM = 64  # numbers, texts, lists and so on of one item: a document may carry fields that nobody reads
# A text that does not end is matched to the end of the body, or each quote in it would be a new beginning.
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


class StrictRequest(Request):
    """A request whose body must be JSON in UTF-8, by its header and in fact."""

    async def json(self) -> Any:
        """The body as Python values; NaN, Infinity and repeated names are no JSON here."""
        most = self.app.state.service.limits.max_items
        body = await self.body()
        _check_values(body, most=most * VALUES_PER_ITEM)
        value = _parsed(body)
        if isinstance(value, dict):
            if len(value) > MEMBERS:
                raise HTTPException(422, f"the body has {len(value)} members; no shape has more than {MEMBERS}")
            check_count(max((len(items) for items in value.values() if isinstance(items, list)), default=0), most=most)
        return value


class StrictRoute(APIRoute):
    """A route whose requests are read so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI asks for it once per route."""
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            """Check what the headers say, then let FastAPI go on with a strict reader of the body."""
            media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if request.method == "POST" and media != "application/json":
                raise HTTPException(415, "the body must be JSON: Content-Type: application/json")
            if request.headers.get("content-encoding", "identity").lower() != "identity":
                raise HTTPException(415, "the body must not be compressed")
            return await inner(StrictRequest(request.scope, request.receive))

        return handler


def check_count(count: int, *, most: int) -> None:
    """Refuse, with 422, more items than a request may hold."""
    if count > most:
        raise HTTPException(422, f"{count} items in one request; at most {most} are allowed, send them in parts")


def _check_values(body: bytes, *, most: int) -> None:
    # More texts than that are too many values in any case, so they need not be taken out.
    if _separators(body) > most and _separators(_TEXT.sub(b"", body, count=2 * most)) > most:
        raise HTTPException(422, f"the body holds more than {most:,} values; send fewer items at a time")


def _separators(body: bytes) -> int:
    """About as many values as JSON without its texts holds."""
    return sum(map(body.count, (b",", b"[", b"{")))


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        raise HTTPException(400, "the body is nested too deeply") from None
    except ValueError as error:
        # Python's own message about digits names one of its functions.
        said = "a number has too many digits" if "set_int_max_str_digits" in str(error) else str(error)
        raise HTTPException(400, f"the body is no JSON: {said}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object names one of its members twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")
