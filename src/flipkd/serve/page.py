"""Web page for trying the matcher: its files, which need no key, and what it shows of the model, which does."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response

from flipkd.serve.models import Models
from flipkd.serve.service import Service

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
FILES = {
    "/": ("page.html", "text/html"),
    "/access.js": ("access.js", "text/javascript"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
ACCESS = "<!-- access -->\n"
EXAMPLES = 3
LONGEST_EXAMPLE = 120  # characters; a longer text makes no good button


def add_file(app: FastAPI, path: str, name: str, media: str) -> None:
    """Serve one file of this folder at one path. It is not part of the API, so /openapi.json leaves it out.

    A page has the form that asks for the key at ACCESS.
    """
    form = (HERE / "access.html").read_text(encoding="utf-8")
    content = (HERE / name).read_text(encoding="utf-8").replace(ACCESS, form)

    @app.api_route(path, methods=["GET", "HEAD"], include_in_schema=False)
    async def _() -> Response:
        headers = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}
        return Response(content, media_type=media, headers=headers)


def add_page(app: FastAPI, models: Models) -> None:
    """Add the routes of the page."""
    for path, (name, media) in FILES.items():
        add_file(app, path, name, media)

    @app.get("/page.json", include_in_schema=False)
    async def _() -> dict[str, Any]:
        service = models.choose(None, client=None)[0]
        return await service.index_threads.run(partial(shown, service), until=service.deadline())


def shown(service: Service) -> dict[str, Any]:
    """Collect what the page shows of the model and the index. Raises NotReady until the model is loaded.

    A bound is a pair of a score and the probability that the calibration gives to it; `review` is None without a review band.
    """
    matcher, index = service.loaded.matcher, service.loaded.index
    texts = [] if index is None else index.first_texts(10 * EXAMPLES)

    def bound(score: float | None) -> dict[str, float] | None:
        return None if score is None else {"score": score, "probability": float(matcher.calibration.apply([score])[0])}

    return {
        "model": service.name,
        "match": bound(matcher.threshold),
        "review": bound(matcher.review_threshold),
        "index_size": None if index is None else len(index),
        "examples": [text for text in texts if len(text) <= LONGEST_EXAMPLE][:EXAMPLES],
    }
