"""Several scores of one pair as one: a weighted sum whose weights validation fits, and the choice among such sums."""

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
SYMMETRIC = "_symmetric"  # behind the name of a kind of score: its mean over both orders of a pair
PLUS = "+"  # between the names of systems whose scores are added up
CHOSEN_BY = "average_precision"  # on validation: a threshold's luck weighs less on it than on F1
TEACHER = "teacher"
OWN_SETS: tuple[Parts, ...] = (
    ("answer",),
    ("cosine",),
    ("answer", "cosine"),
)  # of the student; a tie goes to the first
FOLDS = 5
RESAMPLES, WIDTH = 1000, 2 * 1.96  # of a bootstrap; of its 95 % interval, in standard errors


@dataclass(frozen=True)
class Choice:
    """The sum that was chosen, by the names of its parts, and the average precision of every candidate."""

    parts: Parts
    weights: dict[str, float]
    precision: dict[Parts, float]

    def best(self, *, with_teacher: bool) -> Parts | None:
        """The best candidate that holds a score of the student, with the teacher's beside it or without; None: no such."""
        fits = [parts for parts in self.precision if (TEACHER in parts) is with_teacher and parts != (TEACHER,)]
        return max(fits, key=lambda parts: self.precision[parts], default=None)


def choose_score(
    scores: Mapping[str, ArrayLike], labels: ArrayLike, *, must_have: Iterable[str] = (), folds: int = FOLDS
) -> Choice:
    """Which of the `scores` decide, alone or summed, by average precision on these labelled rows.

    scores: name -> [N], of `answer` and `cosine` of the student and `teacher`. Candidates: answer, cosine, both, and with
    the teacher's score also answer + teacher and all three; the teacher alone is measured but never chosen. One score is
    measured as it is. A sum is measured on rows that its weights were not fitted on (`folds`, always the same), or more
    parts would win by fitting these very rows; the weights that are returned are fitted on all of them. The teacher's
    score is taken only where the gain exceeds its standard error: a useless one gains by chance on a quarter of all
    samples, and is then taken on 3 of 40 with 120 rows and on 1 of 52 with 400. `must_have`: names that the chosen sum
    must hold. With fewer than 3 rows of a class no sum can be measured, and one counts as 0.
    Raises ConfigError when no candidate holds what it must, and as `fit_weights`.
    """
    wanted = set(must_have)
    measured = {parts: _as_measured(scores, labels, parts, folds=folds) for parts in _candidates(scores)}
    precision = {
        parts: 0.0 if found is None else measure(found, labels)[CHOSEN_BY] for parts, found in measured.items()
    }
    allowed = [parts for parts in precision if wanted <= set(parts) and parts != (TEACHER,)]
    if not allowed:
        raise ConfigError(f"no score can hold {sorted(wanted)}; there are {sorted(scores)}")
    best = max(allowed, key=lambda parts: precision[parts])
    own = max((parts for parts in allowed if TEACHER not in parts), key=lambda parts: precision[parts], default=None)
    if TEACHER in best and own is not None and not _clearly_better(measured[best], measured[own], labels):
        best = own
    weights = {best[0]: 1.0} if len(best) == 1 else fit_weights({name: scores[name] for name in best}, labels)
    return Choice(best, weights, precision)


def _candidates(scores: Mapping[str, ArrayLike]) -> list[Parts]:
    own: list[Parts] = [parts for parts in OWN_SETS if set(parts) <= scores.keys()]
    if TEACHER not in scores:
        return own
    # Two cosines without the answer would hardly be the language model's opinion.
    beside = [parts for parts in own if "answer" in parts] or own
    return [*own, (TEACHER,), *((*parts, TEACHER) for parts in beside)]


def _as_measured(
    scores: Mapping[str, ArrayLike], labels: ArrayLike, parts: Sequence[str], *, folds: int
) -> ArrayLike | None:
    """The scores [N] that a candidate is measured by; None where it cannot be."""
    if len(parts) == 1:
        return scores[parts[0]]
    return held_out_sums({name: scores[name] for name in parts}, labels, folds=folds)


def _clearly_better(scores: ArrayLike | None, others: ArrayLike | None, labels: ArrayLike) -> bool:
    """Whether average precision is ahead by more than one standard error of the difference, by a paired bootstrap."""
    if scores is None or others is None:
        return False
    found = paired_bootstrap(scores, others, labels, metric=CHOSEN_BY, resamples=RESAMPLES)
    return found["difference"] > (found["high"] - found["low"]) / WIDTH


def held_out_sums(
    scores: Mapping[str, ArrayLike], labels: ArrayLike, *, folds: int = FOLDS
) -> NDArray[np.float64] | None:
    """[N] log-odds of a match, each row's by weights fitted on the other folds; None with fewer than 3 rows of a class.

    The intercept is part of it: it is what makes sums of different weights comparable. The folds have each class in equal
    shares and are always the same for the same labels. Raises as `fit_weights`.
    """
    from sklearn.model_selection import StratifiedKFold

    columns, label = _columns(scores, labels)
    smallest = int(min(label.sum(), len(label) - label.sum()))
    if smallest < 3:
        return None
    held_out = np.empty(len(label), np.float64)
    cut = StratifiedKFold(min(folds, smallest), shuffle=True, random_state=0)
    for fitted, rest in cut.split(columns, label):
        held_out[rest] = _fitted(columns[fitted], label[fitted]).decision_function(columns[rest])
    return held_out


def fit_weights(scores: Mapping[str, ArrayLike], labels: ArrayLike) -> dict[str, float]:
    """Weight of each score [N] in the log-odds of a match: logistic regression on standardised columns, lightly penalised.

    The intercept is left out: it moves no order, and calibration and threshold are fitted on the sum afterwards.
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
    """[N] float64: the sum of weight times score over the names in `weights`."""
    parts = [weight * np.asarray(scores[name], np.float64) for name, weight in weights.items()]
    return np.asarray(np.sum(parts, axis=0), np.float64)
