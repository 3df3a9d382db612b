"""Scored candidate pairs of flipkd dedupe, read back from the output of match, with one node number for each record."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flipkd.data.sources import open_source, readable
from flipkd.entities.groups import Rows
from flipkd.errors import DataError
from flipkd.evaluate.decisions import MATCH, REVIEW

COLUMNS = ["row1", "row2", "probability", "decision"]


class ScoredPairs(NamedTuple):
    """N scored pairs. Nodes are the rows of the first file, then those of the second; `match` and `review` are decisions."""

    left: Rows
    right: Rows
    probability: NDArray[np.float64]
    match: NDArray[np.bool_]
    review: NDArray[np.bool_]


def read_scored(path: Path | None, sizes: list[int], *, count: int, threshold: float | None) -> ScoredPairs:
    """Read the pairs of files with `sizes` records; None for no pairs.

    `threshold`: minimum probability of a match, the others are then no match; None: the decisions in the file. Raises DataError
    when the file does not have `count` pairs of these records.
    """
    columns: list[list[float]] = [[], [], []]
    decisions: list[str] = []
    if path is not None:
        with readable(path):
            for batch in open_source(path).batches([], COLUMNS):
                for values, column in zip(batch.values, columns, strict=False):
                    column += map(float, values)
                decisions += batch.values[-1]
    left, right = (np.array(column, np.int64) - 1 for column in columns[:2])
    if len(left) != count or not (_within(left, sizes[0]) and _within(right, sizes[-1])):
        raise DataError(f"{path}: is not the file that match wrote; delete it and run the same command again")
    probability, decided = np.array(columns[2], np.float64), np.array(decisions, object)
    if threshold is None:
        match, review = decided == MATCH, decided == REVIEW
    else:
        match, review = probability >= threshold, np.zeros(count, bool)
    return ScoredPairs(left, right + (sizes[0] if len(sizes) > 1 else 0), probability, match, review)


def _within(rows: Rows, size: int) -> bool:
    return not len(rows) or bool(rows.min() >= 0 and rows.max() < size)
