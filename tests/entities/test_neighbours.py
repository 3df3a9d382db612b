"""nearest_pairs: the pairs of a plain loop for any sizes, blocks and ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.entities import neighbours
from flipkd.entities.neighbours import nearest_pairs

QUARTERS = st.integers(-4, 4).map(lambda number: number / 4)  # their products are exact in float32, in any order
ROW = st.lists(QUARTERS, min_size=3, max_size=3)
ROWS = st.lists(ROW, min_size=1, max_size=25).map(lambda rows: np.array(rows, np.float32))


def by_loop(left, right, *, top_k, min_similarity):
    found = []
    for i, vector in enumerate(left):
        others = [(j, float(vector @ other)) for j, other in enumerate(left if right is None else right)]
        others = [(j, cosine) for j, cosine in others if right is not None or j != i]
        best = sorted(others, key=lambda pair: (-pair[1], pair[0]))[:top_k]
        found += [(i, j) for j, cosine in best if min_similarity is None or cosine >= min_similarity]
    return found


@settings(deadline=None, max_examples=80)
@given(
    ROWS, st.none() | ROWS, st.integers(1, 6), st.none() | st.sampled_from([-0.5, 0.0, 0.25]),
    st.integers(1, 9), st.integers(1, 9), st.integers(0, 4),
)  # fmt: skip
def test_nearest_pairs_are_those_of_a_plain_loop(left, right, top_k, min_similarity, rows, columns, most):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("LEFT_ROWS", rows), ("RIGHT_ROWS", columns), ("MOST_PASSED", most)):
            patch.setattr(neighbours, name, value)
        found = nearest_pairs(left, right, top_k=top_k, min_similarity=min_similarity)
    pairs = list(zip(*(side.tolist() for side in found), strict=True))
    assert len(pairs) == len(set(pairs))
    assert sorted(pairs) == sorted(by_loop(left, right, top_k=top_k, min_similarity=min_similarity))


def test_nearest_pairs_has_one_block_of_products_in_memory_at_a_time(monkeypatch):
    import tracemalloc

    random = np.random.default_rng(0)
    for name, value in (("LEFT_ROWS", 64), ("RIGHT_ROWS", 256)):
        monkeypatch.setattr(neighbours, name, value)
    peaks = []
    for count in (500, 2000):
        vectors = random.normal(size=(count, 4)).astype(np.float32)
        tracemalloc.start()
        nearest_pairs(vectors, top_k=2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2**20, "the matrix of all products would have 16 MB"
    assert peaks[1] < peaks[0] + 2000 * 100


def test_nearest_pairs_of_no_vectors_are_none():
    none = np.zeros((0, 3), np.float32)
    assert [len(side) for side in nearest_pairs(none, top_k=3)] == [0, 0]
    assert [len(side) for side in nearest_pairs(np.eye(3, dtype=np.float32), none, top_k=3)] == [0, 0]
