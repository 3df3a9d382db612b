"""Several scores of one pair as one: a weighted sum whose weights validation fits, and the choice among them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipkd.evaluate.metrics import measure
from flipkd.evaluate.rows import checked_rows

COMBINED = "combined"
SYMMETRIC = "_symmetric"  # behind the name of a kind of score: its mean over both orders of a pair
PLUS = "+"  # between the names of systems whose scores are added up
CHOSEN_BY = "average_precision"  # on validation: a threshold's luck weighs less on it than on F1


def fit_weights(scores: Mapping[str, ArrayLike], labels: ArrayLike) -> dict[str, float]:
    """Weight of each score [N] in the log-odds of a match: logistic regression on standardised columns, lightly penalised.

    The intercept is left out: it moves no order, and calibration and threshold are fitted on the sum afterwards.
    Raises DataError with fewer than 2 rows of a class, NumbersError for scores that are not finite.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    columns = [checked_rows(column, labels, per_class=2) for column in scores.values()]
    fit = make_pipeline(StandardScaler(), LogisticRegression()).fit(
        np.column_stack([score for score, _ in columns]), columns[0][1]
    )
    weights = fit[-1].coef_[0] / fit[0].scale_
    return {name: float(weight) for name, weight in zip(scores, weights, strict=True)}


def weighted_sum(scores: Mapping[str, ArrayLike], weights: Mapping[str, float]) -> NDArray[np.float64]:
    """[N] float64: the sum of weight times score over the names in `weights`."""
    parts = [weight * np.asarray(scores[name], np.float64) for name, weight in weights.items()]
    return np.asarray(np.sum(parts, axis=0), np.float64)


def choose_score(scores: Mapping[str, ArrayLike], labels: ArrayLike) -> tuple[str, dict[str, float]]:
    """(name, weights) of the score with the best average precision: one of `scores` alone, or COMBINED.

    A tie goes to the first. With one score there is nothing to choose. Raises as `fit_weights`.
    """
    options = {name: {name: 1.0} for name in scores}
    if len(scores) > 1:
        options[COMBINED] = fit_weights(scores, labels)
    precision = {name: measure(weighted_sum(scores, weights), labels)[CHOSEN_BY] for name, weights in options.items()}
    best = max(precision, key=lambda name: precision[name])
    return best, options[best]
