"""Calibration of scores to P(match): one increasing sigmoid, fitted on validation data, stored as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipkd.errors import ConfigError, nearest, shorten
from flipkd.evaluate.rows import checked_rows, finite_column

METHODS = ["temperature", "sigmoid"]
AUTO = "auto"
FOLDS = 5
LEAST_SLOPE = 1e-4  # per standard deviation of the scores: almost flat, but the order of the probabilities is kept
FLAT = 1e-3  # between the lowest and the highest probability


@dataclass(frozen=True)
class Calibration:
    """P(match) = sigmoid(slope * score + intercept), slope > 0; JSON through `asdict` and `Calibration(**fields)`.

    method "temperature" has the intercept 0 (Guo et al., arXiv 1706.04599), "sigmoid" is Platt's (1999).
    Raises ConfigError for invalid fields.
    """

    method: str
    slope: float
    intercept: float

    def __post_init__(self) -> None:
        _check_method(self.method, METHODS)
        if not (math.isfinite(self.slope) and self.slope > 0 and math.isfinite(self.intercept)):
            raise ConfigError(
                f"calibration with slope {shorten(self.slope)} and intercept {shorten(self.intercept)}: "
                "both must be finite and the slope above 0"
            )
        if self.method == "temperature" and self.intercept != 0:
            raise ConfigError(
                f"calibration with method temperature needs intercept 0, got {self.intercept}; use method sigmoid"
            )

    @classmethod
    def identity(cls) -> Calibration:
        """Return the plain sigmoid of the score, used before a fit."""
        return cls("temperature", 1.0, 0.0)

    @classmethod
    def of(cls, fields: Mapping[str, Any] | None) -> Calibration:
        """Return the calibration with the fields of a score contract; the identity for a contract without one."""
        return cls(**fields) if fields else cls.identity()

    def is_flat(self, scores: ArrayLike) -> bool:
        """Return whether all these scores have about the same probability."""
        return bool(np.ptp(self.apply(scores)) < FLAT)

    def apply(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Compute probabilities in [0, 1], float64 [N], of scores [N]; they never decrease with the score.

        Raises NumbersError for scores that are not finite.
        """
        from scipy.special import expit

        score = finite_column(scores, what="scores")
        with np.errstate(over="ignore"):  # an infinite product gives exactly 0 or 1
            logit = self.slope * score + self.intercept
        return np.asarray(expit(logit), dtype=np.float64)


def fit_calibration(scores: ArrayLike, labels: ArrayLike, *, method: str = "temperature") -> Calibration:
    """Fit the calibration with the least log loss on validation scores [N] and labels [N].

    "temperature" maps score 0 to probability 0.5, which suits the difference of two logits; scores with another zero
    (cosines, a student biased to one answer) need "sigmoid". "auto": the method with the lower log loss on held-out
    folds, temperature if they are equal. Targets are Platt's (P + 1) / (P + 2) and 1 / (M + 2) for P positives and
    M negatives instead of 1 and 0 (for temperature this is our choice): for separable classes the best temperature would
    otherwise be 0. If the best slope is not above 0 (scores do not increase with the label, or have the wrong sign for
    temperature), the result is almost flat: 0.5, or the base rate.
    Raises DataError with fewer than 2 rows of a class, NumbersError for scores that are not finite.
    """
    _check_method(method, [*METHODS, AUTO])
    score, label = checked_rows(scores, labels, per_class=2)
    if method == AUTO:
        method = min(METHODS, key=lambda name: _held_out_loss(score, label, name))
    return _fitted(score, label, method)


def _held_out_loss(score: NDArray[np.float64], label: NDArray[np.int64], method: str) -> float:
    """Mean log loss on held-out rows: at most FOLDS stratified folds, equal in every call."""
    order = np.random.default_rng(0).permutation(len(label))
    order = order[np.argsort(label[order], kind="stable")]  # sorted by class, so that the folds are stratified
    folds = min(FOLDS, int(np.bincount(label).min()))
    fold = np.empty(len(label), np.int64)
    fold[order] = np.arange(len(label)) % folds
    total = 0.0
    for held_out in (fold == number for number in range(folds)):
        fitted = _fitted(score[~held_out], label[~held_out], method)
        logit = fitted.slope * score[held_out] + fitted.intercept
        total += float(np.sum(np.logaddexp(0, logit) - label[held_out] * logit))
    return total / len(label)


def _fitted(score: NDArray[np.float64], label: NDArray[np.int64], method: str) -> Calibration:
    positives = int(label.sum())
    target = np.where(label == 1, (positives + 1) / (positives + 2), 1 / (len(label) - positives + 2))
    shift = float(score.mean()) if method == "sigmoid" else 0.0
    spread = float(np.sqrt(np.mean((score - shift) ** 2)))
    scale = spread if spread > 1e-9 * abs(shift) else 1.0  # below that, equal scores differ by rounding only
    slope, intercept = _logistic_fit((score - shift) / scale, target, with_intercept=method == "sigmoid")
    if slope < LEAST_SLOPE:
        base_rate = float(target.mean())
        slope, intercept = LEAST_SLOPE, math.log(base_rate / (1 - base_rate)) if method == "sigmoid" else 0.0
    return Calibration(method, slope / scale, intercept - slope * shift / scale)


def _logistic_fit(
    score: NDArray[np.float64], target: NDArray[np.float64], *, with_intercept: bool
) -> tuple[float, float]:
    """Fit slope and intercept with the least log loss against soft targets.

    scikit-learn's CalibratedClassifierCV is not used: it needs 5 rows of each class, and its temperature has no soft
    targets, so on separable scores the slope grows until the loss underflows: ten rows give probabilities of 1 - 1e-15.
    """
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([score, score])[:, np.newaxis]
    # Each row twice: as a match with weight t, as a non-match with weight 1 - t.
    answers = np.repeat([1, 0], len(score))
    model = LogisticRegression(C=np.inf, fit_intercept=with_intercept, tol=1e-8, max_iter=1000)
    model.fit(rows, answers, sample_weight=np.concatenate([target, 1 - target]))
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _check_method(method: str, allowed: list[str]) -> None:
    if method not in allowed:
        raise ConfigError(f"unknown calibration method {shorten(method)}; {nearest(str(method), allowed)}")
