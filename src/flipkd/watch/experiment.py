"""An experiment with two versions: success rates, their difference, and whether clients were shared out as intended."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.evaluate.decisions import share_interval
from flipkd.watch.sequential import sequential_test, treatment_scores

LEAST_RATIO_P = 0.001  # below it the shares of the versions are not those intended


def analyse(
    outcome: NDArray[np.int64], treated: NDArray[np.bool_], client: NDArray[np.int64], *, share: float, alpha: float
) -> dict[str, Any]:
    """Compare two versions by outcomes [n] of 0 or 1 in the order in which they came.

    treated: outcomes of the new version. client: number of the client of each; one client's outcomes are not independent, so
    the interval counts clients, and the sequential test reads the first outcome of each client only. share: intended share of
    clients who get the new version.
    """
    first = np.sort(np.unique(client, return_index=True)[1])
    scores = treatment_scores(outcome[first].astype(np.float64), treated[first], share=share)
    found = sequential_test(scores, share=share, alpha=alpha)
    decided = None if found.decided_at is None else int(first[found.decided_at - 1]) + 1
    return {
        "control": _version(outcome[~treated], client[~treated]),
        "treatment": _version(outcome[treated], client[treated]),
        "difference": _difference(outcome, treated, client),
        "sequential": {
            "clients": len(first),
            "low": found.low,
            "high": found.high,
            "p_value": found.p_value,
            "decided_at_outcome": decided,
        },
    }


def sample_ratio(treated: int, total: int, *, share: float) -> dict[str, Any]:
    """Test by chi-square whether `treated` of `total` clients fit the intended share."""
    from scipy.stats import chisquare

    expected = [total * share, total * (1 - share)]
    p_value = float(chisquare([treated, total - treated], expected).pvalue)
    return {"share": treated / total, "intended": share, "p_value": p_value, "mismatch": p_value < LEAST_RATIO_P}


def _version(outcome: NDArray[np.int64], client: NDArray[np.int64]) -> dict[str, Any]:
    hits, count = int(outcome.sum()), len(outcome)
    low, high = share_interval(hits, count)
    clients = len(np.unique(client))
    return {"outcomes": count, "clients": clients, "successes": hits, "rate": hits / count, "low": low, "high": high}


def _difference(outcome: NDArray[np.int64], treated: NDArray[np.bool_], client: NDArray[np.int64]) -> dict[str, float]:
    """Difference of the success rates with the 95 % interval of one look at the end, whose variance is that of clients.

    The variance of a rate is that of a ratio of sums over clients (linearised; Deng, Knoblich and Lu, KDD 2018).
    """
    from scipy.stats import norm

    rates, variance = [], 0.0
    for chosen in (~treated, treated):
        value, number = outcome[chosen], np.unique(client[chosen], return_inverse=True)[1]
        rate, clients = value.mean(), number.max() + 1
        excess = np.bincount(number, weights=value - rate)
        rates.append(float(rate))
        variance += float((excess**2).sum()) / len(value) ** 2 * clients / max(clients - 1, 1)
    difference, half = rates[1] - rates[0], float(norm.ppf(0.975)) * variance**0.5
    return {"value": difference, "low": difference - half, "high": difference + half}
