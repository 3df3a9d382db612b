"""Memory of reviewed pairs: their labels decide before any model scores the pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from flipkd.commands.pairs import labelled
from flipkd.data.labels import labels_of
from flipkd.data.pairs import read_pairs, sides_of
from flipkd.errors import DataError, shorten
from flipkd.text import caseless

if TYPE_CHECKING:
    from flipkd.matcher import Matcher
    from flipkd.student.scoring import Floats

MEMORY = "memory"  # who decided the pair
SURE = 10.0  # log-odds of a known pair


class Memory:
    """Labels of the pairs of a file, compared without case and white space, and in either order unless `directed`.

    Raises DataError for a pair with both labels and a file without a label.
    """

    def __init__(self, path: str, *, directed: bool = False) -> None:
        self.directed = directed
        known = labelled(read_pairs(path), name=path)
        self._labels: dict[tuple[str, ...], int] = {}
        texts = zip(*sides_of(known), labels_of(known).tolist(), strict=True)
        for left, right, label in texts:
            if self._labels.setdefault(self._key(left, right), label) != label:
                raise DataError(
                    f"{path}: the pair {shorten(left)}, {shorten(right)} has both labels; keep the one that is right"
                )

    def __len__(self) -> int:
        """Return the number of different pairs."""
        return len(self._labels)

    def _key(self, left: str, right: str) -> tuple[str, ...]:
        sides = caseless(left), caseless(right)
        return sides if self.directed else tuple(sorted(sides))

    def labels(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Look up the labels [N] of pairs; -1 for one that is not known."""
        return np.array([self._labels.get(self._key(*pair), -1) for pair in pairs], np.int64)

    @staticmethod
    def scores(labels: Sequence[int] | np.ndarray, matcher: Matcher) -> Floats:
        """Make the scores of known pairs [N] on the scale of the matcher: sure, and on the right side of its thresholds."""
        fit = matcher.calibration
        lowest = matcher.threshold if matcher.review_threshold is None else matcher.review_threshold
        match = max((SURE - fit.intercept) / fit.slope, matcher.threshold + 1 / fit.slope)
        other = min((-SURE - fit.intercept) / fit.slope, lowest - 1 / fit.slope)
        return np.where(np.asarray(labels, np.int64) == 1, match, other).astype(np.float32)
