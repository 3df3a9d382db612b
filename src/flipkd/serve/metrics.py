"""Prometheus metrics of a server; the labels are route and status code only, so the number of series is bounded."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from flipkd.serve.service import Service

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class RequestStatus:
    """Status of one request in progress; "none" before the response starts."""

    status = "none"

    @property
    def has_response(self) -> bool:
        """True once the response has started."""
        return self.status != "none"

    def record_status(self, send: Send) -> Send:
        """Wrap `send`: store the status code of the response."""

        async def recording_send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.status = str(message["status"])
            await send(message)

        return recording_send


class ScoredPairs(Collector):
    """Counts the pairs that a service has scored by the model that decided them: the teacher's share of a cascade."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the counter; prometheus_client calls this."""
        text = "pairs scored, by the model that decided them"
        found = CounterMetricFamily("flipkd_scored_pairs", text, labels=["scored_by"])
        if self._service.state == "ready":
            for name, count in self._service.loaded.matcher.scored_by.items():
                found.add_metric([name], count)
        yield found


class Metrics:
    """Counters, times and queue lengths of one server."""

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

        self.registry.register(ScoredPairs(service))

    @contextmanager
    def request(self, scope: MutableMapping[str, Any]) -> Iterator[RequestStatus]:
        """Context manager that counts a request and measures its time, under its route."""
        status, start = RequestStatus(), time.monotonic()
        try:
            yield status
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "other")
            self._requests.labels(path, status.status).inc()
            self._seconds.labels(path).observe(time.monotonic() - start)

    def page(self) -> Response:
        """Return all metrics in the text format of Prometheus."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)
