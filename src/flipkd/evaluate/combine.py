"""Combination of several scores into one: weighted sums with weights fitted on validation, and their selection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipkd.errors import ConfigError
from flipkd.evaluate.compare import paired_bootstrap
from flipkd.evaluate.metrics import measure
from flipkd.evaluate.rows import checked_rows

Parts = tuple[str, ...]

COMBINED, WITH_TEACHER = "combined", "with_teacher"
SYMMETRIC = "_symmetric"  # suffix of the name of a score: the mean over both orders of a pair
PLUS = "+"  # between the names of systems whose scores are summed
CHOSEN_BY = "average_precision"  # on validation; it depends less on a lucky threshold than F1
TEACHER = "teacher"
OWN_SETS: tuple[Parts, ...] = (("answer",), ("cosine",), ("answer", "cosine"))  # of the student; the first wins a tie
FOLDS = 5
CHANCE = 0.025
UNMEASURED = 0.0  # in the place of an average precision, which is above it
RESAMPLES, WIDTH = 1000, 2 * 1.96  # of the bootstrap; width of its 95 % interval in standard errors


@dataclass(frozen=True)
class Choice:
    """Selected sum (names and weights of its parts), and the average precision of every candidate, or UNMEASURED."""

    parts: Parts
    weights: dict[str, float]
    precision: dict[Parts, float]


def choose_score(scores: Mapping[str, ArrayLike], labels: ArrayLike, *, must_have: Iterable[str] = ()) -> Choice:
    """Choose the score, or sum of scores, with the best average precision on these labelled rows.

    scores: name -> [N], of `answer` and `cosine` of the student and `teacher`. Candidates: answer, cosine, both, and with
    the teacher's score also answer + teacher and all three; the teacher alone is measured but never chosen. A sum is measured
    on held-out folds (equal in every call), because a sum of more parts overfits the rows of its fit; the
    returned weights are fitted on all rows. A teacher's score that alone is no better than chance is used only if the gain
    exceeds its standard error: a useless score gains by chance in a quarter of all samples. A better one is used unless the
    best score without it is ahead by more than one standard error: a sum is less at the mercy of these rows.
    `must_have`: names that the chosen sum must contain. With fewer than 3 rows of a class a sum counts as 0.
    Raises ConfigError if no candidate contains `must_have`, and the errors of `fit_weights`.
    """
    required = set(must_have)
    measured = {parts: _measured_scores(scores, labels, parts) for parts in _candidates(scores)}
    precision = {
        parts: UNMEASURED if found is None else measure(found, labels)[CHOSEN_BY] for parts, found in measured.items()
    }
    allowed = [parts for parts in precision if required <= set(parts) and parts != (TEACHER,)]
    if not allowed:
        raise ConfigError(f"no combination contains {sorted(required)}; available scores: {sorted(scores)}")
    best = max(allowed, key=lambda parts: precision[parts])
    own = max((parts for parts in allowed if TEACHER not in parts), key=lambda parts: precision[parts], default=None)
    kept = max((parts for parts in allowed if TEACHER in parts), key=lambda parts: precision[parts], default=None)
    if own is not None and kept is not None:
        if not _better_than_chance(scores[TEACHER], labels):
            best = kept if best == kept and _clearly_better(measured[kept], measured[own], labels) else own
        elif measured[kept] is not None and not _clearly_better(measured[own], measured[kept], labels):
            best = kept
    weights = {best[0]: 1.0} if len(best) == 1 else fit_weights({name: scores[name] for name in best}, labels)
    return Choice(best, weights, precision)


def _candidates(scores: Mapping[str, ArrayLike]) -> list[Parts]:
    own: list[Parts] = [parts for parts in OWN_SETS if set(parts) <= scores.keys()]
    if TEACHER not in scores:
        return own
    # Two cosines without the answer would hardly use the language model.
    beside = [parts for parts in own if "answer" in parts] or own
    return [*own, (TEACHER,), *((*parts, TEACHER) for parts in beside)]


def _measured_scores(scores: Mapping[str, ArrayLike], labels: ArrayLike, parts: Sequence[str]) -> ArrayLike | None:
    """Scores [N] to measure a candidate; None if it cannot be measured."""
    if len(parts) == 1:
        return scores[parts[0]]
    return held_out_sums({name: scores[name] for name in parts}, labels)


def _clearly_better(scores: ArrayLike | None, others: ArrayLike | None, labels: ArrayLike) -> bool:
    """Whether average precision is better by more than one standard error, by a paired bootstrap."""
    if scores is None or others is None:
        return False
    found = paired_bootstrap(scores, others, labels, metric=CHOSEN_BY, resamples=RESAMPLES)
    return found["difference"] > (found["high"] - found["low"]) / WIDTH


def _better_than_chance(scores: ArrayLike, labels: ArrayLike) -> bool:
    """Whether matches score higher than other pairs, by a rank test at 2.5 %; noise often has an AP above the base rate."""
    from scipy.stats import mannwhitneyu

    score, label = checked_rows(scores, labels, per_class=1)
    return float(mannwhitneyu(score[label == 1], score[label == 0], alternative="greater").pvalue) < CHANCE


def held_out_sums(scores: Mapping[str, ArrayLike], labels: ArrayLike) -> NDArray[np.float64] | None:
    """Log-odds of a match [N] with weights fitted on the other folds; None with fewer than 3 rows of a class.

    They include the intercept, which makes sums with different weights comparable. The folds are stratified and depend only
    on the labels. Raises the errors of `fit_weights`.
    """
    from sklearn.model_selection import StratifiedKFold

    columns, label = _columns(scores, labels)
    smallest = int(min(label.sum(), len(label) - label.sum()))
    if smallest < 3:
        return None
    held_out = np.empty(len(label), np.float64)
    cut = StratifiedKFold(min(FOLDS, smallest), shuffle=True, random_state=0)
    for fitted, rest in cut.split(columns, label):
        held_out[rest] = _fitted(columns[fitted], label[fitted]).decision_function(columns[rest])
    return held_out


def fit_weights(scores: Mapping[str, ArrayLike], labels: ArrayLike) -> dict[str, float]:
    """Fit the weight of each score [N] in the log-odds of a match: regularised logistic regression on standardised scores.

    The intercept is omitted: it does not change the order, and calibration and threshold are fitted on the sum later.
    Raises DataError with fewer than 2 rows of a class, NumbersError for scores that are not finite.
    """
    fit = _fitted(*_columns(scores, labels))
    weights = fit[-1].coef_[0] / fit[0].scale_
    return {name: float(weight) for name, weight in zip(scores, weights, strict=True)}


def _columns(scores: Mapping[str, ArrayLike], labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rows = [checked_rows(column, labels, per_class=2) for column in scores.values()]
    return np.column_stack([score for score, _ in rows]), rows[0][1]


def _fitted(columns: NDArray[np.float64], label: NDArray[np.int64]) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression()).fit(columns, label)


def weighted_sum(scores: Mapping[str, ArrayLike], weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Compute the sum of weight times score over the names in `weights`, float64 [N]."""
    parts = [weight * np.asarray(scores[name], np.float64) for name, weight in weights.items()]
    return np.asarray(np.sum(parts, axis=0), np.float64)
