"""A test of two versions that may be looked at after every outcome: betting on scores of a randomised experiment.

Each outcome y in [0, 1] of a unit that got the treatment with the known chance q gives the score
x = (y - m) / q for the treatment and x = -(y - m) / (1 - q) for the control, where m is the mean of the earlier outcomes.
Given the past its mean is the difference of the two success rates, whatever m is and however the rates move together
(Howard, Ramdas, McAuliffe and Sekhon, Annals of Statistics 49, 2021, section 4.2). Against a difference d, a gambler bets on
x - d; while d is the true difference the capital is a martingale, so that the chance that it ever reaches 2 / alpha is at most
alpha / 2 (Ville 1939), for each of the two directions (Waudby-Smith and Ramdas, JRSS B 86, 2024, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST_BET = 0.5  # share of the capital that one score may cost
STEPS = 40  # bisections of a limit; 2 / 2^40 is far below rounding of the figures


@dataclass(frozen=True)
class Sequence:
    """What is known after n outcomes: interval of the difference, p value, and the first outcome at which it was decided."""

    low: float
    high: float
    p_value: float
    decided_at: int | None
    """Number of outcomes, from 1, after which the interval no longer held 0; None while it does."""


def treatment_scores(outcome: Floats, treated: NDArray[np.bool_], *, share: float) -> Floats:
    """Compute the score of each outcome [n] in their order; its mean is the difference of the success rates."""
    earlier = (np.cumsum(outcome) - outcome + 0.5) / (np.arange(len(outcome)) + 1)  # starts at 1/2
    return np.asarray((outcome - earlier) * np.where(treated, 1 / share, -1 / (1 - share)))


def sequential_test(scores: Floats, *, share: float, alpha: float) -> Sequence:
    """Return the confidence sequence of the mean of scores [n] after the last; all n are right at once with chance 1 - alpha."""
    if not len(scores):
        return Sequence(-1.0, 1.0, 1.0, None)
    bound = max(1 / share, 1 / (1 - share)) + 1  # of |score - difference|
    bets = _bets(scores, alpha=alpha, bound=bound)
    up, down = (np.maximum.accumulate(_capital(scores, bets, 0.0, sign)) for sign in (1, -1))
    best, limit = np.maximum(up, down), np.log(2 / alpha)
    decided = int(np.argmax(best >= limit)) + 1 if best[-1] >= limit else None
    return Sequence(
        _limit(scores, bets, limit=limit),
        -_limit(-scores, bets, limit=limit),
        float(min(1.0, 2 * np.exp(-best[-1]))),
        decided,
    )


def _bets(scores: Floats, *, alpha: float, bound: float) -> Floats:
    """Bets from the scores before each one: the size that is best for their variance, at most MOST_BET / bound."""
    count = np.arange(1, len(scores) + 1)
    mean = (np.cumsum(scores)) / (count + 1)
    squares = (scores - np.concatenate([[0.0], mean[:-1]])) ** 2
    variance = (1.0 + np.cumsum(squares)) / (count + 1)
    earlier = np.concatenate([[1.0], variance[:-1]])
    return np.asarray(
        np.minimum(np.sqrt(2 * np.log(2 / alpha) / (earlier * count * np.log(1 + count))), MOST_BET / bound)
    )


def _capital(scores: Floats, bets: Floats, difference: float, sign: int) -> Floats:
    """Logarithm of the capital after each score, of bets that the mean is above (sign 1) or below (-1) `difference`."""
    return np.cumsum(np.log1p(sign * bets * (scores - difference)))


def _limit(scores: Floats, bets: Floats, *, limit: float) -> float:
    """Largest difference, from -1 to 1, that the bets on a larger mean have ruled out together with all smaller ones."""
    low, high = -1.0, 1.0
    if _capital(scores, bets, low, 1).max() < limit:
        return -1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _capital(scores, bets, middle, 1).max() >= limit:
            low = middle
        else:
            high = middle
    return low
