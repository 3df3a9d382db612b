"""Chosen: the version of a matcher that answers a request, from the choice to the end of the answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from fastapi import Request

from flipkd.serve.models import Models
from flipkd.serve.service import Service

CLIENT_HEADER, ANSWER_HEADER = "x-client-id", "x-answer-id"
MODEL_HEADER, VERSION_HEADER = "x-model", "x-model-version"
EXPOSED = ("X-Answer-Id", "X-Model", "X-Model-Version")  # to the scripts of web pages


@dataclass(frozen=True)
class Chosen:
    """A service, how it was chosen, and the id of the answer."""

    service: Service
    version: str
    alias: str | None
    client: str | None
    id: str

    def pair_id(self, position: int) -> str:
        """Return the id of one pair of the request."""
        return f"{self.id}-{position}"


def choose(request: Request, *, model: str | None = None, user: str | int | None = None) -> Chosen:
    """Choose the service that answers a request, once; it is held until `released` ends.

    The client of a share is that of the header X-Client-Id or else of the field `user`. Raises UnknownModel and NotReady.
    """
    models: Models = request.app.state.models
    client = request.headers.get(CLIENT_HEADER) or (str(user) if user is not None else None)
    service, alias = models.choose(model, client=client)
    chosen = Chosen(service, service.version, alias, client, uuid4().hex)
    service.users += 1
    request.state.chosen = chosen
    return chosen


@contextmanager
def released(request: Request) -> Iterator[None]:
    """Context manager after which a service that was replaced meanwhile need not wait for this request any more."""
    try:
        yield
    finally:
        if chosen := getattr(request.state, "chosen", None):
            chosen.service.users -= 1


def answer_headers(request: Request) -> dict[str, str]:
    """Return the headers that name the matcher, its version and the answer; empty when no matcher was used."""
    chosen: Chosen | None = getattr(request.state, "chosen", None)
    if chosen is None:
        return {}
    names = {MODEL_HEADER: chosen.service.name, VERSION_HEADER: chosen.version, ANSWER_HEADER: chosen.id}
    return {name: value.encode("ascii", "replace").decode() for name, value in names.items()}
