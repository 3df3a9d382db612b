"""From scores to decisions: match, no match, and between them what a person should look at."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from flipkd.evaluate.metrics import measure
from flipkd.evaluate.rows import checked_rows

MATCH, REVIEW, NO_MATCH = "match", "review", "no_match"


def decide(scores: ArrayLike, *, threshold: float, review_threshold: float | None = None) -> list[str]:
    """`match` from `threshold` on, `review` from `review_threshold` on where there is one, else `no_match`; [N].

    Compared in float64: NumPy would round the threshold to float32, which moves it by up to half a step of the scores.
    """
    score = np.asarray(scores, np.float64)
    below = np.where(score >= (np.inf if review_threshold is None else review_threshold), REVIEW, NO_MATCH)
    return [str(decision) for decision in np.where(score >= threshold, MATCH, below)]


def one_decision(scores: ArrayLike, threshold: float) -> str:
    """A warning where every pair is called a match, or none is; else empty. scores: [N]."""
    called = np.asarray(scores, np.float64) >= threshold
    if not len(called) or called.any() != called.all():
        return ""
    return (
        f"{'every' if called.all() else 'no'} pair is called a match: all scores are on one side of the threshold "
        f"{threshold:.4g} (a score, no probability)"
    )


def review_rates(
    scores: ArrayLike, labels: ArrayLike, *, threshold: float, review_threshold: float
) -> dict[str, float]:
    """`review_threshold` as given; `reviewed`: share of the pairs that go to review; `missed`: share of the matches that
    are decided `no_match`.

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
    """What `measure` says, and where there is a review band what `review_rates` says of it."""
    metrics = measure(scores, labels, threshold=threshold, probabilities=probabilities)
    if review_threshold is None:
        return metrics
    return metrics | review_rates(scores, labels, threshold=threshold, review_threshold=review_threshold)


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (JASA 1927), of which `hits` of `n` rows were seen; of no rows it is (0, 1)."""
    if n == 0:
        return 0.0, 1.0
    share, z = hits / n, NormalDist().inv_cdf(0.975)
    centre = share + z**2 / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((centre + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    return (low if hits else 0.0), (high if hits < n else 1.0)  # exact at the ends, where rounding would miss them
