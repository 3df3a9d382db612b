"""Metrics, thresholds, calibration and bootstrap on numpy arrays, without models."""

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
