"""What the routes have in common: calls of a service, and the fields of a request that have no effect."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from fastapi import Request
from starlette.exceptions import HTTPException

from flipkd.errors import DataError
from flipkd.review.background import ReviewThread
from flipkd.review.sampling import ScoredPair
from flipkd.serve.chosen import Chosen, choose
from flipkd.serve.loaded import EncodedText, Match
from flipkd.serve.service import Service
from flipkd.serve.shapes import Choice, ForeignBody

logger = logging.getLogger(__name__)
MOST_LOGGED = 100  # different names of ignored fields, until the server ends
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}")  # of a field, so that it may be part of a header


class Answers(NamedTuple):
    """The scored pairs of one request; a callback in `app.state.on_answers` gets it and must return at once."""

    chosen: Chosen
    time: datetime
    pairs: Sequence[tuple[str, str]]
    matches: Sequence[Match]

    @property
    def ids(self) -> list[str]:
        """Id of each pair: that of the answer, and the position of the pair in the request."""
        return [self.chosen.pair_id(position) for position in range(len(self.pairs))]


OnAnswers = Callable[[Answers], None]


def service_of(request: Request, body: Choice) -> Service:
    """Return the service that answers a request, by the fields `model` and `user` of its body. Raises UnknownModel.

    The fields without effect in a body of another API are listed in the response.
    """
    if isinstance(body, ForeignBody):
        note_ignored(request, body)
    return choose(request, model=body.model, user=body.user).service


def note_ignored(request: Request, body: ForeignBody) -> None:
    """List the fields of a body that have no effect in the response header, and log each name once."""
    names = sorted({name if _PLAIN_NAME.fullmatch(name) else "(other)" for name in body.ignored})
    request.state.ignored_fields = ", ".join(names)
    logged: set[str] = request.app.state.logged_fields
    for name in names:
        if name not in logged and len(logged) < MOST_LOGGED:
            logged.add(name)
            logger.warning("field %s of a request to %s is ignored; this is logged once", name, request.url.path)


async def match_pairs(
    request: Request, pairs: list[tuple[str, str]], *, allow_truncation: bool = True, until: float | None = None
) -> list[Match]:
    """Score pairs by the service that `service_of` chose. Raises DataError for a text that was truncated and must not be."""
    chosen: Chosen = request.state.chosen
    service = chosen.service
    found = await service.match(pairs, until=service.deadline() if until is None else until)
    _check_truncation(service, found, allow_truncation=allow_truncation)
    answers = Answers(chosen, datetime.now(UTC), pairs, found)
    for on_answers in request.app.state.on_answers:
        on_answers(answers)
    review: ReviewThread | None = request.app.state.review
    if review is not None:
        clip = service.loaded.clip
        scored = [
            ScoredPair(clip(left)[0], clip(right)[0], row.score, row.probability, row.decision)
            for (left, right), row in zip(pairs, found, strict=True)
        ]
        await review.add(scored, matcher=chosen.version)
    return found


async def encode_texts(
    service: Service, texts: str | list[str], *, allow_truncation: bool = True
) -> list[EncodedText]:
    """Encode one or several texts. Raises DataError for a text that was truncated and must not be."""
    rows = [texts] if isinstance(texts, str) else texts
    if service.loaded.matcher.contract.reading == "joint":
        raise HTTPException(
            422,
            "this matcher encodes both texts of a pair together and has no vectors of single texts; train with reading=separate",
        )
    found = await service.encode(rows, until=service.deadline())
    _check_truncation(service, found, allow_truncation=allow_truncation)
    return found


def shortened(found: Sequence[EncodedText], dimensions: int) -> list[list[float]]:
    """Return the first `dimensions` numbers of each vector, at unit length again; 0: the vectors unchanged."""
    vectors = [row.vector for row in found]
    if not vectors or dimensions in (0, len(vectors[0])):
        return vectors
    if dimensions > len(vectors[0]):
        raise HTTPException(422, f"dimensions is {dimensions}; the vectors have {len(vectors[0])}")
    cut = np.array(vectors, np.float32)[:, :dimensions]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    rows: list[list[float]] = (cut / np.where(lengths > 0, lengths, 1)).tolist()
    return rows


def _check_truncation(service: Service, found: Sequence[Match | EncodedText], *, allow_truncation: bool) -> None:
    truncated = [index for index, row in enumerate(found) if row.truncated]
    if truncated and not allow_truncation:
        limit = service.loaded.matcher.contract.max_text_length
        raise DataError(f"item {truncated[0]} has a text of more than {limit} tokens, and truncate is false")
