"""Metrics of a ranking, without a threshold: average precision and the area under the ROC curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def average_precision(score: NDArray[np.float64], label: NDArray[np.int64]) -> float:
    """Sum over the distinct scores, highest first, of the gain in recall times the precision there.

    score, label (0 or 1, both present): [N]. Equal scores count as one step. The value is scikit-learn's
    `average_precision_score`, which the core of flipkd does not need.
    """
    hits, predicted = _steps(score, label)
    return float(np.diff(hits, prepend=0) @ (hits / predicted) / hits[-1])


def roc_auc(score: NDArray[np.float64], label: NDArray[np.int64]) -> float:
    """Share of (match, no match) row pairs in which the match has the higher score; equal scores count one half.

    score, label (0 or 1, both present): [N]. The value is scikit-learn's `roc_auc_score`.
    """
    hits, predicted = _steps(score, label)
    false = predicted - hits
    return float(np.trapezoid([0, *hits], [0, *false]) / (hits[-1] * false[-1]))


def _steps(score: NDArray[np.float64], label: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Matches [K] and rows [K] whose score is at least the k-th highest of the K distinct scores."""
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))  # the last row of each run of equal scores
    return label[order].cumsum()[last], last + 1
