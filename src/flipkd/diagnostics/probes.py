"""Probes: do vectors know aliases and analogies, and does a layer's state know the label of a pair?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flipkd.errors import DataError

Floats = NDArray[np.floating]
MOST_PAIRS = 100_000


def alias_auc(vectors: Floats, groups: Sequence[str], *, seed: int = 0) -> dict[str, float]:
    """Measure how well cosines of unit vectors [n, d] separate names of one group from names of different groups.

    Returns the numbers of pairs and the AUC: 1 when all aliases are nearer than all other names (arXiv 2202.13581). At most
    MOST_PAIRS pairs of each kind, drawn at random. Raises DataError without a group of two names or with one group only.
    """
    from sklearn.metrics import roc_auc_score

    number = np.unique(list(groups), return_inverse=True)[1]
    same = np.array(
        [pair for group in range(number.max(initial=-1) + 1) for pair in _pairs_of(np.flatnonzero(number == group))],
        np.int64,
    ).reshape(-1, 2)
    random = np.random.default_rng(seed)
    drawn = random.integers(len(number), size=(min(MOST_PAIRS, len(number) ** 2), 2)) if len(number) else same
    other = drawn[number[drawn[:, 0]] != number[drawn[:, 1]]]
    if not len(same) or not len(other):
        raise DataError("aliases need a group with two names, and a second group; check the column of the groups")
    same = random.permutation(same)[:MOST_PAIRS]
    cosines = [(vectors[rows[:, 0]] * vectors[rows[:, 1]]).sum(axis=1) for rows in (same, other)]
    label = np.repeat([1, 0], [len(same), len(other)])
    return {
        "aliases": len(same),
        "others": len(other),
        "roc_auc": float(roc_auc_score(label, np.concatenate(cosines))),
    }


def _pairs_of(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    first, second = np.triu_indices(len(rows), k=1)
    return np.stack([rows[first], rows[second]], axis=1)


def analogy_accuracy(source: Floats, target: Floats, *, seed: int = 0) -> dict[str, float]:
    """Measure analogies between two domains: source_i is to target_i as source_j is to which target?

    source, target: vectors [n, d]. The answer is the target nearest to source_j + target_i - source_i, for all i != j.
    `shuffled`: the same with the offsets of a shuffled mapping, which knows the domains and not the analogy. Raises DataError
    with fewer than 3 pairs.
    """
    if len(source) < 3:
        raise DataError(f"an analogy needs at least 3 pairs, got {len(source)}")
    random = np.random.default_rng(seed)
    order = random.permutation(len(source))
    return {
        "pairs": len(source),
        "accuracy": _analogies(source, target, target - source),
        "shuffled": _analogies(source, target, target[order] - source),
        "chance": 1 / len(source),
    }


def _analogies(source: Floats, target: Floats, offsets: Floats) -> float:
    """Return the share of analogies (i, j) whose nearest target is that of j."""
    own, hits = np.arange(len(source)), 0
    norms = (target**2).sum(axis=1)
    for i, offset in enumerate(offsets):
        nearest = (norms - 2 * (source + offset) @ target.T).argmin(axis=1)
        hits += int((nearest == own).sum() - (nearest[i] == i))
    return hits / (len(source) * (len(source) - 1))


def probe_auc(states: Floats, labels: NDArray[np.int64], *, folds: NDArray[np.int64]) -> float:
    """Measure what a linear probe finds: AUC of logistic regression on states [N, D], each pair scored by the other folds' fit.

    folds: the fold of each pair [N]; folds that share texts give too high an AUC, since a probe may know a text and not the
    match. 0.5 is chance.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    found = cross_val_predict(model, states, labels, cv=PredefinedSplit(folds), method="decision_function")
    return float(roc_auc_score(labels, found))


def centred_alignment(first: Floats, second: Floats) -> float:
    """Compute the linear CKA of two representations [N, D] and [N, d] of the same rows: 1 for a rotated and scaled copy.

    Kornblith et al., arXiv 1905.00414; DisWOT (arXiv 2303.15678) compares Gram matrices of untrained students likewise.
    """
    a, b = (part.astype(np.float64) - part.mean(axis=0, dtype=np.float64) for part in (first, second))
    norm = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(np.linalg.norm(a.T @ b) ** 2 / norm) if norm > 0 else 0.0
