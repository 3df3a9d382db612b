"""Validation of rows to measure: finite scores [N] and labels [N] of 0 or 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipkd.errors import DataError, NumbersError, shorten


def checked_rows(
    scores: ArrayLike, labels: ArrayLike, *, per_class: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return scores as float64 [N] and labels as int64 0/1 [N].

    Raises DataError for unequal lengths, a label other than 0 or 1 (also None and NaN: remove unlabelled rows first) or
    fewer than `per_class` rows of a class, NumbersError for scores that are not finite.
    """
    score = finite_column(scores, what="scores")
    given = np.asarray(labels)
    if given.shape != score.shape:
        raise DataError(f"labels have the shape {given.shape}, scores {score.shape}; both must be [N]")
    values = given.astype(object)  # None, NaN and text compare as themselves
    known = (values == 0) | (values == 1)
    if not known.all():
        row = int(np.argmin(known))
        raise DataError(
            f"labels: {np.count_nonzero(~known)} of {len(given)} are neither 0 nor 1, the first at index {row} "
            f"({shorten(values[row])}); remove rows without a label first"
        )
    label = given.astype(np.int64)
    n, positives = len(label), int(label.sum())
    if min(positives, n - positives) < per_class:
        if per_class == 1:
            raise DataError(f"needs both classes: n={n}, positives={positives}")
        raise DataError(f"not enough data (n={n}, positives={positives}): each class needs at least {per_class} rows")
    return score, label


def finite_column(values: ArrayLike, *, what: str) -> NDArray[np.float64]:
    """Return finite numbers as float64 [N]. Raises DataError for other types or shapes, NumbersError for NaN or infinity."""
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{what} must be numbers, one per pair; got {shorten(values)}") from None
    if column.ndim != 1:
        raise DataError(f"{what} must be one number per pair, shape [N]; got the shape {column.shape}")
    wrong = ~np.isfinite(column)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise NumbersError(
            f"{what}: {np.count_nonzero(wrong)} of {len(column)} are not finite, the first at index {row} "
            f"({column[row]}); look for the cause in the model that computed them"
        )
    return column
