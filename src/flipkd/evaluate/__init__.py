"""HOW GOOD, HOW SURE: numpy in, numbers out; this room never sees a model. Names load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flipkd.evaluate.calibration import Calibration, fit_calibration
    from flipkd.evaluate.combine import choose_score, fit_weights, weighted_sum
    from flipkd.evaluate.compare import mean_interval, paired_bootstrap
    from flipkd.evaluate.metrics import expected_calibration_error, measure
    from flipkd.evaluate.thresholds import Threshold, best_threshold, threshold_for

__all__ = [
    "Calibration",
    "Threshold",
    "best_threshold",
    "choose_score",
    "expected_calibration_error",
    "fit_calibration",
    "fit_weights",
    "mean_interval",
    "measure",
    "paired_bootstrap",
    "threshold_for",
    "weighted_sum",
]

_FILES = {
    "Calibration": "calibration",
    "Threshold": "thresholds",
    "best_threshold": "thresholds",
    "choose_score": "combine",
    "expected_calibration_error": "metrics",
    "fit_calibration": "calibration",
    "fit_weights": "combine",
    "mean_interval": "compare",
    "measure": "metrics",
    "paired_bootstrap": "compare",
    "threshold_for": "thresholds",
    "weighted_sum": "combine",
}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
