"""An experiment with two versions: success rates, their difference, and whether clients were shared out as intended."""

from __future__ import annotations

from collections.abc import Mapping
from math import hypot
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
    the intervals count clients, and the sequential test reads the first outcome of each client only. share: intended share of
    clients who get the new version.
    """
    first = np.sort(np.unique(client, return_index=True)[1])
    scores = treatment_scores(outcome[first].astype(np.float64), treated[first], share=share)
    found = sequential_test(scores, share=share, alpha=alpha)
    decided = None if found.decided_at is None else int(first[found.decided_at - 1]) + 1
    control, treatment = (_version(outcome[chosen], client[chosen]) for chosen in (~treated, treated))
    return {
        "control": control,
        "treatment": treatment,
        "difference": _difference(control, treatment),
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
    rate, worth = hits / count, effective_count(outcome, client)
    low, high = share_interval(rate * worth, worth)
    clients = len(np.unique(client))
    return {"outcomes": count, "clients": clients, "successes": hits, "rate": rate, "low": low, "high": high}


def effective_count(outcome: NDArray[np.int64], client: NDArray[np.int64]) -> float:
    """Return how many independent outcomes these [n] are worth: n divided by the design effect of clients, at most n.

    The design effect is the variance of the rate as a ratio of sums over clients (linearised; Deng, Knoblich and Lu, KDD 2018),
    divided by that of n independent outcomes. Where one client has all, or all outcomes are equal, it is not known: then each
    client counts once.
    """
    number = np.unique(client, return_inverse=True)[1]
    count, clients, rate = len(outcome), int(number.max()) + 1, float(outcome.mean())
    independent = rate * (1 - rate) * count
    if clients == 1 or independent == 0:
        return float(clients)
    excess = np.bincount(number, weights=outcome - rate)
    effect = float((excess**2).sum()) / independent * clients / (clients - 1) * (count - 1) / count
    return count / max(effect, 1.0)


def _difference(control: Mapping[str, Any], treatment: Mapping[str, Any]) -> dict[str, float]:
    """Difference of the success rates with the 95 % interval of one look at the end, made of the intervals of both rates.

    Newcombe's hybrid score interval (Statistics in Medicine 17, 1998, method 10): it has a width where no outcome, or every
    one, is a success.
    """
    value = treatment["rate"] - control["rate"]
    below = hypot(treatment["rate"] - treatment["low"], control["high"] - control["rate"])
    above = hypot(treatment["high"] - treatment["rate"], control["rate"] - control["low"])
    return {"value": value, "low": value - below, "high": value + above}
