"""Clusters and weak bridges, against a search that removes one pair at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.entities.clusters import clusters, weak_bridges

COUNT = 8
EDGE = st.tuples(st.integers(0, COUNT - 1), st.integers(0, COUNT - 1)).filter(lambda edge: edge[0] != edge[1])
EDGES = st.lists(EDGE, max_size=14)


def by_search(edges):
    """The smallest row that is reached from each row."""
    found = list(range(COUNT))
    for _ in range(COUNT):
        for a, b in edges:
            found[a] = found[b] = min(found[a], found[b])
    return found


def sides(edges):
    both = np.array(edges, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


@settings(deadline=None)
@given(EDGES)
def test_clusters_are_what_can_be_reached(edges):
    assert clusters(COUNT, *sides(edges)).tolist() == by_search(edges)


@settings(deadline=None)
@given(EDGES, st.data())
def test_weak_bridges_are_the_weak_pairs_whose_removal_splits(edges, data):
    weak = data.draw(st.lists(st.booleans(), min_size=len(edges), max_size=len(edges)))
    parts = len(set(by_search(edges)))
    expected = [n for n in range(len(edges)) if weak[n] and len(set(by_search(edges[:n] + edges[n + 1 :]))) > parts]
    assert weak_bridges(COUNT, *sides(edges), np.array(weak, bool)).tolist() == expected


def test_weak_bridges_searches_a_long_chain_without_recursion():
    count = 5000
    rows = np.arange(count - 1)
    weak = np.ones(count - 1, bool)
    assert len(weak_bridges(count, rows, rows + 1, weak)) == count - 1
