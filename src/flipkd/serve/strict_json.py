"""JSON bodies read to the letter: what is not JSON, says a thing twice or is something else is refused with its own code."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException


class StrictRequest(Request):
    """A request whose body must be JSON in UTF-8, by its header and in fact."""

    async def json(self) -> Any:
        """The body as Python values; NaN, Infinity and repeated names are no JSON here."""
        try:
            return json.loads(
                (await self.body()).decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant
            )
        except RecursionError:
            raise HTTPException(400, "the body is nested too deeply") from None
        except ValueError as error:
            raise HTTPException(400, f"the body is no JSON: {error}") from None


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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object names one of its members twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")
