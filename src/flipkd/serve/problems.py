"""What a client is told when a request is not answered: one JSON shape for every cause, after RFC 9457.

`detail` says what was wrong and what is allowed. `error` repeats it and `error_type` is a word for programs, both as
text-embeddings-inference has them, so that its clients show them. A failure of ours shows an id and nothing of its cause.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from flipkd.errors import DataError, shorten
from flipkd.serve.queue import Overloaded
from flipkd.serve.service import NotReady

logger = logging.getLogger(__name__)
TYPES = {401: "unauthorized", 403: "forbidden", 408: "timeout", 429: "overloaded", 503: "unhealthy", 504: "timeout"}
MEDIA = "application/problem+json"
TEXTS = ("title", "detail", "error", "error_type")
SCHEMA = {
    "type": "object",
    "properties": {"status": {"type": "integer"}, "id": {"type": "string"}} | {n: {"type": "string"} for n in TEXTS},
    "required": ["status", *TEXTS],
}
LONGEST_NAME = 60  # characters of a member's name that a message repeats
DRAINING = 5  # seconds after which another server may have taken over


def documented_responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the answers with these codes."""
    content = {MEDIA: {"schema": SCHEMA}}
    return {code: {"description": HTTPStatus(code).phrase, "content": content} for code in codes}


def problem(status: int, detail: str, *, headers: dict[str, str] | None = None, number: str | None = None) -> Response:
    """The answer to a request that failed; `number` is where the log tells more."""
    kind = TYPES.get(status, "validation" if status < 500 else "backend")
    body = {
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "error": detail,
        "error_type": kind,
    }
    if number is not None:
        body["id"] = number
    return Response(json.dumps(body), status_code=status, headers=headers, media_type=MEDIA)


def not_ready(detail: str, *, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    """503: the model is loading or gone, or the server shuts down."""
    return problem(503, detail, headers={**headers, "retry-after": str(DRAINING)})


def add_handlers(app: FastAPI) -> None:
    """Every exception that a route may raise becomes a problem."""

    @app.exception_handler(HTTPException)
    def _(_request: Request, error: HTTPException) -> Response:
        detail = "no such path; /openapi.json has those there are" if error.status_code == 404 else str(error.detail)
        return problem(error.status_code, detail, headers=dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    def _(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(_part(part) for part in first["loc"] if part != "body")
        got = "" if isinstance(first.get("input"), dict) else f"; got {_shown(first['input'])}"
        said = first["msg"].removeprefix("Value error, ")
        return problem(422, f"{where or 'the body'}: {said}{got}")

    @app.exception_handler(DataError)
    def _(_request: Request, error: DataError) -> Response:
        return problem(422, str(error))

    @app.exception_handler(Overloaded)
    def _(_request: Request, error: Overloaded) -> Response:
        return problem(429, str(error), headers={"retry-after": str(error.retry_after)})

    @app.exception_handler(NotReady)
    def _(_request: Request, error: NotReady) -> Response:
        return not_ready(str(error))

    @app.exception_handler(TimeoutError)
    def _(_request: Request, _error: TimeoutError) -> Response:
        detail = "the model did not get to this request in time; send fewer pairs, or try again later"
        return problem(504, detail, headers={"retry-after": str(DRAINING)})

    @app.exception_handler(Exception)
    def _(_request: Request, error: Exception) -> Response:
        return internal_error(error)


def _part(part: int | str) -> str:
    """One step of the way to a value; a member's name is whatever the client made it."""
    plain = isinstance(part, int) or (part.isascii() and part.isprintable() and len(part) <= LONGEST_NAME)
    return str(part) if plain else shorten(part, LONGEST_NAME)


def _shown(value: object) -> str:
    """A value as a message repeats it; a list may be a million long, so its length must do."""
    return f"a list of {len(value)}" if isinstance(value, list) else shorten(value)


def internal_error(error: BaseException) -> Response:
    """500 for a failure that is not the client's; its cause goes to the log under an id."""
    number = uuid4().hex[:12]
    logger.error("request %s failed", number, exc_info=error)
    return problem(500, f"something failed here; the log has it under {number}", number=number)
