"""Where a score becomes a decision: score >= threshold is a match, everywhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipkd.errors import ConfigError, DataError, nearest, shorten
from flipkd.evaluate.rows import checked_rows

METRICS = ["f1", "accuracy"]


@dataclass(frozen=True)
class Threshold:
    """A fitted cut: score >= value is a match; `reached` is the metric on the n rows that it was fitted on.

    Compare in float64: numpy compares a float32 score with a Python float in float32, which can move the cut.
    """

    value: float
    metric: str
    n: int
    positives: int
    reached: float


def best_threshold(scores: ArrayLike, labels: ArrayLike, *, metric: str = "f1") -> Threshold:
    """The threshold with the highest F1 or accuracy among all that decide these rows differently; ties: the highest.

    scores, labels: [N]; metric: "f1" or "accuracy". Fit it on validation data, for on the rows it was fitted on it
    flatters. Raises DataError with fewer than 2 rows of a class, NumbersError for scores that are not finite.
    """
    if metric not in METRICS:
        raise ConfigError(f"no threshold can be fitted for metric {shorten(metric)}; {nearest(str(metric), METRICS)}")
    score, label = checked_rows(scores, labels, per_class=2)
    cuts, predicted, hits = _sweep(score, label)
    n, positives = len(label), int(label.sum())
    reached = 2 * hits / (predicted + positives) if metric == "f1" else (n - predicted - positives + 2 * hits) / n
    best = int(np.argmax(reached))  # the first of equals: cuts fall, so the highest threshold
    return Threshold(_between(cuts, best), metric, n, positives, float(reached[best]))


def threshold_for(
    scores: ArrayLike, labels: ArrayLike, *, precision: float | None = None, recall: float | None = None
) -> Threshold:
    """The lowest threshold whose precision on these rows is at least `precision`, so the one that finds most matches;
    or the highest whose recall is at least `recall`, so the one with the fewest false ones.

    scores, labels: [N]; give one of the two, in (0, 1]. Raises ConfigError for any other number, DataError with fewer
    than 2 rows of a class or when no threshold reaches the precision (the message says what can be reached).
    """
    given = {name: value for name, value in (("precision", precision), ("recall", recall)) if value is not None}
    if len(given) != 1:
        raise ConfigError(f"a threshold is for a precision or for a recall, got {shorten(given)}; give one of them")
    [(metric, wanted)] = given.items()
    if not 0 < wanted <= 1:
        raise ConfigError(f"{metric} {shorten(wanted)} is not in (0, 1]")
    score, label = checked_rows(scores, labels, per_class=2)
    cuts, predicted, hits = _sweep(score, label)
    n, positives = len(label), int(label.sum())
    # nothing predicted counts as precision 0, so the empty cut is never chosen
    reached = hits / np.maximum(predicted, 1) if metric == "precision" else hits / positives
    enough = np.flatnonzero(reached >= wanted)
    if not len(enough):
        top = int(np.argmax(reached))
        raise DataError(
            f"no threshold reaches precision {wanted:g} on these {n} rows; the best is {reached[top]:.4f} "
            f"at threshold {_between(cuts, top):g} ({hits[top]} of {predicted[top]} predicted matches are right); "
            "ask for less, or give more pairs"
        )
    chosen = int(enough[-1 if metric == "precision" else 0])
    return Threshold(_between(cuts, chosen), metric, n, positives, float(reached[chosen]))


def _sweep(
    score: NDArray[np.float64], label: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Distinct scores, falling [K]; rows that match, and that match rightly, when the first k of them do [K + 1]."""
    rising, inverse = np.unique(score, return_inverse=True)
    predicted = np.bincount(inverse, minlength=len(rising))[::-1].cumsum()
    hits = np.bincount(inverse[label == 1], minlength=len(rising))[::-1].cumsum()
    return rising[::-1], np.concatenate([[0], predicted]), np.concatenate([[0], hits])


def _between(cuts: NDArray[np.float64], k: int) -> float:
    """A finite threshold that just the first k of the falling distinct scores reach: halfway in the gap below."""
    if k == 0 or k == len(cuts):
        outermost = float(cuts[0] if k == 0 else cuts[-1])
        margin = 1e-6 * max(1.0, abs(outermost))
        largest = sys.float_info.max
        return min(outermost + margin, largest) if k == 0 else max(outermost - margin, -largest)
    upper, lower = float(cuts[k - 1]), float(cuts[k])
    middle = lower / 2 + upper / 2  # not (lower + upper) / 2, which can overflow
    return middle if lower < middle <= upper else upper  # neighbouring floats have no middle
