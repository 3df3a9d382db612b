"""Web page to label the pairs of a review queue, and the calls that it makes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI
from pydantic import Field
from starlette.exceptions import HTTPException

from flipkd.errors import ResourceError
from flipkd.inputs import check_text
from flipkd.review.annotation import Annotation
from flipkd.review.background import ReviewThread
from flipkd.serve.page import add_file
from flipkd.serve.shapes import Body
from flipkd.serve.strict_json import StrictRoute

logger = logging.getLogger(__name__)
FILES = {"/review": ("review.html", "text/html"), "/review.js": ("review.js", "text/javascript")}
NOT_STORED = "the review queue cannot be written; nothing was stored, try again later"
LABELS = {"match": 1, "no_match": 0, "skip": None}


class AnnotatorBody(Body):
    """Body of /review/next and /review/undo."""

    annotator: Annotated[str, Field(max_length=60)]


class VoteBody(AnnotatorBody):
    """Body of /review/vote."""

    key: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    label: Literal["match", "no_match", "skip"]


def add_review(app: FastAPI, review: ReviewThread) -> None:
    """Add the page and its calls; each returns the next pair {key, text1, text2} or null, and the progress."""
    annotation = Annotation(review.queue, votes=review.votes)
    router = APIRouter(prefix="/review", route_class=StrictRoute, include_in_schema=False)

    async def answer(annotator: str, work: Callable[[], Any]) -> dict[str, Any]:
        """Call `work`, which returns a pair, in the thread of the queue."""
        check_text(annotator, "annotator")
        try:
            return await review.call(lambda: {"pair": work(), "progress": annotation.progress(annotator)})
        except ResourceError as error:
            logger.error("review: %s", error)
            raise HTTPException(503, NOT_STORED) from None

    @router.post("/next")
    async def _(body: AnnotatorBody) -> dict[str, Any]:
        return await answer(body.annotator, lambda: annotation.next_pair(body.annotator))

    @router.post("/vote")
    async def _(body: VoteBody) -> dict[str, Any]:
        def vote() -> dict[str, Any] | None:
            """Store the label and lease the next pair."""
            if not annotation.vote(body.annotator, body.key, LABELS[body.label]):
                raise HTTPException(404, "the review queue has no pair of this key")
            return annotation.next_pair(body.annotator)

        return await answer(body.annotator, vote)

    @router.post("/undo")
    async def _(body: AnnotatorBody) -> dict[str, Any]:
        def undo() -> dict[str, Any] | None:
            """Delete the last label, or lease a pair when there is none."""
            return annotation.undo(body.annotator) or annotation.next_pair(body.annotator)

        return await answer(body.annotator, undo)

    app.include_router(router)
    for path, (name, media) in FILES.items():
        add_file(app, path, name, media)
