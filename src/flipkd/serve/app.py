"""ASGI application: routes, health checks, metrics and a web page for trying the matcher, inside the request guard."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from flipkd import __version__
from flipkd.review.background import ReviewThread
from flipkd.serve import (
    admin_routes,
    index_routes,
    info_routes,
    page,
    review_routes,
    routes,
    tei_routes,
    vector_routes,
)
from flipkd.serve.access import Access
from flipkd.serve.admin import Admin, LocalAdmin
from flipkd.serve.calls import OnAnswers
from flipkd.serve.metrics import Metrics
from flipkd.serve.models import Models
from flipkd.serve.problems import add_handlers, documented_responses, not_ready
from flipkd.serve.request_guard import RequestGuard


def create_app(
    models: Models,
    *,
    access: Access,
    loopback: bool = True,
    cors_origins: Sequence[str] = (),
    on_answers: Sequence[OnAnswers] = (),
    review: ReviewThread | None = None,
) -> RequestGuard:
    """Create the ASGI application of `models`, which start and stop with it.

    `loopback`: the server listens on a loopback address, so requests without a key must name this machine as host.
    `cors_origins`: without a key, the other origins from which requests are accepted. `on_answers`: callbacks that get the
    scored pairs of each request. `review`: the queue of pairs that people should see, and the page /review.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await models.start()
        yield
        await models.stop()

    # FastAPI's interactive pages would load scripts from other sites; /openapi.json remains.
    app = FastAPI(title="flipkd", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    metrics = Metrics(models)
    app.state.models, app.state.review, app.state.admin = models, review, LocalAdmin(models, metrics)
    app.state.has_key, app.state.started, app.state.logged_fields = access.keys is not None, int(time.time()), set()
    app.state.on_answers = [metrics.count_answers, *on_answers]
    return RequestGuard(
        app,
        models=models,
        access=access,
        loopback=loopback,
        metrics=metrics,
        cors_origins=cors_origins,
        pages=_add_routes(app, models, review),
    )


def _add_routes(app: FastAPI, models: Models, review: ReviewThread | None) -> set[str]:
    """Add all routes and error responses; return the paths of the files of web pages."""
    add_handlers(app)
    for module in (routes, vector_routes, tei_routes, index_routes, info_routes, admin_routes):
        app.include_router(module.router)
    _add_health(app, models)
    page.add_page(app, models)
    if review is None:
        return {*page.FILES}
    review_routes.add_review(app, review)
    return {*page.FILES, *review_routes.FILES}


def _add_health(app: FastAPI, models: Models) -> None:
    started = time.monotonic()

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, Any]:
        """Report that the process runs."""
        return {"status": "ok", "uptime": round(time.monotonic() - started, 1)}

    @app.head("/readyz", include_in_schema=False)
    @app.head("/health", include_in_schema=False)
    @app.get("/readyz", tags=["health"], responses=documented_responses(403, 503))
    @app.get("/health", tags=["health"], responses=documented_responses(403, 503))
    async def readyz() -> Response:
        """Report whether requests are accepted: 200 or 503."""
        state = models.state
        return JSONResponse({"status": state}) if state == "ready" else not_ready(f"the server is {state}")

    @app.get(
        "/metrics", tags=["health"], response_class=PlainTextResponse, responses=documented_responses(401, 403, 503)
    )
    async def metrics(request: Request) -> Response:
        """Return the metrics in the text format of Prometheus."""
        admin: Admin = request.app.state.admin
        return Response(await admin.metrics(), media_type=CONTENT_TYPE_LATEST)
