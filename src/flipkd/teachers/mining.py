"""Mining of unlabelled pairs for a teacher to score: each left text with its nearest right texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from flipkd.device import best_device

NEIGHBOURS = 8
LEFT_TEXTS = 2**17  # a random sample of this size is used if there are more: the search time is proportional


def mine_pairs(
    left: Sequence[str],
    right: Sequence[str],
    left_vectors: NDArray[np.float32],
    right_vectors: NDArray[np.float32],
    *,
    count: int,
    given: Iterable[tuple[str, str]] = (),
    seed: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mine at most `count` new pairs; return (row numbers of the left texts, row numbers of the right texts).

    left, right: N pairs; vectors [N, d] of unit length. Candidates are the NEIGHBOURS nearest right texts of each left
    text (of at most LEFT_TEXTS left texts, sampled), except the given pairs and those in `given` (in either order), and a
    text with itself. `seed` alone decides which candidates are kept. Based on Thakur et al., NAACL 2021, arXiv 2010.08240,
    where a slow model labels mined pairs for a fast one; here a fast model labels them for a slow one.
    """
    from sentence_transformers.util import semantic_search

    left_rows, right_rows = first_rows(left), first_rows(right)
    if not len(left_rows):
        return left_rows, right_rows
    random = np.random.default_rng(seed)
    if len(left_rows) > LEFT_TEXTS:
        left_rows = np.sort(random.choice(left_rows, LEFT_TEXTS, replace=False))
    device = best_device()
    queries, corpus = left_vectors[left_rows], right_vectors[right_rows]
    hits = semantic_search(torch.from_numpy(queries).to(device), torch.from_numpy(corpus).to(device), top_k=NEIGHBOURS)
    known = {*zip(left, right, strict=True), *given}
    known |= {(b, a) for a, b in known}
    candidates = []
    for i, found in zip(left_rows.tolist(), hits, strict=True):
        for j in right_rows[[int(hit["corpus_id"]) for hit in found]].tolist():
            if left[i] != right[j] and (left[i], right[j]) not in known:
                candidates.append((i, j))
    order = random.permutation(len(candidates))[:count]
    chosen = np.array(candidates, np.int64).reshape(-1, 2)[order]
    return chosen[:, 0], chosen[:, 1]


def first_rows(texts: Sequence[str]) -> NDArray[np.int64]:
    """Row number of the first occurrence of each distinct text, in the order of rows."""
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        first.setdefault(text, row)
    return np.array(list(first.values()), np.int64)
