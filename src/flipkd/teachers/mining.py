"""Unlabelled pairs for a teacher to grade: each left text of the training pairs with right texts that it finds close."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from flipkd.device import best_device

NEIGHBOURS = 8
LEFT_TEXTS = 2**17  # of more, as many are drawn: the search takes time in proportion


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
    """At most `count` new pairs as rows of the given ones: (rows whose left text, rows whose right text is meant).

    left, right: N pairs; vectors [N, d] of unit length. Candidates are each left text's NEIGHBOURS nearest right texts
    (of LEFT_TEXTS drawn ones where there are more), but neither pairs that are given, here or in `given` (either way
    round), nor a text with itself; which of them are kept depends on nothing but `seed`. After the augmentation of
    Thakur et al., NAACL 2021, arXiv 2010.08240, where a slow model grades mined pairs for a fast one; here it is the
    other way round.
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
    """The row at which each text stands first, in the order of rows."""
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        first.setdefault(text, row)
    return np.array(list(first.values()), np.int64)
