"""Strict JSON request bodies: invalid JSON, duplicate names and other media types are errors with their own status codes.

The values of a body are counted before it is parsed, and its items before they are validated. Otherwise 2 MB of empty
lists would take seconds, and a million validation errors gigabytes.
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

from flipkd.serve.chosen import answer_headers, released

# Any route may return each of these: they also come from the request guard and the queue.
CODES = (400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504)
IGNORED_FIELDS = "x-ignored-fields"
MEMBERS = 64  # of one body; every format has fewer
VALUES_PER_ITEM = 64  # numbers, texts, lists and so on of one item: a document may have fields that are ignored
# An unterminated text is matched to the end of the body; otherwise each quote in it would start a new match.
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


class StrictRequest(Request):
    """Request whose body must be JSON in UTF-8."""

    async def json(self) -> Any:
        """Parse the body; NaN, Infinity and duplicate names are errors."""
        most = self.app.state.models.limits.max_items
        body = await self.body()
        _check_values(body, most=most * VALUES_PER_ITEM)
        value = _parsed(body)
        if isinstance(value, dict):
            if len(value) > MEMBERS:
                raise HTTPException(422, f"the body has {len(value)} fields; at most {MEMBERS} are allowed")
            check_count(max((len(items) for items in value.values() if isinstance(items, list)), default=0), most=most)
        return value


class StrictRoute(APIRoute):
    """Route whose requests are StrictRequests."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler; FastAPI calls this once per route."""
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            """Check the headers, let FastAPI handle the request with strict parsing, and list the ignored fields."""
            media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if request.method in ("POST", "PUT", "DELETE") and media != "application/json":
                raise HTTPException(415, "the body must be JSON: Content-Type: application/json")
            if request.headers.get("content-encoding", "identity").lower() != "identity":
                raise HTTPException(415, "the body must not be compressed")
            with released(request):
                response = await inner(StrictRequest(request.scope, request.receive))
                response.headers.update(answer_headers(request))
            if ignored := getattr(request.state, "ignored_fields", ""):
                response.headers[IGNORED_FIELDS] = ignored
            return response

        return handler


def check_count(count: int, *, most: int) -> None:
    """Raise 422 for more items than one request may have."""
    if count > most:
        raise HTTPException(422, f"{count} items in one request; at most {most} are allowed, send them in parts")


def _check_values(body: bytes, *, most: int) -> None:
    # With more texts than that the count is too high anyway, so not all of them need to be removed.
    if _separators(body) > most and _separators(_TEXT.sub(b"", body, count=2 * most)) > most:
        raise HTTPException(422, f"the body has more than {most:,} values; send fewer items at a time")


def _separators(body: bytes) -> int:
    """Estimate the number of values in JSON without its texts."""
    return sum(map(body.count, (b",", b"[", b"{")))


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_unique_members, parse_constant=_refuse_constant)
    except RecursionError:
        raise HTTPException(400, "the body is nested too deeply") from None
    except ValueError as error:
        # Python's own message about digits names a Python function.
        reason = "a number has too many digits" if "set_int_max_str_digits" in str(error) else str(error)
        raise HTTPException(400, f"the body is not valid JSON: {reason}") from None


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a duplicate name")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
