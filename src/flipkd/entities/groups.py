"""Pairs of rows that share a value, and rows for pairs of values; both through the groups of rows with the same value."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def numbered(*columns: Sequence[Hashable | None]) -> tuple[list[Rows], list[Hashable]]:
    """Number the values of columns by their first occurrence; returns the numbers [n] of each column, and the values.

    Equal values have the same number in all columns; None has -1.
    """
    numbers: dict[Hashable, int] = {}
    found = [
        np.array([-1 if value is None else numbers.setdefault(value, len(numbers)) for value in column], np.int64)
        for column in columns
    ]
    return found, list(numbers)


class Groups:
    """The rows of a file by the number of their value, as `numbered` returns it."""

    def __init__(self, numbers: Rows, count: int) -> None:
        """`count`: how many values there are, in all files."""
        rows = np.flatnonzero(numbers >= 0)
        self.rows = rows[np.argsort(numbers[rows], kind="stable")]
        self.sizes = np.bincount(numbers[rows], minlength=count)
        self.starts = np.cumsum(self.sizes) - self.sizes


def first_rows(numbers: Rows) -> Rows:
    """Return for each row the first row with the same value; numbers [n] as `numbered` returns them, without -1."""
    _, first, back = np.unique(numbers, return_index=True, return_inverse=True)
    rows: Rows = first.astype(np.int64)[back]
    return rows


def row_pairs(left: Groups, right: Groups, a: Rows, b: Rows, *, most: int) -> tuple[Rows, Rows]:
    """Return all pairs of a row with value a_i in `left` and a row with value b_i in `right`, for each i.

    Only the first `most` rows of a value are used.
    """
    left_sizes, right_sizes = np.minimum(left.sizes[a], most), np.minimum(right.sizes[b], most)
    counts = left_sizes * right_sizes
    pair = np.repeat(np.arange(len(a)), counts)
    place = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = right_sizes[pair]
    return left.rows[left.starts[a[pair]] + place // width], right.rows[right.starts[b[pair]] + place % width]


def joined(parts: Iterable[tuple[Rows, Rows]]) -> tuple[Rows, Rows]:
    """Join pairs (left rows, right rows) that were found part by part; both are empty when there is no part."""
    none = np.zeros(0, np.int64)
    left, right = zip((none, none), *parts, strict=True)
    return np.concatenate(left), np.concatenate(right)


def equal_pairs(left: Groups, right: Groups, *, most: int) -> tuple[Rows, Rows, Rows]:
    """Return the pairs of rows with the same value (left rows, right rows), and the values that were skipped.

    A value of more than `most` rows of one file is skipped: it says too little about two records.
    """
    shared = np.flatnonzero((left.sizes > 0) & (right.sizes > 0))
    common = (left.sizes[shared] > most) | (right.sizes[shared] > most)
    kept = shared[~common]
    return *row_pairs(left, right, kept, kept, most=most), shared[common]
