"""Nearest neighbours between two sets of unit vectors: exact, by blocks of the matrix product, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from flipkd import progress
from flipkd.device import best_device
from flipkd.entities.groups import Rows, joined

LEFT_ROWS, RIGHT_ROWS = 1024, 8192  # one block of products: 32 MiB
MOST_PASSED = 4  # times top_k new entries per row, above which a block is first cut to its own top_k

Floats = NDArray[np.float32]


def nearest_pairs(
    left: Floats, right: Floats | None = None, *, top_k: int, min_similarity: float | None = None
) -> tuple[Rows, Rows]:
    """Find pairs (left rows, right rows): for each left vector its `top_k` nearest right vectors by the dot product.

    Vectors [n, d] and [m, d]; without `right` the neighbours of a vector are the other vectors of `left`. Ties go to the
    lower row. Pairs below `min_similarity` are left out. No array of size n x m is made: a block of LEFT_ROWS x RIGHT_ROWS.
    """
    return joined(_by_block(left, right, top_k, min_similarity))


def _by_block(
    left: Floats, right: Floats | None, top_k: int, min_similarity: float | None
) -> Iterator[tuple[Rows, Rows]]:
    import torch

    device = best_device()
    others = torch.from_numpy(left if right is None else right).to(device)
    floor = -np.inf if min_similarity is None else np.nextafter(np.float32(min_similarity), np.float32(-np.inf))
    with progress.bar(len(left), "neighbours", unit="record") as bar:
        for start in range(0, len(left), LEFT_ROWS):
            block = torch.from_numpy(left[start : start + LEFT_ROWS]).to(device)
            best = _Best(len(block), top_k, floor)
            for first in range(0, len(others), RIGHT_ROWS):
                products = (block @ others[first : first + RIGHT_ROWS].T).cpu().numpy()
                if right is None:
                    _drop_self(products, start - first)
                best.add(products, first)
            yield best.pairs(start)
            bar.update(len(block))


def _drop_self(products: Floats, offset: int) -> None:
    """Set the product of each vector with itself to -inf; row i is the vector of column i + offset."""
    rows = np.arange(max(0, -offset), min(len(products), products.shape[1] - offset))
    products[rows, rows + offset] = -np.inf


class _Best:
    """The best `top_k` (product, right row) of each left row so far; product `floor` and row -1 where there are fewer.

    NumPy compares and counts a block several times faster than torch does on a CPU.
    """

    def __init__(self, rows: int, top_k: int, floor: float) -> None:
        self.top_k = top_k
        self.products = np.full((rows, top_k), floor, np.float32)
        self.rows = np.full((rows, top_k), -1, np.int64)

    def add(self, products: Floats, first: int) -> None:
        """Add a block [rows, columns] of products with the right rows from `first` on."""
        columns = products.shape[1]
        passed = products > self.products[:, -1:]  # an equal one is of a higher row, and loses
        if np.count_nonzero(passed) > MOST_PASSED * self.rows.size and self.top_k < columns:
            passed &= products >= np.partition(products, columns - self.top_k, axis=1)[:, [columns - self.top_k]]
        if len(found := np.flatnonzero(passed)):
            self._merge(found // columns, products.ravel()[found], found % columns + first)

    def _merge(self, row: Rows, products: Floats, right: Rows) -> None:
        """Merge new entries, in the order of their left row and right row, into the best ones."""
        known = np.unique(row)
        row = np.concatenate([np.repeat(known, self.top_k), row])
        products = np.concatenate([self.products[known].ravel(), products])
        right = np.concatenate([self.rows[known].ravel(), right])
        order = np.lexsort((-products, row))  # stable: among equal products the lower right row stays first
        row, products, right = row[order], products[order], right[order]
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        kept = rank < self.top_k
        self.products[row[kept], rank[kept]] = products[kept]
        self.rows[row[kept], rank[kept]] = right[kept]

    def pairs(self, start: int) -> tuple[Rows, Rows]:
        """Return the pairs found; the first row of the block is row `start` of the left vectors."""
        row, rank = (self.rows >= 0).nonzero()
        return row + start, self.rows[row, rank]
