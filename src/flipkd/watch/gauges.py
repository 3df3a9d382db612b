"""Gauges of the last window in Prometheus' text format, for the textfile collector of node_exporter."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

CHECK_GAUGES = {
    "alarm": "1 where the check differs from the reference",
    "effect": "size of the difference from the reference",
    "p_adjusted": "p value after Holm's correction",
}


def gauges(result: Mapping[str, Any]) -> bytes:
    """Format the result of flipkd watch."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry, window = CollectorRegistry(), result["windows"][-1]

    def gauge(name: str, about: str, value: float) -> None:
        Gauge(f"flipkd_watch_{name}", about, registry=registry).set(value)

    gauge("alarms", "number of alarms of all windows that are judged", len(result["alarms"]))
    gauge("rows", "rows of the last window", window["rows"])
    gauge("time_seconds", "time of the run in seconds since 1970", datetime.fromisoformat(result["time"]).timestamp())
    for name, about in CHECK_GAUGES.items():
        by_check = Gauge(f"flipkd_watch_{name}", about, ["check"], registry=registry)
        for check in window["checks"]:
            by_check.labels(check["name"]).set(float(check[name]))
    if quality := window["labels"]:
        gauge("ece", "expected calibration error on the labels of the last window", quality["ece"])
        gauge("brier_score", "Brier score on the labels of the last window", quality["brier_score"])
    found: bytes = generate_latest(registry)
    return found
