"""PairSet, the candidate pairs of two files or of one: each pair once, with the rules that found it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flipkd.entities.groups import Rows

BETWEEN = "|"  # between the names of the rules of a pair


class PairSet:
    """Pairs of `left_count` x `right_count` rows by rule; without `right_count` pairs of two rows of one file, lower row first.

    A pair is held as one number, left row * number of right rows + right row; `rules` has the sorted numbers of each rule.
    """

    def __init__(
        self, left_count: int, right_count: int | None = None, *, first: tuple[Rows, Rows] | None = None
    ) -> None:
        """`first`: for each left row and each right row the one that replaces it, such as the first row with the same text."""
        self._first = first
        self.one_file = right_count is None
        self.width = left_count if right_count is None else right_count
        self.possible = left_count * (left_count - 1) // 2 if right_count is None else left_count * right_count
        self.rules: dict[str, Rows] = {}

    def numbers(self, left: Rows, right: Rows) -> Rows:
        """Return the sorted numbers of pairs (left_i, right_i), each once; in one file without pairs of one row."""
        if self._first is not None:
            left, right = self._first[0][left], self._first[1][right]
        if self.one_file:
            left, right = np.minimum(left, right), np.maximum(left, right)
            left, right = left[left != right], right[left != right]
        found: Rows = np.unique(left * self.width + right)
        return found

    def add(self, rule: str, left: Rows, right: Rows) -> None:
        """Add the pairs that a rule found, in either order and with repetitions."""
        self.rules[rule] = self.numbers(left, right)

    def all(self) -> Rows:
        """Return the sorted numbers of all pairs."""
        found: Rows = np.unique(np.concatenate([np.zeros(0, np.int64), *self.rules.values()]))
        return found

    def rows(self, numbers: Rows) -> tuple[Rows, Rows]:
        """Return the left rows and right rows of pairs by their numbers."""
        left, right = np.divmod(numbers, self.width)
        return left, right

    def rules_of(self, numbers: Rows) -> list[str]:
        """Return the names of the rules that found each pair, joined by BETWEEN."""
        found = [[""] * len(numbers)]
        for rule, of_rule in self.rules.items():
            found.append([rule if hit else "" for hit in _contains(of_rule, numbers).tolist()])
        return [BETWEEN.join(filter(None, names)) for names in zip(*found, strict=True)]

    def summary(self, known: Rows | None = None) -> dict[str, dict[str, float]]:
        """Count the pairs of each rule, those that no other rule found, and with `known` matches (numbers) the recall.

        The key `total` has all pairs.
        """
        everything = self.all()
        times = np.zeros(len(everything), np.int64)
        for of_rule in self.rules.values():
            times[np.searchsorted(everything, of_rule)] += 1
        single = everything[times == 1]
        rows: dict[str, dict[str, float]] = {}
        for rule, of_rule in [*self.rules.items(), ("total", everything)]:
            rows[rule] = {"pairs": len(of_rule), "only": len(np.intersect1d(of_rule, single, assume_unique=True))}
            if known is not None:
                hits = len(np.intersect1d(of_rule, known, assume_unique=True))
                rows[rule] |= {"found": hits, "recall": hits / max(len(known), 1)}
        return rows


def _contains(ordered: Rows, numbers: Rows) -> NDArray[np.bool_]:
    """Return whether each number is in a sorted array, in time that hardly grows with the array."""
    if not len(ordered):
        return np.zeros(len(numbers), bool)
    found: NDArray[np.bool_] = ordered[np.searchsorted(ordered[:-1], numbers)] == numbers
    return found
