"""Fidelity: how closely a student's decisions, probabilities and order follow those of its teacher."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipkd.evaluate.rows import finite_column

LEAST = 1e-6  # distance of a probability from 0 and 1


def fidelity(student: ArrayLike, teacher: ArrayLike, *, threshold: float = 0.5) -> dict[str, float]:
    """Compare the probabilities of a match [N] of a student and of its teacher; no labels are needed.

    `agreement`: share of equal decisions at `threshold` (label loyalty). `kl`: mean KL(teacher || student) in nats (Stanton et
    al., arXiv 2106.05945). `loyalty`: 1 minus the mean root of the Jensen-Shannon divergence in bits, 1 for equal ones (Xu
    et al., arXiv 2109.03228). `spearman`: of the two orders, NaN if one has a single value.
    """
    p, q = (finite_column(column, what="probabilities").clip(LEAST, 1 - LEAST) for column in (student, teacher))
    middle = (p + q) / 2
    divergence = (_kl(p, middle) + _kl(q, middle)) / (2 * math.log(2))
    return {
        "agreement": float(np.mean((p >= threshold) == (q >= threshold))),
        "kl": float(_kl(q, p).mean()),
        "loyalty": float(1 - np.sqrt(divergence.clip(0)).mean()),
        "spearman": _spearman(p, q),
    }


def _kl(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute KL(Bernoulli(p) || Bernoulli(q)) [N]."""
    return np.asarray(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)), np.float64)


def _spearman(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    from scipy.stats import rankdata

    ranks = [rankdata(column) for column in (p, q)]
    return float(np.corrcoef(*ranks)[0, 1]) if all(np.ptp(rank) for rank in ranks) else math.nan
