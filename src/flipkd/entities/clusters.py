"""Clusters of records: connected components over matching pairs, and the weak pairs that alone hold one together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flipkd.entities.groups import Rows


def clusters(count: int, left: Rows, right: Rows) -> Rows:
    """Return the cluster of each of `count` rows, as the smallest row in it; rows are connected by pairs (left_i, right_i)."""
    components = _components(count, left, right)
    first = np.full(count, count, np.int64)
    np.minimum.at(first, components, np.arange(count))
    return first[components]


def weak_bridges(count: int, left: Rows, right: Rows, weak: NDArray[np.bool_]) -> Rows:
    """Return the positions of the `weak` pairs without which their cluster falls apart.

    Rows that the other pairs connect count as one node, so that only the graph of weak pairs is searched.
    """
    import networkx

    nodes = _components(count, left[~weak], right[~weak])
    positions = np.flatnonzero(weak)
    graph = networkx.MultiGraph()
    graph.add_edges_from(
        (int(nodes[left[p]]), int(nodes[right[p]]), int(p)) for p in positions if nodes[left[p]] != nodes[right[p]]
    )
    simple = networkx.Graph(graph)
    bridges = [position for a, b in networkx.bridges(simple) if len(found := graph[a][b]) == 1 for position in found]
    return np.array(sorted(bridges), np.int64)


def _components(count: int, left: Rows, right: Rows) -> Rows:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    numbers: Rows = connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers
