"""ASGI application: routes, health checks, metrics and a web page for trying the matcher, inside the request guard."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from flipkd import __version__
from flipkd.serve import routes, tei_routes, vector_routes
from flipkd.serve.metrics import Metrics
from flipkd.serve.page import add_page
from flipkd.serve.problems import add_handlers, documented_responses, not_ready
from flipkd.serve.request_guard import RequestGuard
from flipkd.serve.review_routes import add_review
from flipkd.serve.service import Service


def create_app(
    service: Service, *, api_key: str | None = None, loopback: bool = True, cors_origins: Sequence[str] = ()
) -> RequestGuard:
    """Create the ASGI application of `service`; the service starts and stops with it.

    `loopback`: the server listens on a loopback address, so requests without a key must name this machine as host.
    `cors_origins`: without a key, the other origins from which requests are accepted.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    # FastAPI's interactive pages would load scripts from other sites; /openapi.json remains.
    app = FastAPI(title="flipkd", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    app.state.metrics = Metrics(service)
    app.state.logged_fields = set()
    app.state.started = int(time.time())
    add_handlers(app)
    for module in (routes, vector_routes, tei_routes):
        app.include_router(module.router)
    _add_health(app, service)
    add_page(app, service)
    if service.review is not None:
        add_review(app, service.review)
    return RequestGuard(
        app,
        service=service,
        api_key=api_key,
        loopback=loopback,
        metrics=app.state.metrics,
        cors_origins=cors_origins,
    )


def _add_health(app: FastAPI, service: Service) -> None:
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
        state = service.state
        return JSONResponse({"status": state}) if state == "ready" else not_ready(f"the server is {state}")

    @app.get(
        "/metrics", tags=["health"], response_class=PlainTextResponse, responses=documented_responses(401, 403, 503)
    )
    async def metrics(request: Request) -> Response:
        """Return the metrics in the text format of Prometheus."""
        collected: Metrics = request.app.state.metrics
        return collected.page()
