"""Prometheus metrics of a server; no label is text of a client, so the number of series is bounded."""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from starlette.types import Message, Scope, Send

from flipkd.serve.calls import Answers
from flipkd.serve.models import Models

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

        async def recording_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = str(message["status"])
            await send(message)

        return recording_send


class _ServiceMetrics(Collector):
    """Queues, state, version and deciders of each matcher, read when the metrics are: a reload changes the service of a name."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; prometheus_client calls this."""
        services = self._models.services
        ready = GaugeMetricFamily("flipkd_matcher_ready", "1 when the matcher answers", labels=["matcher"])
        version = GaugeMetricFamily("flipkd_matcher_version", "version that answers", labels=["matcher", "version"])
        text = "pairs scored since the matcher was loaded, by the model that decided them: the teacher's share of a cascade"
        scored = CounterMetricFamily("flipkd_scored_pairs", text, labels=["matcher", "scored_by"])
        for name, service in services.items():
            ready.add_metric([name], service.state == "ready")
            if service.state == "ready":
                version.add_metric([name, service.version], 1)
                for scored_by, count in service.loaded.matcher.scored_by.items():
                    scored.add_metric([name, scored_by], count)
        yield from (ready, version, scored)
        for kind in ("pairs", "texts", "searches", "entries"):
            waiting = GaugeMetricFamily(
                f"flipkd_{kind}_waiting", f"{kind} that wait for the model", labels=["matcher"]
            )
            passes = GaugeMetricFamily(f"flipkd_{kind}_passes", f"passes of the model over {kind}", labels=["matcher"])
            for name, service in services.items():
                waiting.add_metric([name], service.queues[kind].depth)
                passes.add_metric([name], service.queues[kind].passes)
            yield from (waiting, passes)


class Metrics:
    """Counters, times and queue lengths of one server."""

    def __init__(self, models: Models) -> None:
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
        self._decisions = Counter("flipkd_decisions", "pairs scored", ["matcher", "decision"], registry=self.registry)
        self.registry.register(_ServiceMetrics(models))

    def count_answers(self, answers: Answers) -> None:
        """Count the decisions of a request."""
        name = answers.chosen.service.name
        for decision, count in Counts(match.decision for match in answers.matches).items():
            self._decisions.labels(name, decision).inc(count)

    @contextmanager
    def request(self, scope: Scope) -> Iterator[RequestStatus]:
        """Context manager that counts a request and measures its time, under its route."""
        status, start = RequestStatus(), time.monotonic()
        try:
            yield status
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "other")
            self._requests.labels(path, status.status).inc()
            self._seconds.labels(path).observe(time.monotonic() - start)

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


class _Families(Collector):
    """Metrics that were collected before."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return them; prometheus_client calls this."""
        return self._families


def labelled_by_worker(texts: Mapping[str, str]) -> bytes:
    """Merge the metrics of several workers, {worker: text}, with the label `worker`."""
    families: dict[str, Metric] = {}
    for worker, text in texts.items():
        for family in text_string_to_metric_families(text):
            merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            merged.samples += [
                sample._replace(labels={**sample.labels, "worker": worker}) for sample in family.samples
            ]
    return generate_latest(_Families(families.values()))
