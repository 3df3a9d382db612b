"""Correction for another base rate: future pairs with another share of matches than the labelled pairs.

If the scores of each class have the same distribution in both (p(score | label)), only the prior differs. Then the log-odds of
every probability change by logit(stated) - logit(fitted) (Saerens, Latinne and Decaestecker, 2002, eq. 2.4), and rates such as
precision are those of the labelled pairs with each class weighted by stated share / its share in them.
"""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipkd.evaluate.calibration import Calibration
from flipkd.evaluate.rows import checked_rows

LEVEL = 0.01
"""Level of the test of equal base rates."""


def shift_calibration(calibration: Calibration, *, fitted: float, stated: float) -> Calibration:
    """Correct a calibration fitted on pairs with the share of matches `fitted` for pairs with the share `stated`."""
    offset = log(stated / (1 - stated)) - log(fitted / (1 - fitted))
    return Calibration("sigmoid", calibration.slope, calibration.intercept + offset)


def class_weights(labels: NDArray[np.int64], base_rate: float | None) -> tuple[float, float]:
    """Return the weights of a match and of a non-match with which labels [N] have this share of matches; None: both 1."""
    if base_rate is None:
        return 1.0, 1.0
    share = float(labels.mean())
    return base_rate / share, (1 - base_rate) / (1 - share)


def rates_at(
    scores: ArrayLike, labels: ArrayLike, *, threshold: float, review_threshold: float | None, base_rate: float
) -> dict[str, float]:
    """Estimate, for pairs with this base rate, precision and recall of `match`, and the share of pairs that go to review."""
    score, label = checked_rows(scores, labels)
    weights = np.where(label == 1, *class_weights(label, base_rate))
    matched, total = score >= threshold, float(weights.sum())
    hits, found = float(weights[matched & (label == 1)].sum()), float(weights[matched].sum())
    below = threshold if review_threshold is None else review_threshold
    return {
        "precision": hits / found if found else 0.0,
        "recall": hits / float(weights[label == 1].sum()),
        "reviewed": float(weights[(score >= below) & ~matched].sum()) / total,
    }


def base_rate_p_value(matches: int, pairs: int, *, rate: float, of_pairs: int | None) -> float:
    """Compute the p-value of the test that these pairs have the base rate `rate`, which was counted in `of_pairs` pairs.

    None: the rate is exact, and the test is binomial. Else it is Fisher's exact test of both counts.
    """
    from scipy.stats import binomtest, fisher_exact

    if of_pairs is None:
        return float(binomtest(matches, pairs, rate).pvalue)
    before = round(rate * of_pairs)
    return float(fisher_exact([[matches, pairs - matches], [before, of_pairs - before]]).pvalue)
