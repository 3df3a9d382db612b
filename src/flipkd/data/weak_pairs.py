"""Weak pairs: texts that share clicks, links or citations match, and random ones that share none do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class WeakPairs(NamedTuple):
    """Pairs by positions in a list of texts, their weak label and the strength of the link."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]


def shared_pairs(
    texts: Sequence[int], targets: Sequence[int], *, match_from: float, min_shared: int, seed: int = 0
) -> WeakPairs:
    """Pair texts by the targets that they share: rows (text, target) of a click log or of a list of citations, as numbers.

    The score is the number of shared targets divided by the root of the product of both numbers of targets: the cosine of
    co-occurrence. Pairs from `match_from` on with at least `min_shared` targets in common are matches; as many random pairs
    without a common target are not.
    """
    from scipy.sparse import coo_matrix, triu

    rows = np.unique(np.stack([np.asarray(texts, np.int64), np.asarray(targets, np.int64)], axis=1), axis=0)
    if not len(rows):
        none = np.zeros(0, np.int64)
        return WeakPairs(none, none, none, np.zeros(0))
    incidence: Any = coo_matrix((np.ones(len(rows)), (rows[:, 0], rows[:, 1]))).tocsr()
    shared: Any = triu(incidence @ incidence.T, k=1).tocoo()
    count = np.asarray(incidence.sum(axis=1)).ravel()
    score = shared.data / np.sqrt(count[shared.row] * count[shared.col])
    chosen = np.flatnonzero((score >= match_from) & (shared.data >= min_shared))
    chosen = chosen[np.lexsort((shared.col[chosen], shared.row[chosen], -score[chosen]))]
    linked = set(zip(shared.row.tolist(), shared.col.tolist(), strict=True))
    apart = _unlinked(np.flatnonzero(count), linked, len(chosen), seed=seed)
    return WeakPairs(
        np.concatenate([shared.row[chosen], apart[:, 0]]).astype(np.int64),
        np.concatenate([shared.col[chosen], apart[:, 1]]).astype(np.int64),
        np.repeat([1, 0], [len(chosen), len(apart)]).astype(np.int64),
        np.concatenate([score[chosen], np.zeros(len(apart))]),
    )


def _unlinked(texts: NDArray[np.int64], linked: set[tuple[int, int]], count: int, *, seed: int) -> NDArray[np.int64]:
    """Draw up to `count` different pairs of texts that share no target."""
    random, found = np.random.default_rng(seed), dict[tuple[int, int], None]()
    for _ in range(20):
        drawn = np.sort(random.choice(texts, (2 * count, 2)), axis=1) if count else np.zeros((0, 2), np.int64)
        for a, b in drawn.tolist():
            if a != b and (a, b) not in linked and len(found) < count:
                found[a, b] = None
    return np.array(list(found), np.int64).reshape(-1, 2)
