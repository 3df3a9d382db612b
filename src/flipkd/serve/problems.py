"""Error responses: one JSON format for every error (RFC 9457), and on paths of /v1 that of OpenAI, which its SDK shows.

`detail`: what was wrong and what is allowed. `error` repeats it and `error_type` is a code for programs, both as in
text-embeddings-inference, whose clients show them. An internal error shows a log id and nothing of its cause.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from flipkd.errors import DataError, UsageError, shorten
from flipkd.schema_errors import expected
from flipkd.serve.models import UnknownModel
from flipkd.serve.queue import Overloaded
from flipkd.serve.reload import ReloadFailed, ReloadRunning
from flipkd.serve.service import NotReady

logger = logging.getLogger(__name__)
TYPES = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    408: "timeout",
    409: "conflict",
    424: "backend",
    429: "overloaded",
    503: "unhealthy",
    504: "timeout",
}
CLOSE = {"connection": "close"}
MEDIA = "application/problem+json"
TEXTS = ("title", "detail", "error", "error_type")
SCHEMA = {
    "type": "object",
    "properties": {"status": {"type": "integer"}, "id": {"type": "string"}} | {n: {"type": "string"} for n in TEXTS},
    "required": ["status", *TEXTS],
}
OPENAI_PATHS = "/v1/"
OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
OPENAI_SCHEMA = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {n: {"type": "string"} for n in ("message", "type", "code")}
            | {"param": {"type": ["string", "null"]}},
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
LONGEST_NAME = 60  # characters of a field name that a message repeats
DRAINING = 5  # seconds after which another server may have taken over


class _Problem(Response):
    """Error response, in the format of the path that was requested."""

    def __init__(self, body: dict[str, Any], openai: dict[str, Any], *, headers: Mapping[str, str] | None) -> None:
        super().__init__(json.dumps(body), body["status"], headers, MEDIA)
        self._openai = Response(json.dumps(openai), body["status"], headers, "application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        if scope["path"].startswith(OPENAI_PATHS):
            await self._openai(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def documented_responses(*codes: int, openai: bool = False) -> dict[int | str, dict[str, Any]]:
    """Build the OpenAPI description of the responses with these status codes; `openai`: of a path of /v1."""
    content = {"application/json": {"schema": OPENAI_SCHEMA}} if openai else {MEDIA: {"schema": SCHEMA}}
    return {code: {"description": HTTPStatus(code).phrase, "content": content} for code in codes}


def problem(
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    log_id: str | None = None,
    field: str | None = None,
) -> Response:
    """Build an error response; `log_id` is the id under which the log has the cause, `field` the field at fault."""
    kind = TYPES.get(status, "validation" if status < 500 else "backend")
    body = {
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "error": detail,
        "error_type": kind,
    }
    if log_id is not None:
        body["id"] = log_id
    openai_type = OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    openai = {"error": {"message": detail, "type": openai_type, "param": field, "code": kind}}
    return _Problem(body, openai, headers=headers)


def not_ready(detail: str, *, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    """Build a 503 response: the model is loading or failed, or the server shuts down."""
    return problem(503, detail, headers={**headers, "retry-after": str(DRAINING)})


def add_handlers(app: FastAPI) -> None:
    """Turn every exception that a route may raise into an error response."""

    def handler(answer: Callable[[Any], Response]) -> Callable[[Request, Any], Awaitable[Response]]:
        """Return `answer` as FastAPI calls it."""

        async def handle(_request: Request, error: Any) -> Response:
            return answer(error)

        return handle

    for kind, answer in ANSWERS.items():
        app.exception_handler(kind)(handler(answer))


def _http_problem(error: HTTPException) -> Response:
    headers = dict(error.headers or {})
    details = {404: "unknown path", 405: f"this path takes {headers.get('Allow', 'another method')}"}
    hint = "; /openapi.json lists the paths and their methods"
    of_router = error.detail == HTTPStatus(error.status_code).phrase  # a route has a sentence of its own
    detail = details[error.status_code] + hint if of_router and error.status_code in details else str(error.detail)
    return problem(error.status_code, detail, headers=headers)


def _invalid_body(error: RequestValidationError) -> Response:
    # An unknown name comes first: the typo `pair` explains why pairs is missing.
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    where = ".".join(_part(part) for part in first["loc"] if part != "body")
    got = "" if isinstance(first.get("input"), dict) else f" is {_shown(first['input'])}"
    extra = first["type"] == "extra_forbidden"
    message = ": no such field; /openapi.json lists the fields" if extra else f"{got}{expected([first])}"
    return problem(422, f"{where or 'the body'}{message}", field=where or None)


def _part(part: int | str) -> str:
    """Shorten one part of the path to a value; the client chooses the field names in it."""
    plain = isinstance(part, int) or (part.isascii() and part.isprintable() and len(part) <= LONGEST_NAME)
    return str(part) if plain else shorten(part, LONGEST_NAME)


def _shown(value: object) -> str:
    """Shorten a value for a message; of a list only the length is shown, since it may have a million items."""
    return f"a list of {len(value)}" if isinstance(value, list) else shorten(value)


def internal_error(error: BaseException) -> Response:
    """Build a 500 response and log the cause under an id."""
    log_id = uuid4().hex[:12]
    logger.error("request %s failed", log_id, exc_info=error)
    return problem(500, f"internal error, log id {log_id}", log_id=log_id)


TIMEOUT = "timeout: the model did not finish this request in time; send fewer pairs, or try again later"
RETRY = {"retry-after": str(DRAINING)}
ANSWERS: dict[type[Exception], Callable[[Any], Response]] = {
    HTTPException: _http_problem,
    RequestValidationError: _invalid_body,
    DataError: lambda error: problem(422, str(error)),
    UsageError: lambda error: problem(422, str(error)),
    UnknownModel: lambda error: problem(404, str(error), field="model"),
    Overloaded: lambda error: problem(429, str(error), headers={"retry-after": str(error.retry_after)}),
    ReloadRunning: lambda error: problem(409, str(error), headers=RETRY),
    ReloadFailed: lambda error: problem(424, str(error)),
    NotReady: lambda error: not_ready(str(error)),
    TimeoutError: lambda _error: problem(504, TIMEOUT, headers=RETRY),
    Exception: internal_error,
}
"""Error response of each kind of exception."""
