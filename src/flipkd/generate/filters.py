"""Filters of generated pairs: near copies of given texts, and the bounds of a critic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.text import caseless

NGRAM = 4  # characters
SIMILAR = 0.8  # Jaccard similarity of the n-grams from which a text is a near copy
BLOCK = 1024


def near_copies(texts: Sequence[str], of: Sequence[str]) -> NDArray[np.bool_]:
    """Mask [n] of the texts that share most of their character n-grams with one of the texts `of`; case does not count."""
    if not texts or not of:
        return np.zeros(len(texts), bool)
    from sklearn.feature_extraction.text import CountVectorizer

    own, other = [caseless(text) for text in texts], [caseless(text) for text in of]
    known = set(other)
    found = np.array([text in known for text in own])
    vectorizer = CountVectorizer(analyzer="char_wb", ngram_range=(NGRAM, NGRAM), binary=True, lowercase=False)
    try:
        given: Any = vectorizer.fit_transform(other).astype(np.float64)
    except ValueError:  # no text has an n-gram
        return found
    sizes = np.asarray(given.sum(axis=1)).ravel()
    own_sizes = [max(len(set(grams)), 1) for grams in map(vectorizer.build_analyzer(), own)]
    for start in range(0, len(texts), BLOCK):
        rows = slice(start, start + BLOCK)
        shared = (vectorizer.transform(own[rows]) @ given.T).toarray()
        union = np.array(own_sizes[rows])[:, None] + sizes - shared
        found[rows] |= (shared / union >= SIMILAR).any(axis=1)
    return found


def accepted(
    probability: NDArray[np.float64], label: NDArray[np.int64], *, match_from: float, mismatch_up_to: float
) -> NDArray[np.bool_]:
    """Mask [N] of the pairs whose label the critic's probability of a match supports."""
    return np.where(label == 1, probability >= match_from, probability <= mismatch_up_to)


def critic_precision(
    probability: NDArray[np.float64], label: NDArray[np.int64], *, match_from: float, mismatch_up_to: float
) -> dict[str, float]:
    """Measure the critic on labelled pairs [N]: of those that it would keep as a match, and as none, the share that are.

    A share of no pair is left out.
    """
    kept = {"match": probability >= match_from, "no_match": probability <= mismatch_up_to}
    right = {"match": label == 1, "no_match": label == 0}
    return {name: float(right[name][mask].mean()) for name, mask in kept.items() if mask.any()}
