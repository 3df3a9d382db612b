"""Metrics of scores: F1, precision and recall at a threshold, ranking metrics, and errors of probabilities."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipkd.errors import ConfigError, DataError, NumbersError, shorten
from flipkd.evaluate.rows import checked_rows, finite_column
from flipkd.evaluate.thresholds import best_threshold


def measure(
    scores: ArrayLike, labels: ArrayLike, *, threshold: float | None = None, probabilities: ArrayLike | None = None
) -> dict[str, float]:
    """Compute all metrics of scored pairs as a flat dict for JSON; in float64, score >= threshold is a match.

    scores, labels, probabilities (of a match): [N]. Without a threshold, the one with the best F1 on these rows is
    used and returned: correct on validation data, too optimistic on reported rows. Precision and F1 are 0 if no pair is
    predicted as a match. With probabilities, brier_score, ece and log_loss are added. Raises DataError for labels other than
    0/1, unequal lengths, an empty or one-class input (AUC and AP are undefined there), NumbersError for NaN, infinity
    and probabilities outside [0, 1], ConfigError for a threshold that is not finite.

    Examples:
        >>> from flipkd import measure
        >>> metrics = measure([2.1, 0.3, -0.4, -1.0], [1, 0, 1, 0], threshold=0.0)
        >>> metrics["precision"], metrics["recall"], metrics["roc_auc"]
        (0.5, 0.5, 0.75)
    """
    score, label = checked_rows(scores, labels)
    if threshold is None:
        threshold = best_threshold(score, label).value
    elif not math.isfinite(threshold):
        raise ConfigError(f"threshold {threshold} is not finite")
    from sklearn.metrics import average_precision_score, roc_auc_score

    result = _decision_metrics(score >= threshold, label)
    result["threshold"] = float(threshold)
    result["average_precision"] = float(average_precision_score(label, score))
    result["roc_auc"] = float(roc_auc_score(label, score))
    if probabilities is not None:
        result |= _probability_metrics(probabilities, label)
    return result


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 10) -> float:
    """Compute the mean gap between P(match) and the share of matches in bins of equal width, weighted by rows; 0 is best.

    probabilities, labels: [N]. Bins are [k / bins, (k + 1) / bins), the last one closed. Naeini, Cooper, Hauskrecht
    (AAAI 2015), in its binary form on P(match). Raises as `measure` does, but one class is enough.
    """
    if bins < 1:
        raise ConfigError(f"bins is {bins}, must be at least 1")
    probability = _checked_probabilities(probabilities)
    probability, label = checked_rows(probability, labels, per_class=0)
    if not len(label):
        raise DataError("no rows: a calibration error needs at least one")
    return unchecked_calibration_error(probability, label, bins=bins)


def unchecked_calibration_error(
    probability: NDArray[np.float64], label: NDArray[np.int64], *, bins: int = 10
) -> float:
    """Compute `expected_calibration_error` of checked columns [N]; the checks take most of the time of resampling."""
    index = np.minimum((probability * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(index, weights=probability - label)
    return float(np.abs(gaps).sum() / len(label))


def _decision_metrics(predicted: NDArray[np.bool_], label: NDArray[np.int64]) -> dict[str, float]:
    n, positives, matches = len(label), int(label.sum()), int(predicted.sum())
    hits = int(label[predicted].sum())
    return {
        "n": n,
        "positives": positives,
        "f1": 2 * hits / (matches + positives),
        "precision": hits / matches if matches else 0.0,
        "recall": hits / positives,
        "accuracy": (n - matches - positives + 2 * hits) / n,
    }


def _probability_metrics(probabilities: ArrayLike, label: NDArray[np.int64]) -> dict[str, float]:
    from sklearn.metrics import brier_score_loss, log_loss

    probability = _checked_probabilities(probabilities)
    return {
        "ece": expected_calibration_error(probability, label),
        "brier_score": float(brier_score_loss(label, probability)),
        "log_loss": float(log_loss(label, probability)),  # clipped at 2e-16: a certain error costs 36, not infinity
    }


def _checked_probabilities(probabilities: ArrayLike) -> NDArray[np.float64]:
    probability = finite_column(probabilities, what="probabilities")
    outside = (probability < 0) | (probability > 1)
    if outside.any():
        row = int(np.argmax(outside))
        raise NumbersError(
            f"probabilities: {np.count_nonzero(outside)} of {len(outside)} are outside [0, 1], the first at index "
            f"{row} ({shorten(float(probability[row]))}); convert scores with Calibration.apply first"
        )
    return probability
