"""Fidelity: how closely a student's decisions, probabilities and order follow those of its teacher."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipkd.evaluate.rows import finite_column

LEAST = 1e-6  # distance of a probability from 0 and 1


def fidelity(student: ArrayLike, teacher: ArrayLike) -> dict[str, float]:
    """Compare the probabilities of a match [N] of a student and of its teacher; no labels are needed.

    `agreement`: share of equal decisions at 0.5 (label loyalty). `kl`: mean KL(teacher || student) in nats (Stanton et
    al., arXiv 2106.05945). `loyalty`: 1 minus the mean root of the Jensen-Shannon divergence in bits, 1 for equal ones (Xu
    et al., arXiv 2109.03228). `spearman`: of the two orders, NaN if one has a single value.
    """
    both = [finite_column(column, what="probabilities") for column in (student, teacher)]
    rho = rank_correlation(*both)  # before the clip, which makes sure probabilities equal
    p, q = (column.clip(LEAST, 1 - LEAST) for column in both)
    middle = (p + q) / 2
    divergence = (_kl(p, middle) + _kl(q, middle)) / (2 * math.log(2))
    return {
        "agreement": float(np.mean((p >= 0.5) == (q >= 0.5))),
        "kl": float(_kl(q, p).mean()),
        "loyalty": float(1 - np.sqrt(divergence.clip(0)).mean()),
        "spearman": math.nan if rho is None else rho,
    }


def rank_correlation(one: NDArray[Any], other: NDArray[Any]) -> float | None:
    """Compute Spearman's rho of two columns [N]; None if either has no two different values."""
    from scipy.stats import spearmanr

    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one, other).statistic)


def _kl(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute KL(Bernoulli(p) || Bernoulli(q)) [N]."""
    return np.asarray(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)), np.float64)
