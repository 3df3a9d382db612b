"""Decisions from scores: match, no match, and review (for a person) between them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from flipkd.evaluate.metrics import measure
from flipkd.evaluate.rows import checked_rows

MATCH, REVIEW, NO_MATCH = "match", "review", "no_match"
QUANTILE = 1.959963984540054  # 97.5 % of the standard normal distribution


class Judgement(NamedTuple):
    """Result of one pair; `decision` is `match`, `review` or `no_match`."""

    score: float
    probability: float
    decision: str


def decide(scores: ArrayLike, *, threshold: float, review_threshold: float | None = None) -> list[str]:
    """Decide pairs [N]: `match` from `threshold` up, `review` from `review_threshold` up if given, else `no_match`.

    The comparison is in float64: NumPy would round the threshold to float32, an error of up to half a float32 step.
    """
    score = np.asarray(scores, np.float64)
    below = np.where(score >= (np.inf if review_threshold is None else review_threshold), REVIEW, NO_MATCH)
    return [str(decision) for decision in np.where(score >= threshold, MATCH, below)]


def one_decision(scores: ArrayLike, threshold: float) -> str:
    """Return a warning if all pairs or none are matches, else "". scores: [N]."""
    matches = np.asarray(scores, np.float64) >= threshold
    if not len(matches) or matches.any() != matches.all():
        return ""
    return (
        f"{'every' if matches.all() else 'no'} pair is a match: all scores are on one side of the threshold "
        f"{threshold:.4g} (a score, not a probability)"
    )


def review_rates(
    scores: ArrayLike, labels: ArrayLike, *, threshold: float, review_threshold: float
) -> dict[str, float]:
    """Compute `reviewed`, the share of pairs with decision review, and `missed`, the share of matches with decision
    no_match; `review_threshold` is returned with them.

    scores, labels: [N]. Raises as `measure` does.
    """
    score, label = checked_rows(scores, labels)
    decided = np.array(decide(score, threshold=threshold, review_threshold=review_threshold))
    return {
        "review_threshold": review_threshold,
        "reviewed": float(np.mean(decided == REVIEW)),
        "missed": float(np.mean(decided[label == 1] == NO_MATCH)),
    }


def measure_decisions(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    threshold: float,
    review_threshold: float | None,
    probabilities: ArrayLike,
) -> dict[str, float]:
    """Compute the metrics of `measure`, and those of `review_rates` if there is a `review_threshold`."""
    metrics = measure(scores, labels, threshold=threshold, probabilities=probabilities)
    if review_threshold is None:
        return metrics
    return metrics | review_rates(scores, labels, threshold=threshold, review_threshold=review_threshold)


def share_interval(hits: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval (JASA 1927) of a share of `hits` in `n` rows; (0, 1) for no rows.

    Both may be fractions: the numbers of independent rows that rows with a dependence are worth.
    """
    if n == 0:
        return 0.0, 1.0
    share, squares = hits / n, QUANTILE**2 / n
    middle, half = share + squares / 2, (share * (1 - share) * squares + squares**2 / 4) ** 0.5
    return max((middle - half) / (1 + squares), 0.0), min((middle + half) / (1 + squares), 1.0)
