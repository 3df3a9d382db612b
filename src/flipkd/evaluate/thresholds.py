"""Thresholds of scores: score >= threshold is a match, everywhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipkd.errors import ConfigError, DataError, nearest, shorten
from flipkd.evaluate.prior_shift import class_weights
from flipkd.evaluate.rows import checked_rows

METRICS = ["f1", "accuracy"]
ROUNDING = 1e-12  # of a rate of weighted rows: a precision of exactly the target reaches it


@dataclass(frozen=True)
class Threshold:
    """Fitted threshold: score >= value is a match; `reached` is the metric on the n rows of the fit.

    Compare in float64: numpy compares a float32 score with a Python float in float32, which can change a decision.
    """

    value: float
    metric: str
    n: int
    positives: int
    reached: float


def best_threshold(
    scores: ArrayLike, labels: ArrayLike, *, metric: str = "f1", base_rate: float | None = None
) -> Threshold:
    """Fit the threshold with the best F1 or accuracy on these rows; of equal ones, the highest.

    scores, labels: [N]; metric: "f1" or "accuracy"; base_rate: share of matches among the pairs for which the metric is
    optimised (`prior_shift`); None: that of the rows. Use validation data: on the rows of the fit the metric is too
    optimistic. Raises DataError with fewer than 2 rows of a class, NumbersError for scores that are not finite.
    """
    if metric not in METRICS:
        raise ConfigError(f"unknown metric for a threshold: {shorten(metric)}; {nearest(str(metric), METRICS)}")
    score, label = checked_rows(scores, labels, per_class=2)
    cuts, predicted, hits = _sweep(score, label)
    n, positives = len(label), int(label.sum())
    match, other = class_weights(label, base_rate)
    true, false = match * hits, other * (predicted - hits)
    f1, accuracy = 2 * true / (true + false + match * positives), (other * (n - positives) - false + true) / n
    reached = f1 if metric == "f1" else accuracy
    best = int(np.argmax(reached))  # the first of equal values is the highest threshold, as cuts are descending
    return Threshold(_between(cuts, best), metric, n, positives, float(reached[best]))


def threshold_for(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    precision: float | None = None,
    recall: float | None = None,
    base_rate: float | None = None,
) -> Threshold:
    """Fit the lowest threshold with a precision of at least `precision` on these rows, which finds most matches; or the
    highest with a recall of at least `recall`, which has fewest false matches.

    scores, labels: [N]; give one of the two, in (0, 1]; base_rate: as in `best_threshold`. Raises ConfigError for any other
    number, DataError with fewer than 2 rows of a class or if no threshold reaches the precision (the message has the best
    possible one).
    """
    given = {name: value for name, value in (("precision", precision), ("recall", recall)) if value is not None}
    if len(given) != 1:
        raise ConfigError(f"a threshold needs either precision or recall, got {shorten(given)}; give one of them")
    [(metric, target)] = given.items()
    if not 0 < target <= 1:
        raise ConfigError(f"{metric} {shorten(target)} is not in (0, 1]")
    score, label = checked_rows(scores, labels, per_class=2)
    cuts, predicted, hits = _sweep(score, label)
    n, positives = len(label), int(label.sum())
    match, other = class_weights(label, base_rate)
    found = match * hits + other * (predicted - hits)
    found[0] = 1  # precision is 0 without predicted matches, so that cut is never chosen
    reached = match * hits / found if metric == "precision" else hits / positives
    enough = np.flatnonzero(reached >= target - ROUNDING)
    if not len(enough):
        top = int(np.argmax(reached))
        raise DataError(
            f"no threshold reaches precision {target:g} on these {n} rows{_rate_text(base_rate)}; the best is {reached[top]:.4f} "
            f"at threshold {_between(cuts, top):g} ({hits[top]} of {predicted[top]} predicted matches are correct); "
            "use a lower precision, or more pairs"
        )
    chosen = int(enough[-1 if metric == "precision" else 0])
    return Threshold(_between(cuts, chosen), metric, n, positives, float(reached[chosen]))


def _rate_text(base_rate: float | None) -> str:
    return "" if base_rate is None else f" at a base rate of {base_rate:g}"


def _sweep(
    score: NDArray[np.float64], label: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Distinct scores, descending [K]; numbers of predicted and of correct matches if the first k match [K + 1]."""
    ascending, inverse = np.unique(score, return_inverse=True)
    predicted = np.bincount(inverse, minlength=len(ascending))[::-1].cumsum()
    hits = np.bincount(inverse[label == 1], minlength=len(ascending))[::-1].cumsum()
    return ascending[::-1], np.concatenate([[0], predicted]), np.concatenate([[0], hits])


def _between(cuts: NDArray[np.float64], k: int) -> float:
    """Finite threshold reached by exactly the first k of the descending distinct scores: the middle of the next gap."""
    if k == 0 or k == len(cuts):
        outermost = float(cuts[0] if k == 0 else cuts[-1])
        margin = 1e-6 * max(1.0, abs(outermost))
        largest = sys.float_info.max
        return min(outermost + margin, largest) if k == 0 else max(outermost - margin, -largest)
    upper, lower = float(cuts[k - 1]), float(cuts[k])
    middle = lower / 2 + upper / 2  # not (lower + upper) / 2, which can overflow
    return middle if lower < middle <= upper else upper  # adjacent floats have no middle
