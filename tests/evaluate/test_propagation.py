"""Propagation: the fixpoint of the linear equation, alpha 0, pairs without neighbours, and a gap that neighbours fill."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.errors import ConfigError, NumbersError
from flipkd.evaluate.propagation import propagate


def dense(left, right, p, alpha):
    """Solve (I - alpha W) x = own p with the weights of plain loops."""
    n = len(p)
    pairs = {}
    for k, pair in enumerate(zip(left, right, strict=True)):
        if pair[0] != pair[1]:
            pairs.setdefault(frozenset(pair), k)
    weights = np.zeros((n, n))
    for i in range(n):
        for one, other in ((left[i], right[i]), (right[i], left[i])):
            for edge, k in pairs.items():
                if one in edge:
                    (match,) = edge - {one}
                    j = pairs.get(frozenset((match, other)))
                    if match != other and j is not None:
                        weights[i, j] += p[k]
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
    return np.linalg.solve(np.eye(n) - alpha * weights, (1 - alpha * weights.sum(axis=1)) * p)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 0.9])
def test_propagate_returns_the_fixpoint_of_its_equation(alpha):
    random = np.random.default_rng(0)
    left = [str(k) for k in random.integers(8, size=40)]
    right = [str(k) for k in random.integers(8, size=40)]
    p = random.random(40)
    found = propagate(left, right, p, alpha=alpha)
    assert found == pytest.approx(dense(left, right, p, alpha), abs=1e-6)
    assert ((found >= 0) & (found <= 1)).all()
    assert alpha or np.array_equal(found, p)


def test_propagate_raises_the_third_pair_of_a_triangle_and_keeps_a_single_pair():
    found = propagate(["a", "b", "a", "x"], ["b", "c", "c", "y"], [0.95, 0.95, 0.3, 0.4])
    assert found[2] > 0.5
    assert found[3] == 0.4


@pytest.mark.parametrize(("p", "alpha", "error"), [([0.5], 1.0, ConfigError), ([np.nan], 0.5, NumbersError)])
def test_propagate_refuses_what_it_cannot_use(p, alpha, error):
    with pytest.raises(error):
        propagate(["a"], ["b"], p, alpha=alpha)
