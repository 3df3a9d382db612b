"""Metrics, thresholds, calibration and bootstrap on numpy arrays, without models. Names are imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flipkd.evaluate.calibration import Calibration, fit_calibration
    from flipkd.evaluate.combine import choose_score, fit_weights, weighted_sum
    from flipkd.evaluate.compare import holm, mean_interval, paired_bootstrap, paired_means
    from flipkd.evaluate.decisions import decide, review_rates, share_interval
    from flipkd.evaluate.metrics import expected_calibration_error, measure
    from flipkd.evaluate.ranking import query_metrics
    from flipkd.evaluate.targets import Target
    from flipkd.evaluate.thresholds import Threshold, best_threshold, threshold_for

__all__ = [
    "Calibration",
    "Target",
    "Threshold",
    "best_threshold",
    "choose_score",
    "decide",
    "expected_calibration_error",
    "fit_calibration",
    "fit_weights",
    "holm",
    "mean_interval",
    "measure",
    "paired_bootstrap",
    "paired_means",
    "query_metrics",
    "review_rates",
    "share_interval",
    "threshold_for",
    "weighted_sum",
]

_MODULES = {
    "Calibration": "calibration",
    "Target": "targets",
    "Threshold": "thresholds",
    "best_threshold": "thresholds",
    "choose_score": "combine",
    "decide": "decisions",
    "expected_calibration_error": "metrics",
    "fit_calibration": "calibration",
    "fit_weights": "combine",
    "holm": "compare",
    "mean_interval": "compare",
    "measure": "metrics",
    "paired_bootstrap": "compare",
    "paired_means": "compare",
    "query_metrics": "ranking",
    "review_rates": "decisions",
    "share_interval": "decisions",
    "threshold_for": "thresholds",
    "weighted_sum": "combine",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
