"""Out-of-domain detector: the similarity of a text's teacher vector to its nearest known vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flipkd.errors import DataError

Vectors = NDArray[np.float32]
NEAREST = 5  # known texts whose mean similarity is the score of a text
FALSE_ALARMS = 0.05  # share of the known texts that are found foreign
BLOCK = 1024


class DomainDetector:
    """Detector fitted on unit vectors [n, d] of the texts of a domain, of which at least two must be different.

    The score of a text is its mean cosine with the `NEAREST` known texts (Sun et al., arXiv 2204.06507); `bound` is the score
    below which FALSE_ALARMS of the known texts lie when each is compared with the others.
    """

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = np.unique(vectors, axis=0)
        if len(self.vectors) < 2:
            raise DataError("a domain needs at least two different texts; give more pairs")
        self.bound = float(np.quantile(self.similarity(self.vectors, known=True), FALSE_ALARMS))

    def similarity(self, vectors: Vectors, *, known: bool = False) -> NDArray[np.float64]:
        """Score texts [n]; with `known` they are the texts of the domain itself, and none is compared with itself."""
        count = min(NEAREST, len(self.vectors) - known)
        found = [np.zeros(0)]
        for start in range(0, len(vectors), BLOCK):
            products = vectors[start : start + BLOCK].astype(np.float64) @ self.vectors.astype(np.float64).T
            if known:
                rows = np.arange(len(products))
                products[rows, start + rows] = -np.inf
            found.append(np.partition(products, -count, axis=1)[:, -count:].mean(axis=1))
        return np.concatenate(found)

    def pair_similarity(self, left: Vectors, right: Vectors) -> NDArray[np.float64]:
        """Score pairs [N]: the lower score of the two texts."""
        return np.minimum(self.similarity(left), self.similarity(right))
