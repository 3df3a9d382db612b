"""Cascade: the teacher decides pairs of which it is confident, and the language model scores only the other pairs.

A pair decided by the teacher needs a score on the matcher's scale, because thresholds and rankings use one scale.
It is the score with the same calibrated probability: with P = sigmoid(a t + b) of the teacher's score t and
P = sigmoid(c s + d) of the matcher's score s, s = (a t + b - d) / c. It increases with t, so one threshold is enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipkd.errors import ConfigError
from flipkd.evaluate.calibration import Calibration, fit_calibration
from flipkd.evaluate.metrics import measure
from flipkd.evaluate.rows import checked_rows

MOST_BOUNDS = 512  # candidates on each side; of more pairs, their quantiles

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cascade:
    """Band of teacher scores low <= t < high whose pairs the language model scores; None: no bound on that side.

    Any other pair has the score slope * t + intercept. `asdict` gives JSON. Raises ConfigError for invalid fields.
    """

    low: float | None
    high: float | None
    slope: float
    intercept: float

    def __post_init__(self) -> None:
        finite = all(math.isfinite(v) for v in (self.low, self.high, self.slope, self.intercept) if v is not None)
        if not finite or self.slope <= 0:
            raise ConfigError(f"{self}: all numbers of a cascade must be finite, and the slope above 0")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ConfigError(f"{self}: low must not be above high")

    def read(self, teacher: ArrayLike) -> NDArray[np.bool_]:
        """Mask [N] of the pairs that the language model scores; true also for a teacher score of NaN."""
        score = np.asarray(teacher, np.float64)
        below = score < (-np.inf if self.low is None else self.low)
        above = score >= (np.inf if self.high is None else self.high)
        return np.asarray(~(below | above), np.bool_)

    def scores(self, teacher: ArrayLike) -> Floats:
        """Map teacher scores [N] to the matcher's scale, for pairs that the teacher decides."""
        return np.asarray(self.slope * np.asarray(teacher, np.float64) + self.intercept, np.float64)


@dataclass(frozen=True)
class CascadeFit:
    """Fitted band (None: the teacher decides no pair), with its share and F1 on the rows of the fit."""

    cascade: Cascade | None
    share: float
    """Share of the pairs that the teacher decides alone."""
    f1: float
    f1_all_read: float


def fit_cascade(
    teacher: ArrayLike,
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    threshold: float,
    calibration: Calibration,
    loss: float,
) -> CascadeFit:
    """Fit the band in which the teacher decides most pairs, with an F1 at most `loss` below that of no cascade.

    teacher, scores (the matcher's, without a cascade), labels: [N]. The criterion is F1, not accuracy: if matches are rare,
    a teacher that predicts no match at all loses hardly any accuracy. For equal shares, the band with the better F1 is
    chosen. Raises ConfigError for a loss outside [0, 1), DataError with fewer than 2 rows of a class, NumbersError for
    scores that are not finite.
    """
    check_loss(loss)
    t, label = checked_rows(teacher, labels, per_class=2)
    score, _ = checked_rows(scores, labels, per_class=2)
    own = fit_calibration(t, label, method="sigmoid")
    slope = own.slope / calibration.slope
    intercept = (own.intercept - calibration.intercept) / calibration.slope
    cut = (threshold - intercept) / slope  # the teacher's score that is mapped to the threshold
    all_read = measure(score, label, threshold=threshold)["f1"]
    order = np.argsort(t, kind="stable")
    t, label, matched = t[order], label[order], (score >= threshold)[order]
    below, above, f1 = _f1_of_bands(t, label, matched, cut)
    decided = below[:, np.newaxis] + (len(t) - above)[np.newaxis]
    allowed = f1 >= all_read - loss - 1e-12  # tolerance for rounding, so that no cascade is always allowed
    i, j = np.unravel_index(np.argmax(np.where(allowed, decided + f1 / 2, -1.0)), f1.shape)
    share = float(decided[i, j] / len(t))
    if share == 0:
        return CascadeFit(None, 0.0, all_read, all_read)
    low = None if below[i] == 0 else min(_gap(t, int(below[i])), cut)
    high = None if above[j] == len(t) else max(_gap(t, int(above[j])), cut)
    return CascadeFit(Cascade(low, high, slope, intercept), share, float(f1[i, j]), all_read)


def check_loss(loss: float) -> None:
    """Raise ConfigError for a loss of F1 outside [0, 1)."""
    if not 0 <= loss < 1:
        raise ConfigError(
            f"the allowed loss of F1 of a cascade must be in [0, 1), got {loss:g}; use for example 0.005"
        )


def _f1_of_bands(
    t: Floats, label: NDArray[np.int64], matched: NDArray[np.bool_], cut: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Numbers of sorted t below each lower bound [A] and each upper bound [B], and the F1 of each band [A, B]."""
    starts = np.flatnonzero(np.diff(t, prepend=-np.inf))  # rows with equal scores are on the same side of a bound
    middle = int(np.searchsorted(t, cut))  # from here on the teacher predicts a match
    below = _subsample(np.append(starts[starts < middle], middle))
    above = _subsample(np.append(starts[starts >= middle], len(t)))
    hits, called, true = (np.concatenate([[0], np.cumsum(x)]) for x in (matched & (label == 1), matched, label))
    n, positives = len(t), int(label.sum())
    hit = hits[above] - hits[below][:, np.newaxis] + (true[n] - true[above])
    predicted = called[above] - called[below][:, np.newaxis] + (n - above)
    return below, above, 2 * hit / (predicted + positives)


def _subsample(bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Select at most MOST_BOUNDS evenly spaced bounds, including the first and the last."""
    at = np.linspace(0, len(bounds) - 1, min(len(bounds), MOST_BOUNDS)).round().astype(np.int64)
    return np.asarray(bounds[at], np.int64)


def _gap(t: Floats, count: int) -> float:
    """Bound just above the first `count` sorted scores: the middle of the gap to the next score."""
    if count in (0, len(t)):
        return float(t[0] if count == 0 else np.nextafter(t[-1], np.inf))
    middle = float(t[count - 1] / 2 + t[count] / 2)
    return middle if t[count - 1] < middle <= t[count] else float(t[count])
