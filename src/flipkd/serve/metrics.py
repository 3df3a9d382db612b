"""Counts and times of a server, by prometheus_client; no label can take more values than there are routes and codes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from flipkd.serve.service import Service

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Counted:
    """One request while it is answered."""

    status = "none"

    @property
    def begun(self) -> bool:
        """Whether an answer is on its way."""
        return self.status != "none"

    def listening(self, send: Send) -> Send:
        """`send` that notes the status on its way."""

        async def listened(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.status = str(message["status"])
            await send(message)

        return listened


class Metrics:
    """The figures of one server."""

    def __init__(self, service: Service) -> None:
        self.registry = CollectorRegistry()
        labels = ["path", "status"]
        self._requests = Counter("flipkd_requests", "requests answered", labels, registry=self.registry)
        self._seconds = Histogram(
            "flipkd_request_seconds",
            "seconds from headers to answer",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        for name, queue in service.queues.items():
            depth = Gauge(f"flipkd_{name}_waiting", f"{name} that wait for the model", registry=self.registry)
            depth.set_function(partial(getattr, queue, "depth"))
            passes = Gauge(f"flipkd_{name}_passes", f"passes of the model over {name}", registry=self.registry)
            passes.set_function(partial(getattr, queue, "passes"))

    @contextmanager
    def request(self, scope: MutableMapping[str, Any]) -> Iterator[Counted]:
        """Count a request and time it, under the route that it found."""
        counted, began = Counted(), time.monotonic()
        try:
            yield counted
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "other")
            self._requests.labels(path, counted.status).inc()
            self._seconds.labels(path).observe(time.monotonic() - began)

    def page(self) -> Response:
        """All of it in Prometheus' text format."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)
