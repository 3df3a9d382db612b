"""Similarity propagation: probabilities of pairs are averaged with those of the pairs of their matches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipkd.errors import ConfigError
from flipkd.evaluate.rows import finite_column

TOLERANCE, MOST_ROUNDS = 1e-9, 1000


def propagate(
    left: Sequence[str], right: Sequence[str], probabilities: ArrayLike, *, alpha: float = 0.5
) -> NDArray[np.float64]:
    """Compute propagated probabilities [N] of the pairs (left_i, right_i): if a and b match, (a, c) and (b, c) are alike.

    The pair (a, c) gets the share `alpha` of its probability from the pairs (b, c) of the list, weighted by P(a, b), and from
    (a, d) by P(c, d); where the weights have a sum below 1, its own probability gets the rest. Repeated until nothing moves:
    a contraction by `alpha`, which is therefore below 1; 0 returns the input. After similarity flooding (Melnik et al., 2002).
    """
    if not 0 <= alpha < 1:
        raise ConfigError(f"alpha is {alpha:g}; it must be at least 0 and below 1")
    start = finite_column(probabilities, what="probabilities")
    weights = _neighbours(left, right, start)
    own = 1 - alpha * np.asarray(weights.sum(axis=1)).ravel()
    found = start
    for _ in range(MOST_ROUNDS):
        new = own * start + alpha * (weights @ found)
        moved, found = float(np.abs(new - found).max(initial=0.0)), new
        if moved < TOLERANCE:
            break
    return np.asarray(found, np.float64)


def _neighbours(left: Sequence[str], right: Sequence[str], probability: NDArray[np.float64]) -> Any:
    """Make the matrix [N, N] of weights between pairs, with row sums of at most 1."""
    from scipy.sparse import csr_matrix

    pair_of: dict[frozenset[str], int] = {}
    partners: dict[str, list[tuple[str, float]]] = {}
    for row, (a, b) in enumerate(zip(left, right, strict=True)):
        if a == b or frozenset((a, b)) in pair_of:
            continue
        pair_of[frozenset((a, b))] = row
        partners.setdefault(a, []).append((b, float(probability[row])))
        partners.setdefault(b, []).append((a, float(probability[row])))
    entries: list[tuple[int, int, float]] = []
    for row, (a, c) in enumerate(zip(left, right, strict=True)):
        for one, other in ((a, c), (c, a)):
            for match, weight in partners.get(one, ()):
                neighbour = None if match == other else pair_of.get(frozenset((match, other)))
                if neighbour is not None:
                    entries.append((row, neighbour, weight))
    rows, columns, values = (np.array(part) for part in zip(*entries, strict=True)) if entries else ([], [], [])
    matrix: Any = csr_matrix((values, (rows, columns)), shape=(len(left), len(left)), dtype=np.float64)
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    return matrix.multiply(1 / np.maximum(sums, 1)[:, None]).tocsr()
